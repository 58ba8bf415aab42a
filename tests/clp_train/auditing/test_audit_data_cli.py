"""clp-audit data from the outside: verdict, the table and what takes it, messages and exit codes."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from clp_aug.cli import augment
from clp_aug.contract.shards import ShardReader
from clp_aug.datasets import load_dataset
from clp_aug.library import find_boxes, write_boxes
from clp_train.audit_data_cli import data
from tests.clp_train.builders import make_demo_shard
from tests.clp_train.door.calling import call as train
from tests.clp_train.report.test_page import CHROMIUM, SWITCHES

SIZE = 16
COUNTS = {"train": 60, "val": 12, "test": 12}  # pictures a class


def call(*arguments):
    """Call clp-audit data with thumbnails; return what it did."""
    return CliRunner().invoke(data, [str(argument) for argument in (*arguments, "--model", "thumbnail", "--quiet")])


def told(*arguments):
    """Return what it says as JSON."""
    done = call(*arguments, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    return json.loads(done.stdout)


def make_pictures(root, share):
    """Write grey squares of two classes before blue or green; `share` of a class's training pictures before its own.

    The object's class cannot be told; its box is in the table. Return file -> whether the place is another class's.
    """
    rng, lines, other = np.random.default_rng(0), ["file,label,split,x0,y0,x1,y1"], {}
    root.mkdir()
    for split, count in COUNTS.items():
        for c, name in enumerate(("bird", "duck")):
            for i in range(count):
                own = i < round(count * (share if split == "train" else 0.5))
                place = c if own else 1 - c
                picture = np.clip(rng.normal((60, 200 - 120 * place, 80 + 120 * place), 25, (28, 24, 3)), 0, 255)
                x, y = rng.integers(2, 10, 2).tolist()
                picture[y : y + 9, x : x + 11] = 150
                file = f"{split}-{name}-{i:03d}.png"
                Image.fromarray(picture.astype(np.uint8)).save(root / file)
                lines.append(f"{file},{name},{split},{x},{y},{x + 11},{y + 9}")
                other[file] = not own
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return other


@pytest.fixture(scope="module")
def biased(tmp_path_factory):
    """A data set whose backgrounds foretell the label, its shard of boxes, and which pictures go against that."""
    folder = tmp_path_factory.mktemp("biased")
    other = make_pictures(folder / "pictures", 0.9)
    shard = write_boxes("table", folder / "pictures", folder / "boxes.h5", size=SIZE)
    return folder / "pictures", shard, other


@pytest.fixture(scope="module")
def balanced(tmp_path_factory):
    """The same without a bias."""
    folder = tmp_path_factory.mktemp("balanced")
    make_pictures(folder / "pictures", 0.5)
    return folder / "pictures", write_boxes("table", folder / "pictures", folder / "boxes.h5", size=SIZE)


def rows(path):
    """Return the lines of a table by column."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_pictures_that_go_against_the_bias_are_found_in_every_split(biased, tmp_path):
    root, shard, other = biased
    out = tmp_path / "groups.csv"
    found = told("--meta", shard, "--root", root, "--out", out)
    assert found["verdict"] == "strong"
    assert found["chance"] == 0.5
    assert found["background"]["value"] == pytest.approx(0.9, abs=0.02), "as often as the bias has it"
    assert found["control"]["value"] < 0.65
    assert found["recall"].keys() == {"bird", "duck"}
    assert found["pictures"] == {"train": 120, "held_out": 48}
    table = rows(out)
    assert list(table[0]) == ["file", "label", "split", "background_group", "x0", "y0", "x1", "y1"]
    assert {row["file"]: row["background_group"] != row["label"] for row in table} == other
    assert {split: sum(row["split"] == split for row in table) for split in COUNTS} == {
        split: 2 * count for split, count in COUNTS.items()
    }
    assert found["against"]["by_class"] == {"bird": 6, "duck": 6}
    assert {each["file"] for each in found["against"]["first"]} <= {file for file in other if other[file]}
    nats = [each["nats"] for each in found["against"]["first"]]
    assert len(nats) == 10
    assert nats == sorted(nats)
    assert max(nats) < 0
    assert found["groups"] == {
        "made_of": "label x class that the background looks like",
        "train": {"bird": {"bird": 54, "duck": 6}, "duck": {"bird": 6, "duck": 54}},
    }
    assert found["meta"] == "3/group", "half of the smallest stays to be learnt from"


def test_the_next_commands_are_to_be_run_as_they_are_and_group_methods_train(biased, tmp_path, monkeypatch):
    root, shard, _ = biased
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(root), str(copy)], check=True)
    done = call("--meta", shard, "--root", copy)
    assert done.exit_code == 0, done.stderr
    steps = [line.removeprefix("next: ") for line in done.stdout.splitlines() if line.startswith("next: ")]
    assert steps[:2] == [
        f"cp groups.csv {copy}/table.csv",
        f"clp-augment --dataset table --root {copy} --size 16 --cf tile --f mix-rand --meta 3/group",
    ]
    subprocess.run(shlex.split(steps[0]), check=True)
    made = CliRunner().invoke(augment, [*shlex.split(steps[1])[1:], "--quiet", "--workers", "1"])
    assert made.exit_code == 0, made.stderr
    trained = shlex.split(steps[2])
    path = trained[trained.index("--meta") + 1]
    assert trained == ["clp-train", "--meta", path, "--root", str(copy), "--method", "clp", "--preset",
                       "spurious-background"]  # fmt: skip
    reader = ShardReader(path)
    assert reader.header.group_names == (
        "bird, background_group bird", "bird, background_group duck", "duck, background_group bird",
        "duck, background_group duck",
    )  # fmt: skip
    assert reader.header.matte["name"] == "given"
    assert np.bincount(reader.tables["meta/group"][reader.tables["meta/kind"] == 0]).tolist() == [3, 3, 3, 3]
    for method in ("group-dro", "uw"):
        run = train(
            "--meta", path, "--root", copy, "--method", method, "--epochs", 1, "--out", f"runs/{method}", "--quiet"
        )
        assert run.exit_code == 0, run.stderr
        result = json.loads((tmp_path / "runs" / method / "result.json").read_text())
        assert result["train_group_counts"] == [51, 3, 3, 51]
        assert result["selected"]["metrics"]["test"]["group_counts"] == [6, 6, 6, 6], (
            "worst-group selection is possible"
        )


def test_where_backgrounds_say_nothing_there_is_one_group_a_class(balanced, tmp_path):
    root, shard = balanced
    out = tmp_path / "groups.csv"
    found = told("--meta", shard, "--root", root, "--out", out)
    assert found["verdict"] == "none seen"
    assert found["groups"] == {"made_of": "labels alone", "train": {}}
    assert {row["background_group"] for row in rows(out)} == {"any"}
    assert found["against"] == {"by_class": {"bird": 0, "duck": 0}, "first": []}, "nobody is accused"
    assert found["meta"] == "10/class"
    assert found["reason"].startswith("backgrounds say nothing about the label here")
    assert not any("/group" in step for step in found["next"])
    page = tmp_path / "page.html"
    done = call("--meta", shard, "--root", root, "--out", out, "--html", page)
    assert "no minority is named: backgrounds do not say enough for that" in done.stdout.splitlines()
    assert "None are shown: backgrounds say too little about the label." in page.read_text()


def test_what_is_printed(biased, tmp_path):
    root, shard, _ = biased
    out, page = tmp_path / "groups.csv", tmp_path / "page.html"
    done = call("--meta", shard, "--root", root, "--out", out, "--html", page)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "do backgrounds predict the label? strong"
    assert lines[1].startswith("  backgrounds predict classes better than chance and boxes by 4")
    assert any(line.startswith("  pictures without their objects: balanced accuracy ") for line in lines)
    assert any("train-bird-0" in line and "bird, looks like duck (-" in line for line in lines)
    assert f"wrote {out}: 168 pictures, 168 boxes" in lines
    assert "meta pictures help: a network can learn the background in place of the object" in lines
    assert f"{page}; open it in a browser" in lines


def test_the_page_shows_the_pictures_that_go_against_their_class(biased, tmp_path):
    root, shard, other = biased
    page = tmp_path / "page.html"
    told("--meta", shard, "--root", root, "--out", tmp_path / "groups.csv", "--html", page)
    text = page.read_text()
    names = re.findall(r'alt="([^"]*)"', text)
    assert sorted(names) == sorted(file for file in other if other[file] and file.startswith("train"))
    assert text.count("<strong>looks like duck</strong>") == text.count("<strong>looks like bird</strong>") == 6
    assert "<b>strong</b>" in text
    assert "http" not in text.replace("http-equiv", ""), "nothing from elsewhere"
    reader = ShardReader(shard)
    boxes = {f"{x0} {y0} {x1 - x0} {y1 - y0}" for x0, y0, x1, y1 in reader.tables["train/box"].tolist()}
    boxes |= {f"{x0} {y0} {x1 - x0} {y1 - y0}" for x0, y0, x1, y1 in reader.tables["meta/box"].tolist()}
    frames = re.findall(r'<rect x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)"/>', text)
    assert len(frames) == 24
    assert {" ".join(frame) for frame in frames} <= boxes


PROBE = """<script>
addEventListener("load", () => {
  const data = document.body.dataset, light = c => c.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0);
  data.broken = [...document.images].filter(i => !(i.complete && i.naturalWidth)).length;
  data.apart = light(getComputedStyle(document.body).backgroundColor) - light(getComputedStyle(document.body).color);
  data.wide = document.documentElement.scrollWidth - innerWidth;
  const [track, filled] = [".track", ".track i"].map(s => document.querySelector(s).getBoundingClientRect());
  data.share = (filled.width / track.width).toFixed(3);
  const [frame, box] = [".frame", ".frame rect"].map(s => document.querySelector(s).getBoundingClientRect());
  data.box = [(box.x - frame.x) / frame.width, box.width / frame.width].map(v => v.toFixed(3));
});
</script></body>"""


@pytest.mark.parametrize(("scheme", "width"), [("dark", 1280), ("light", 500)])
def test_the_page_in_a_browser(biased, tmp_path, scheme, width):
    if CHROMIUM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on the PATH")
    root, shard, _ = biased
    page = tmp_path / "page.html"
    found = told("--meta", shard, "--root", root, "--out", tmp_path / "groups.csv", "--html", page)
    html = page.read_text()
    first = re.search(r'<rect x="(\d+)" y="\d+" width="(\d+)"', html)
    page.write_text(html.replace("default-src 'none';", "script-src 'unsafe-inline';").replace("</body>", PROBE))
    setting = f"--blink-settings=preferredColorScheme={('dark', 'light').index(scheme)}"
    command = [CHROMIUM, *SWITCHES, setting, f"--window-size={width},900", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    body = dict(re.findall(r'data-(\w+)="([^"]*)"', done.stdout))
    assert body["broken"] == "0"
    assert int(body["wide"]) <= 0
    assert int(body["apart"]) * (1 if scheme == "light" else -1) > 450, "of 765: black on white, or white on black"
    assert float(body["share"]) == pytest.approx(found["background"]["value"], abs=0.01)
    assert [float(v) for v in body["box"].split(",")] == pytest.approx(
        [int(v) / SIZE for v in first.groups()], abs=0.02
    )


def test_a_data_set_alone_in_a_process_of_its_own(biased, tmp_path, monkeypatch):
    root, _, other = biased
    script = "from clp_train.audit_data_cli import data; data()"
    arguments = ["--dataset", "table", "--root", str(root), "--model", "thumbnail"]
    first = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert first.returncode == 0, first.stderr
    (shard,) = (tmp_path / "shards").glob("*boxes*.h5")
    made = shard.stat()
    assert {row["file"]: row["background_group"] != row["label"] for row in rows(tmp_path / "groups.csv")} == other
    monkeypatch.chdir(tmp_path)
    second = CliRunner().invoke(data, arguments)
    again = shard.stat()
    assert (again.st_ino, again.st_mtime_ns) == (made.st_ino, made.st_mtime_ns), "the shard of boxes is taken again"
    assert second.stdout == first.stdout


def test_pictures_that_are_no_files(demo_shard, tmp_path):
    out = tmp_path / "groups.csv"
    found = told("--meta", demo_shard, "--out", out)
    assert found["dataset"] == "demo"
    assert found["remarks"] == [
        "2,912 training pictures are not in the shard and were left out",
        "data set demo has no picture files: people can read the table, but clp-augment cannot",
    ]
    assert {row["x0"] for row in rows(out)} == {""}
    assert found["meta"] == "10/class"
    assert found["next"][0].startswith("clp-augment --dataset demo --size 16 --cf tile --f mix-rand --meta 10/class")


def test_boxes_of_held_out_pictures_are_found_by_the_matte_of_the_shard(tmp_path):
    demo, root = load_dataset("demo"), tmp_path / "pictures"
    for row in [*range(12), *range(1500, 1512)]:
        folder = root / demo.class_names[demo.samples.label[row]]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(demo.image(row)).save(folder / f"{row:04d}.png")
    shard = write_boxes("folder", root, tmp_path / "boxes.h5", size=64, meta="1/class")
    found = told("--meta", shard, "--root", root, "--out", root / "table.csv")
    assert (found["matte"], found["verdict"]) == ("hatt", "cannot tell")
    dataset, table = load_dataset("folder", root), load_dataset("table", root)
    held_out = np.flatnonzero(dataset.samples.split > 0)
    assert len(held_out) == found["pictures"]["held_out"] == 6
    boxes, outcomes = find_boxes([dataset.image(row, 64) for row in held_out])
    for row, box, outcome in zip(held_out.tolist(), boxes.tolist(), outcomes, strict=True):
        assert table.samples.name[row] == dataset.samples.name[row]
        assert table.box(row, 64) == (tuple(box) if outcome == "ok" else None)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "expected --meta SHARD, any shard of clp-augment, or --dataset NAME"),
        (("--meta", "none.h5"), 3, "none.h5"),
        (("--dataset", "tabel"), 2, "did you mean table?"),
    ],
)
def test_one_line_for_what_cannot_be_done(arguments, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.exit_code == code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "groups.csv").exists()


def test_three_pictures_a_class_tell_nothing(tmp_path):
    shard = make_demo_shard(tmp_path / "x.h5", size=SIZE, per_group=1, train=8, split=1)
    found = told("--meta", shard, "--out", tmp_path / "groups.csv")
    assert found["verdict"] == "cannot tell"
    assert found["evidence"][0] == "0 of 2 classes have 20 training pictures or more (ring 4, cross 4)"
    assert found["groups"]["made_of"] == "labels alone"
