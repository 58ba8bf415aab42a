"""Options of a command out of the fields of a dataclass, and how settings are spelt at the door."""

from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from clp_aug.cli import augment
from clp_aug.common.options import options_of
from clp_aug.common.settings import Settings, fields_of, setting
from clp_aug.common.terminal import as_option, one_line_errors
from clp_aug.config import AugmentConfig
from clp_aug.fills import option_classes


@dataclass(frozen=True)
class Example(Settings):
    size: int = setting(MISSING, "Side.", low=2, option=True)
    names: tuple[str, ...] = setting((), "Names.", option=True)
    sides: tuple[int, ...] = setting((1, 2), "Sides.", option=True)
    folders: tuple[Path, ...] = setting((), "Folders.", option=True)
    to_do: bool = setting(False, "Whether.", option=True)
    out: Path | None = setting(None, "Where to.", shown="here", option=True)
    hidden: float = setting(0.5, "Not on the command line.")


@click.command()
@options_of(Example)
@one_line_errors("nothing was done")
def command(**settings):
    click.echo(repr(Example(**settings)))


def test_values_arrive_as_the_types_of_the_fields():
    words = "--size 3 --names a,b --sides 4,5 --folders x --folders y --to-do --out z"
    done = CliRunner().invoke(command, words.split(" "))
    assert done.output == repr(Example(3, ("a", "b"), (4, 5), (Path("x"), Path("y")), True, Path("z"))) + "\n"
    assert CliRunner().invoke(command, ["--size", "3"]).output == repr(Example(3)) + "\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--size 1", "error: --size 1: expected a whole number >= 2"),
        ("", "Missing option '--size'"),
        ("--size 3 --sides 4,x", "'4,x': expected whole numbers with commas between them, 32,64 for instance"),
        ("--size 3 --hidden 1", "No such option"),
    ],
)
def test_what_is_refused(words, message):
    done = CliRunner().invoke(command, words.split())
    assert done.exit_code == 2
    assert message in done.stderr


def test_help_is_that_of_the_fields():
    text = CliRunner().invoke(command, ["--help"]).output
    assert "--to-do" in text
    assert "Where to.  [default: here]" in text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("img_max", "50", "--img-max 50"),
        ("refine", True, "--refine"),
        ("sizes", (32, 64), "--sizes 32,64"),
        ("pad", 0, "--pad 0"),
    ],
)
def test_settings_are_spelt_as_options(name, value, text):
    assert as_option(name, value) == text


def test_every_setting_of_a_run_has_its_option():
    names = {field.name for field in fields(AugmentConfig)} - {"options"}
    own = {name for kind in option_classes().values() for name in fields_of(kind)}
    options = [parameter.name for parameter in augment.params]
    assert len(options) == len(set(options))
    assert set(options) - {"dry_run", "json", "quiet", "version", "texts"} == names | own
