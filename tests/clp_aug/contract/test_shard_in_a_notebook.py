"""What a notebook shows of a shard: its numbers and small pictures, with every name escaped."""

import dataclasses
import html.parser
import subprocess
import sys

import h5py
import numpy as np
import pytest

from clp_aug.contract.notebook import FAMILIES, SIDE, small
from clp_aug.contract.shards import ShardReader
from tests.clp_aug.builders import make_parts

SCRIPT = "<script>alert('x')</script>"


class Tags(html.parser.HTMLParser):
    """The tags of a piece of HTML, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def test_it_says_what_is_in_the_shard(shard):
    page = ShardReader(shard)._repr_html_()
    text = " ".join(Tags(page).text)
    assert "good.h5" in text
    assert "12 pictures of 10 x 8 pixels" in text
    assert "original 4, counterfactual 4, factual 4" in text
    assert "training boxes" in text
    assert "from " in text


def test_a_few_pictures_are_inside_and_nothing_is_outside(shard):
    images = [attrs for tag, attrs in Tags(ShardReader(shard)._repr_html_()).tags if tag == "img"]
    assert len(images) == 3 * FAMILIES
    assert all(each["src"].startswith("data:image/png;base64,") for each in images)


def test_names_are_escaped(tmp_path):
    parts = make_parts()
    names = tuple(f"{name}{SCRIPT}" for name in parts.header.class_names)
    parts.header = dataclasses.replace(parts.header, class_names=names, dataset=SCRIPT, fills=("none", SCRIPT, "b"))
    page = ShardReader(parts.write(tmp_path / "x.h5"))._repr_html_()
    assert "<script" not in page
    assert not [tag for tag, _ in Tags(page).tags if tag == "script"]
    assert SCRIPT in " ".join(Tags(page).text)


def test_it_is_small_for_large_pictures_and_many_classes(tmp_path):
    parts = make_parts(originals=60, height=224, width=224)
    page = ShardReader(parts.write(tmp_path / "x.h5"))._repr_html_()
    assert len(page) < 250_000, "noise is the worst case of a PNG"


def test_pictures_are_made_smaller_in_proportion():
    assert small(np.zeros((200, 100, 3), np.uint8)).shape == (SIDE, SIDE // 2, 3)
    assert small(np.zeros((2000, 1, 3), np.uint8)).shape == (SIDE, 1, 3)
    assert small(np.zeros((8, 10, 3), np.uint8)).shape == (8, 10, 3)


def test_originals_of_all_classes_come_first(tmp_path):
    parts = make_parts(originals=12)
    parts.tables["meta/label"] = np.repeat([0] * 11 + [1], 3)
    page = ShardReader(parts.write(tmp_path / "x.h5"))._repr_html_()
    alts = [attrs["alt"] for tag, attrs in Tags(page).tags if tag == "img"]
    assert [alt for alt in alts if alt.endswith(", original")] == [
        *[f"{parts.header.class_names[0]}, original"] * 3, f"{parts.header.class_names[1]}, original",
    ]  # fmt: skip


def test_a_damaged_picture_is_named_and_no_error_is_raised(shard):
    with h5py.File(shard, "r+") as file:
        offset = file["meta/images"].id.get_chunk_info(0).byte_offset
    with open(shard, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 255]))
    assert "row 0 is damaged" in ShardReader(shard)._repr_html_()


def test_a_file_that_was_removed_is_no_error(shard):
    reader = ShardReader(shard)
    shard.unlink()
    assert "the file was removed" in reader._repr_html_()


@pytest.mark.parametrize("module", ["clp_aug.contract.shards", "clp_train.predicting.opened_run"])
def test_what_notebooks_need_is_loaded_only_for_them(module):
    code = f"import {module}, sys; print([name for name in sys.modules if name in ('IPython', 'jinja2', 'matplotlib')])"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "[]"
