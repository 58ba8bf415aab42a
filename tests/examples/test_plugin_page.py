"""Each example of docs/how-to/plugins.md passes the tests for its kind."""

import re
from pathlib import Path

import pytest

from clp_aug.config import AugmentConfig
from clp_aug.fills import CF, fill_of
from clp_aug.pipeline import augment
from clp_aug.testing import check_dataset, check_fill, check_matte
from clp_train.testing import check_method, check_model, check_transform

PAGE = (Path(__file__).parents[2] / "docs/how-to/plugins.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


def check_engine(name):
    """A shard that an engine makes is the one that is made without it."""
    settings = {"dataset": "demo", "cf": ("grey",), "meta": "1/class", "limit": 4, "size": 8, "matte": "centre"}
    one, other = Path("one.h5"), Path("other.h5")
    augment(AugmentConfig(**settings, out=one))
    augment(AugmentConfig(**settings, out=other, engine=name, workers=2))
    assert one.read_bytes() == other.read_bytes()


CHECKS = {
    "mean_colour": check_fill, "fade": check_fill, "Bright": check_matte, "Stripes": check_dataset,
    "Halving": check_method, "small": check_model, "mirrored": check_transform, "threads": check_engine,
}  # fmt: skip


@pytest.mark.parametrize(("block", "name"), list(zip(BLOCKS, CHECKS, strict=True)), ids=list(CHECKS))
def test_the_example(tmp_path, monkeypatch, block, name):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(block)
    CHECKS[name](f"mine.py:{name}")


def test_a_fill_object_says_which_kind_it_serves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(BLOCKS[1])
    assert fill_of("mine.py:fade").kinds == (CF,)
