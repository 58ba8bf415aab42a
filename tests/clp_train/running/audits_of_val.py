"""What tests of selection build: an audit shard of val."""

from pathlib import Path

from click.testing import CliRunner

from clp_aug.cli import augment


def make_audit_of_val(out: Path, pictures: int, size: int = 16, split: str = "val") -> Path:
    """Make an audit shard of a split of the demo set with clp-augment; return its path."""
    words = f"--audit {split} --dataset demo --size {size} --limit {pictures} --draws 2 --pool 4 --remove tile"
    done = CliRunner().invoke(augment, [*words.split(), "--quiet", "--workers", "1", "--out", str(out)])
    assert done.exit_code == 0, done.output
    return out
