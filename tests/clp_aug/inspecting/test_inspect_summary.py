"""The text summary: numbers against a plain count, and a layout that fits 80 columns."""

import hashlib
import io
import json

import h5py
import numpy as np
import pytest
from rich.console import Console

from clp_aug.contract import schema
from clp_aug.contract.errors import InputError
from clp_aug.contract.shards import ShardReader
from clp_aug.inspecting.summary import fallen_share, print_summary, summarise


def printed(summary: dict, width: int = 80) -> str:
    """Return the summary as a file that is no terminal would get it."""
    console = Console(file=io.StringIO(), width=width)
    print_summary(summary, console)
    return console.file.getvalue()


def test_counts_against_a_plain_loop(demo_shard):
    reader = ShardReader(demo_shard)
    summary, tables, header = summarise(reader), reader.tables, reader.header
    expected: dict[str, dict[str, int]] = {"kinds": {}, "fills": {}, "classes": {}, "groups": {}, "meta_outcomes": {}}
    areas = []
    for i in range(len(reader)):
        names = {"kinds": schema.KINDS[tables["meta/kind"][i]]}
        if tables["meta/kind"][i] == schema.ORIGINAL:
            names["classes"] = header.class_names[tables["meta/label"][i]]
            names["groups"] = header.group_names[tables["meta/group"][i]]
            names["meta_outcomes"] = schema.OUTCOMES[tables["meta/outcome"][i]]
            x0, y0, x1, y1 = map(int, tables["meta/box"][i])
            areas.append((x1 - x0) * (y1 - y0) / 64**2)
        else:
            names["fills"] = header.fills[tables["meta/fill"][i]]
        for key, name in names.items():
            expected[key][name] = expected[key].get(name, 0) + 1
    for key, counts in expected.items():
        assert summary[key] == counts
    low, _, middle, _, high = summary["meta_area_quantiles"].values()
    assert (low, middle, high) == pytest.approx((min(areas), np.median(areas), max(areas)), abs=1e-6)
    originals = expected["kinds"]["original"]
    fallen = sum(tables["meta/box_source"][i] != 0 for i in range(len(reader)) if tables["meta/kind"][i] == 0)
    assert summary["meta_fallback_share"] == pytest.approx(fallen / originals, abs=1e-6)
    assert summary["train_boxes"] == 3
    assert summary["train_area_median"] == pytest.approx(0.25)
    assert summary["mattes"] == originals


def test_whatever_made_the_next_matte_step_in_is_a_fallback():
    """An empty or a tiny box of the chosen matte, too, not only one that it did not give."""
    assert fallen_share(np.array([0, 1, 2, 0], np.uint8)) == 0.5
    assert fallen_share(np.array([], np.uint8)) == 0


def test_the_summary_is_plain_json_without_paths(demo_shard):
    summary = summarise(ShardReader(demo_shard))
    assert json.loads(json.dumps(summary)) == summary
    assert str(demo_shard.parent) not in json.dumps(summary)
    assert summary["name"] == demo_shard.name
    assert summary["file_bytes"] == demo_shard.stat().st_size
    assert "sha256" not in summary


def test_verify_adds_the_hash_of_the_file(demo_shard):
    summary = summarise(ShardReader(demo_shard), verify=True)
    assert summary["sha256"] == hashlib.sha256(demo_shard.read_bytes()).hexdigest()
    assert summary["sha256"] in printed(summary)


def test_verify_meets_a_flipped_byte(demo_shard, tmp_path):
    with h5py.File(demo_shard) as file:
        at = file["meta/images"].id.get_chunk_info(2).byte_offset
    data = bytearray(demo_shard.read_bytes())
    data[at] ^= 255
    path = tmp_path / "flipped.h5"
    path.write_bytes(data)
    assert summarise(ShardReader(path))["pictures"] > 0
    with pytest.raises(InputError, match=r"flipped\.h5: /meta/images\[2\] is damaged"):
        summarise(ShardReader(path), verify=True)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_text_is_plain_and_fits(demo_shard, width):
    lines = printed(summarise(ShardReader(demo_shard)), width).splitlines()
    assert max(map(len, lines)) <= width
    assert not any("\x1b" in line or line != line.rstrip() for line in lines)
    assert all(line[:15].strip() == "" or line[15] == " " for line in lines)  # one column of labels
    assert f"Shard           {demo_shard.name}" in lines[0]


def test_the_text_says_the_numbers(demo_shard):
    text = " ".join(printed(summarise(ShardReader(demo_shard))).split())
    assert "Meta pictures original 12, counterfactual 12, factual 12" in text
    assert "Classes ring 6, cross 6" in text
    assert "Train boxes 3, median area 25.0 %" in text
    assert "matte given" in text


def test_without_groups_and_train_boxes(bare_shard):
    summary = summarise(ShardReader(bare_shard))
    assert summary["groups"] == {"unknown": 2}
    assert (summary["train_boxes"], summary["train_area_median"], summary["train_fallback_share"]) == (0, None, 0.0)
    text = " ".join(printed(summary).split())
    assert "Groups unknown 2" in text
    assert "Train boxes 0 Train outcomes none" in text


def test_many_classes_stay_short(demo_shard):
    summary = summarise(ShardReader(demo_shard))
    summary["classes"] = {f"class{i}": 10 + i for i in range(100)}
    assert "class4 14, class5 15 and 94 more of 16 to 109" in " ".join(printed(summary).split())


def test_names_cannot_write_to_the_terminal(demo_shard):
    summary = summarise(ShardReader(demo_shard))
    summary["classes"] = {"\x1b[31mred\x07\n[bold]x[/bold]": 1}
    text = printed(summary)
    assert "\x1b" not in text
    assert "\ufffd[31mred\ufffd\ufffd[bold]x[/bold] 1" in text


def test_names_without_a_letter_are_lines_too(demo_shard):
    summary = summarise(ShardReader(demo_shard)) | {"matte": {"": " "}}
    assert "\nMatte " in printed(summary)


def test_a_setting_of_many_values_is_cut(demo_shard):
    summary = summarise(ShardReader(demo_shard))
    summary["settings"] = {"left_out": [f"{i}.jpg" for i in range(30)], "cf": ["grey", "tile"]}
    text = " ".join(printed(summary).split())
    assert "19.jpg and 10 more, cf grey+tile" in text
    assert "20.jpg" not in text
