"""clp-train --list-presets and --list-models: what each name is for, for the terminal and as a page of the docs."""

import re

import pytest

from clp_train import cli
from clp_train.models import MODELS, NAMES
from clp_train.models.listing import ABOUT, OWN, models_table
from clp_train.presets import load_preset, names, read_file
from clp_train.presets.listing import ANY, FIRST, WIDTH, in_order, presets_table
from tests.clp_train.door.calling import call

DEVICES = {"any", "CPU", "GPU"}


@pytest.mark.parametrize("name", names())
def test_every_preset_says_what_it_is_for(name):
    content = read_file(name)[1]
    assert re.fullmatch(r"[A-Z].{20,}\.", content["about"]), content["about"]
    assert content["device"] in DEVICES
    assert (content["device"] == "CPU") >= name.endswith("-cpu")
    for other in re.findall(r"^As ([a-z0-9-]+)", content["about"]):
        assert other in names()


def test_the_list_of_presets_for_the_terminal():
    done = call("--list-presets")
    assert (done.exit_code, done.stderr, done.stdout) == (0, "", presets_table() + "\n")
    heads = re.findall(r"^(\S+)  \[", done.stdout, re.M)
    assert heads == in_order()
    assert tuple(heads[: len(FIRST)]) == FIRST
    assert set(heads) == set(names())
    text = " ".join(done.stdout.split())
    for name in names():
        assert " ".join(read_file(name)[1]["about"].split()) in text
        assert f"{load_preset(name).settings['epochs']} epochs" in text
    assert all(len(line) <= WIDTH for line in done.stdout.splitlines())


def test_the_page_of_presets_has_a_row_each():
    page = call("--list-presets", "--markdown").stdout
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| [")
    ]
    assert [re.search(r"`(.*)`", row[0])[1] for row in rows] == in_order()
    assert {len(row) for row in rows} == {5}
    by_name = {re.search(r"`(.*)`", row[0])[1]: row for row in rows}
    assert by_name["table2-cifar10-100"][2:] == ["cifar10, imbalance 100", "resnet32, 200 epochs", "GPU"]
    assert by_name["spurious-background"][2] == ANY


def test_the_list_of_models():
    assert tuple(ABOUT) == NAMES, "a row for every name, in the order of the registry"
    done = call("--list-models")
    assert (done.exit_code, done.stderr) == (0, "")
    rows = {parts[0]: parts[1:] for parts in (re.split(r" {2,}", line) for line in done.stdout.splitlines()[1:])}
    assert set(rows) >= {*NAMES, *(name for name, _ in OWN), *MODELS}
    assert rows["efficientnet-lite0"][-1] == "pretrained"
    assert rows["timm:NAME"][-1] == "timm"
    assert rows["resnet8"][-1] == "-"
    page = call("--list-models", "--markdown").stdout
    assert page == models_table(markdown=True) + "\n"
    assert len(re.findall(r"^\| `", page, re.M)) == len(NAMES) + len(OWN)


@pytest.mark.parametrize("what", ["--list-presets", "--list-models"])
@pytest.mark.parametrize("more", [[], ["--markdown"], ["--meta", "x.h5", "--epochs", "0"]])
def test_it_trains_nothing_and_ends_well(what, more, monkeypatch):
    monkeypatch.setattr(cli, "run", lambda *_: pytest.fail("a run"))
    done = call(what, *more)
    assert (done.exit_code, done.stderr) == (0, "")
