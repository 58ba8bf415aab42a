"""REPORT: the page of a run: its numbers, its curves, its contact sheet, in text and in a browser."""

import base64
import io
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from clp_aug.contract.errors import InputError
from clp_aug.contract.images import data_uri
from clp_train import cli
from clp_train.evaluating.attention import Look
from clp_train.report import curves
from clp_train.report.page import heat_map, write_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SWITCHES = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
HOSTILE = '<script>document.title="x"</script>'


def metrics(*per_group):
    return {
        "average": 0.625,
        "weighted_average": 0.8125,
        "worst": min(p for p in per_group if p is not None),
        "per_class": [0.5, 0.75],
        "per_group": list(per_group),
        "class_counts": [4, 4],
        "group_counts": [4 if p is not None else 0 for p in per_group],
    }


RESULT = {
    "config": {"method": "clp", "model": "resnet8", "seed": 3, "meta": "shards/a-tile-random-seed0.h5", "root": None},
    "dataset": "birds",
    "fingerprint": "0123456789abcdef" * 4,
    "shard_settings": {"cf": ["tile", "grey"], "size": 32},
    "has_groups": True,
    "group_names": ["land on land", "land on water", HOSTILE],
    "class_names": ["land & sea", HOSTILE],
    "train_group_counts": [30, 20, 5],
    "meta_kinds": {"original": 8, "counterfactual": 8, "factual": 8},
    "last": {"epoch": 3, "metrics": {"val": metrics(1.0, 0.5, None), "test": metrics(0.9, 0.125, 0.25)}},
    "selected": {"epoch": 2, "metrics": {"val": metrics(1.0, 0.75, None), "test": metrics(0.9, 0.375, 0.25)}},
    "history": [
        {"epoch": 1, "lr": 0.1, "train_loss": 1.5, "meta_loss": 2.0, "saliency_loss": 4e-6, "val_worst": 0.0,
         "val_average": 0.5},
        {"epoch": 2, "lr": 0.1, "train_loss": 0.75, "meta_loss": None, "saliency_loss": 1e-6, "val_worst": 0.25,
         "val_average": 0.5},
        {"epoch": 3, "lr": 0.01, "train_loss": 0.5, "meta_loss": 1.0, "saliency_loss": 2e-6, "val_worst": 0.75,
         "val_average": 1.0},
    ],
    "seconds": 12.3,
    "versions": {"clp": "0.1.0", "torch": "2"},
}  # fmt: skip


class Page(HTMLParser):
    """What the tests look at in a page: images, polylines, boxes, cells, all text."""

    def __init__(self, html):
        super().__init__()
        self.html, self.tags, self.images, self.lines, self.boxes, self.text, self.body = html, [], [], [], [], "", {}
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        if tag == "body":
            self.body = attributes
        elif tag == "img":
            self.images.append(attributes)
        elif tag == "polyline":
            self.lines.append([tuple(map(float, p.split(","))) for p in attributes["points"].split()])
        elif tag == "rect":
            self.boxes.append(tuple(int(attributes[k]) for k in ("x", "y", "width", "height")))

    def handle_data(self, data):
        self.text += data


def looks():
    images = torch.randint(256, (4, 3, 8, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    maps = torch.zeros(4, 8, 12)
    maps[0, 2, 3], maps[0, 7, 11] = 3, 1
    maps[1] = 0.25
    maps[2, 0, 0] = 2
    box = torch.tensor([[2, 1, 6, 5]] * 4)
    return list(map(Look, images, maps, box, torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 0])))


@pytest.fixture
def written(tmp_path):
    """Write the page of a result, return it read."""

    def write(result=RESULT, looks=()):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / "result.json").write_text(json.dumps(result))
        write_page(tmp_path / "run", tmp_path / "page.html", looks)
        return Page((tmp_path / "page.html").read_text())

    return write


def decoded(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))))


def test_headline_table_and_settings(written):
    text = written().text
    for part in (
        "clp on birds",
        "resnet8 · seed 3 · 3 epochs · 12.3 s of training · meta set a-tile-random-seed0.h5",
        "test, selected epoch 2",
        "37.5 % (4)",
        "- (0)",
        "average, weighted as in training",
        "selected = best val worst group (epoch 2), never by test",
        "saliency of training pictures, with its weight: ",
        "tile, grey",
        "0123456789ab",
    ):
        assert part in text
    assert re.search(r"worst group\s*25\.0 %\s*test, selected epoch 2", text)
    assert "0123456789abc" not in text
    assert "Where it looks" not in text


def test_without_val_groups_and_test(written):
    last = {"epoch": 3, "metrics": {"val": metrics(0.5, 0.75, 1.0)}}
    history = [{"epoch": 1, "lr": 0.1, "train_loss": 0.0, "meta_loss": None, "saliency_loss": None}]
    page = written(RESULT | {"has_groups": False, "selected": None, "last": last, "history": history})
    assert re.search(r"worst class\s*50\.0 %\s*val, last epoch 3", page.text)
    assert len(page.lines) == 1  # the loss of one epoch, no meta, no saliency, no val
    assert "dashed upright" not in page.text
    assert 'class="chosen"' not in page.html


def test_curves_run_from_value_to_value(written):
    train, meta, saliency, average, worst = written().lines
    assert [len(line) for line in (train, meta, saliency, average, worst)] == [3, 2, 3, 3, 3]
    left, right, top, bottom = curves.LEFT, curves.WIDTH - curves.RIGHT, curves.TOP, curves.HEIGHT - curves.BOTTOM
    assert [x for x, _ in train] == [left, (left + right) / 2, right]
    assert [x for x, _ in meta] == [left, right]  # epoch 2 computed none
    assert [y for _, y in worst] == [bottom, bottom - (bottom - top) / 4, bottom - 3 * (bottom - top) / 4]
    assert average[2] == (right, top)
    assert train[0][1] == pytest.approx(bottom - (bottom - top) * 1.5 / 2, abs=0.1)  # the axis ends at 2
    assert meta[0] == (left, top)
    assert saliency[0] == (left, top)


def test_each_point_says_what_it_is(written):
    html = written().html
    for text in ("train, epoch 2: 0.75", "training pictures, epoch 1: 4e-06", "worst, epoch 3: 75.0 %"):
        assert f"<title>{text}</title>" in html


@pytest.mark.parametrize("highest", [1e-7, 0.3, 1.0, 1.01, 37, 8e5])
@pytest.mark.parametrize("below", [0, 0.1, 1])
def test_axes_hold_their_values_and_zero(highest, below):
    lowest = -below * highest
    levels = curves.ticks(lowest, highest)
    assert 0 in levels
    assert levels[0] * (1 + 1e-9) <= lowest
    assert (levels[0] < 0) == (lowest < 0)
    assert highest <= levels[-1] * (1 + 1e-9) < 2.1 * highest + 1e-12
    assert 3 <= len(levels) <= 7


@pytest.mark.filterwarnings("error")
def test_an_axis_has_an_end_and_what_has_none_is_one_line():
    assert curves.ticks(0, curves.WIDEST)[-1] >= curves.WIDEST
    for ends in ((0, 1e308), (-1e308, 1e308), (0, math.inf), (-math.inf, 0), (math.nan, math.nan)):
        with pytest.raises(ValueError, match=r"^no axis goes from .* to "):
            curves.ticks(*ends)


def test_a_value_below_zero_is_drawn_within_the_frame():
    found = curves.panel("share", {"share": [(1, 0.0), (2, -0.3), (3, 1.0)]}, False, 3, None)
    zero, below, above = (y for _, y, _ in found["series"][0]["points"])
    assert found["frame"]["top"] <= above < zero < below <= found["frame"]["bottom"]
    assert dict(map(reversed, found["levels"]))["0"] == zero


def test_epochs_on_the_axis():
    for epochs in range(1, 400):
        found = curves.epoch_ticks(epochs)
        assert found[0] == 1
        assert found == sorted(set(found))
        assert found[-1] <= epochs
        assert len(found) <= 7
        assert len(found) > 1 or epochs == 1


def test_contact_sheet(written):
    rows = looks()
    page = written(looks=rows)
    assert len(page.images) == 8
    for i, look in enumerate(rows):
        image = look.image.permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(decoded(page.images[2 * i]["src"]), image)
        np.testing.assert_array_equal(decoded(page.images[2 * i + 1]["src"]), heat_map(image, look.cam.numpy()))
    assert page.boxes == [(2, 1, 4, 4)] * 16
    shares = re.findall(r"([\d.]+ % inside|map is zero)", page.text)
    assert shares == ["75.0 % inside", "16.7 % inside", "0.0 % inside", "map is zero"]
    assert page.text.count("taken for land & sea") == page.text.count("taken for") == 1
    summary = (
        "4 pictures: on average 30.6 % of the map lies in the box, which takes 16.7 % of the picture; the maximum"
        " lies in it on 66.7 %; left out, zero throughout: 1."
    )
    assert summary in page.text


def test_heat_is_brightest_at_the_maximum_and_gone_at_zero():
    image = np.full((6, 6, 3), (200, 100, 60), np.uint8)
    cam = np.zeros((6, 6), np.float32)
    cam[2, 4], cam[0, 0] = 1e-6, 5e-7
    out = heat_map(image, cam).astype(int)
    assert out.sum(2).argmax() == 2 * 6 + 4
    assert (out[5, 5] == 72).all()  # 0.6 of the grey 120
    np.testing.assert_array_equal(heat_map(image, cam * 1000), out)
    assert (heat_map(image, np.zeros((6, 6), np.float32)) == 72).all()


def test_large_pictures_are_jpeg():
    ramp = np.stack(np.broadcast_arrays(np.linspace(0, 255, 128), np.linspace(0, 255, 65)[:, None], 9), -1).astype(
        np.uint8
    )
    uri = data_uri(ramp)
    assert uri.startswith("data:image/jpeg;base64,")
    assert np.abs(decoded(uri).astype(int) - ramp).max() <= 12


def test_names_are_escaped_and_nothing_is_loaded(written):
    page = written(looks=looks())
    assert "script" not in page.tags
    assert HOSTILE in page.text
    assert "http:" not in page.html
    assert "https:" not in page.html
    assert not re.search(r"""(?:src|href)="(?!data:)|url\(|@import""", page.html)
    assert "default-src 'none'" in page.html


def test_the_same_run_gives_the_same_page(written):
    assert written(looks=looks()).html == written(looks=looks()).html


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"run: no result.json, so no finished run; train with clp-train --out .*run$"),
        ("{", r"result.json: not readable as JSON \(.*\); train again$"),
        ("[" * 100_000, r"result.json: not readable as JSON \(.*recursion.*\); train again$"),
        ("[]", r"result.json: not a result of clp-train, it lacks class_names, config, .*, versions; train again$"),
        (
            json.dumps({key: RESULT[key] for key in RESULT if key not in ("selected", "history")}),
            r"not a result of clp-train, it lacks history, selected; train again$",
        ),
    ],
    ids=["none", "cut short", "nested", "list", "parts"],
)
def test_no_finished_run_is_one_line(tmp_path, content, message):
    (tmp_path / "run").mkdir()
    if content is not None:
        (tmp_path / "run" / "result.json").write_text(content)
    with pytest.raises(InputError, match=message):
        write_page(tmp_path / "run", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_path_that_is_no_text_is_shown_as_well_as_can_be(written):
    """A file may have any bytes as its name; JSON spells them, UTF-8 does not."""
    page = written(RESULT | {"config": RESULT["config"] | {"meta": "runs/caf\udce9.h5", "out": "\udcff"}})
    assert "meta set caf?.h5" in page.text


def test_a_disk_that_refuses_is_one_line(written, tmp_path):
    written()
    with pytest.raises(InputError, match=r"^cannot write .*nowhere/page.html \(No such file"):
        write_page(tmp_path / "run", tmp_path / "nowhere" / "page.html")


def test_a_run_of_the_command_line_has_a_page(demo_shard, tmp_path):
    arguments = ("--meta", demo_shard, "--epochs", 2, "--batch-size", 80, "--preset", "none", "--quiet",
                 "--out", tmp_path / "run")  # fmt: skip
    done = CliRunner().invoke(cli.train, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    write_page(tmp_path / "run", tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text())
    assert "clp on demo" in page.text
    assert "ring on garden" in page.text
    assert [len(line) for line in page.lines] == [2] * 5  # train, meta, saliency, val average, val worst


PROBE = """<script>
addEventListener("load", () => {
  const data = document.body.dataset, light = c => c.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0);
  data.broken = [...document.images].filter(i => !(i.complete && i.naturalWidth)).length;
  data.page = light(getComputedStyle(document.body).backgroundColor);
  data.ink = light(getComputedStyle(document.body).color);
  data.wide = document.documentElement.scrollWidth - innerWidth;
  const frame = document.querySelector(".frame").getBoundingClientRect();
  const box = document.querySelector(".frame rect").getBoundingClientRect();
  data.box = [(box.x - frame.x) / frame.width, (box.y - frame.y) / frame.height, box.width / frame.width,
    box.height / frame.height].map(v => v.toFixed(2));
  data.curves = [...document.querySelectorAll(".curve")].every(c => c.getBoundingClientRect().height > 100);
});
</script></body>"""


@pytest.mark.parametrize(("scheme", "width"), [("dark", 1280), ("light", 500)])
def test_in_a_browser(written, tmp_path, scheme, width):
    if CHROMIUM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on the PATH")
    html = written(looks=looks()).html.replace("default-src 'none';", "script-src 'unsafe-inline';")
    (tmp_path / "probed.html").write_text(html.replace("</body>", PROBE))
    setting = f"--blink-settings=preferredColorScheme={('dark', 'light').index(scheme)}"
    command = [CHROMIUM, *SWITCHES, setting, f"--window-size={width},900", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*command, "--dump-dom", (tmp_path / "probed.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    body = Page(done.stdout).body
    assert body["data-broken"] == "0"
    assert (int(body["data-page"]) > int(body["data-ink"])) == (scheme == "light")
    assert abs(int(body["data-page"]) - int(body["data-ink"])) > 450  # of 765: black on white
    assert int(body["data-wide"]) <= 0
    assert body["data-curves"] == "true"
    assert [float(v) for v in body["data-box"].split(",")] == pytest.approx([2 / 12, 1 / 8, 4 / 12, 4 / 8], abs=0.02)


def test_a_network_without_a_map_is_told(written):
    reason = "its last feature map is one pixel"
    attention = {"inside": None, "pointing": None, "area": 0.25, "maps": 0, "zero": 0, "no_map": reason}
    assert f"No Grad-CAM: {reason}." in written(RESULT | {"attention": attention}).text
    for result in (RESULT, RESULT | {"attention": {"inside": 0.5, "area": 0.25}}):
        assert "Where it looks" not in written(result).text


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("last", []), ("last", {"epoch": 1}), ("history", [1]), ("config", []), ("selected", {"epoch": 1}),
        ("history", [{"epoch": 1, "train_loss": 1e308}]),
    ],
)  # fmt: skip
def test_a_result_whose_parts_are_of_another_kind_is_one_line(tmp_path, part, value):
    result = RESULT
    (tmp_path / "result.json").write_text(json.dumps({**result, part: value}))
    with pytest.raises(InputError, match=r"result\.json: not a result of clp-train \(\w+: .*\); train again"):
        write_page(tmp_path, tmp_path / "page.html")
