"""clp-train --list-settings and docs/reference/settings.md: every setting, its meaning, default and valid values."""

import dataclasses
import re
from dataclasses import MISSING
from pathlib import Path

import pytest

from clp_aug.common.plugins import FORM
from clp_aug.common.settings import about, fields_of, type_of
from clp_train import cli
from clp_train.config import RECORD, ROOMS, as_text, option, settings_of
from clp_train.list_settings import TITLES, WIDTH, settings_text
from clp_train.methods import METHODS, options_of
from clp_train.run_settings import Start
from tests.clp_train.door.calling import call

ROOT = Path(__file__).resolve().parents[3]
PAGE = settings_text(markdown=True)


def sections(text):
    """Return title -> setting -> (command line, default, what it does) of a page."""
    found = {}
    for part in re.split(r"^## ", text, flags=re.M)[1:]:
        rows = [line.strip("| ") for line in part.splitlines() if line.startswith("| `")]
        cells = [re.split(r" (?<!\\)\| ", row) for row in rows]
        found[part.splitlines()[0]] = {name.strip("`"): (given.strip("`"), *more) for name, given, *more in cells}
    return found


def listed(text):
    """Return setting -> (default, what it does) of a list for the terminal, spelt as options."""
    blocks = re.findall(r"^  (--\S+(?: \w+)?)  \[(.*)\]\n((?:      .*\n)+)", text, re.M)
    return {spelt: (default, " ".join(said.split())) for spelt, default, said in blocks}


def test_the_page_of_the_docs_is_the_list():
    assert (ROOT / "docs" / "reference" / "settings.md").read_text() == PAGE + "\n", "run: make docs"


def test_make_writes_the_pages():
    rule = (ROOT / "Makefile").read_text().partition("\ndocs:")[2].partition("\n\n")[0]
    assert "docs/site/make_reference.py" in rule
    maker = (ROOT / "docs/site/table_pages.py").read_text()
    assert all(option in maker for option in ("--list-methods", "--list-settings", "--list-presets", "--list-models"))


def test_a_section_a_room_and_then_a_section_a_method():
    titles = list(sections(PAGE))
    assert titles[: len(TITLES)] == list(TITLES.values())
    assert list(TITLES) == [Start, *ROOMS.values()], "the order of a run"
    named = [re.sub(r"Methods? ", "", title) for title in titles[len(TITLES) :]]
    without = re.search(r"^Without settings of their own: (.*)\.$", PAGE, re.M)[1]
    methods = [name for line in (*named, without) for name in re.split(r", | and ", line)]
    assert sorted(methods) == sorted(METHODS)
    assert not [name for name in re.split(r", | and ", without) if fields_of(options_of(name))]


def all_settings():
    """Return (title, dataclass, name) of every setting there is."""
    shared = [(TITLES[owner], owner, name) for owner in (Start, *ROOMS.values()) for name in fields_of(owner)]
    titles = [title for title in sections(PAGE) if title.startswith("Method") and title not in TITLES.values()]
    of = {name: title for title in titles for name in re.split(r"Methods? |, | and ", title)[1:]}
    return shared + [
        (of[method], options_of(method), name) for method in METHODS for name in fields_of(options_of(method))
    ]


@pytest.mark.parametrize(("title", "owner", "name"), all_settings(), ids=lambda x: x if isinstance(x, str) else "")
def test_every_setting_is_listed_with_all_that_is_known_of_it(title, owner, name):
    field = fields_of(owner)[name]
    known, kind = about(field), type_of(owner, name)[0]
    given, default, said = sections(PAGE)[title][name]
    said = said.replace("\\|", "|")
    assert given == option(name) + ("=..." if option(name).startswith("--set") else "")
    assert said.startswith(known.help)
    if known.choices:
        own = f", or your own as {FORM}" if known.own else ""
        assert f" One of {', '.join(known.choices)}{own}." in said
    elif kind in (int, float):
        assert f" {known.range(kind).capitalize()}." in said
    if known.source:
        assert said.endswith(f" Source: {known.source}.")
    if known.works_with:
        other, values = known.works_with
        assert f" Only with {other} = {' or '.join(map(as_text, values))}." in said
    if known.shown:
        assert default == known.shown
    elif field.default is MISSING:
        assert default == "required"
    elif kind in (int, float):
        assert float(default) == pytest.approx(field.default, rel=1e-5)
    else:
        assert default.lower() == str(field.default).lower()


def test_who_uses_a_setting_is_said_of_it_or_of_its_section():
    page = re.split(r"^## ", PAGE, flags=re.M)
    meta = next(part for part in page if part.startswith("Meta step"))
    assert "Only for metasaug, mwn, meta-lp, clp, l2rw and mfrw-mes.\n" in meta
    assert "Only for meta-lp and clp." in sections(PAGE)["Meta step"]["meta_delta"][2]
    assert "Only for" not in sections(PAGE)["Meta step"]["meta_step"][2], "its section says it"
    assert "Only for clp.\n" in next(part for part in page if part.startswith("Saliency term"))
    assert not [row for row in sections(PAGE)["Optimiser of the classifier"].values() if "Only for" in row[2]]


def test_the_whole_list_for_the_terminal():
    done = call("--list-settings")
    assert (done.exit_code, done.stderr, done.stdout) == (0, "", settings_text() + "\n")
    assert {option(name) for method in METHODS for name in settings_of(method)} == listed(done.stdout).keys()
    assert all(len(line) <= WIDTH for line in done.stdout.splitlines())
    assert not re.search(r"\w-$", done.stdout, re.M), "no name is broken at a hyphen"


@pytest.mark.parametrize("method", METHODS)
def test_the_list_of_one_method(method):
    done = call("--list-settings", "--method", method)
    assert (done.exit_code, done.stderr) == (0, "")
    found = listed(done.stdout)
    assert found.keys() == {option(name) for name in settings_of(method)}
    assert ("METHOD " in done.stdout.replace("METHOD AND PRESET", "")) == bool(fields_of(options_of(method)))
    assert (f"Without settings of their own: {method}." in done.stdout) == (not fields_of(options_of(method)))
    page = call("--list-settings", "--method", method, "--markdown").stdout
    assert {name for rows in sections(page).values() for name in rows} == set(settings_of(method))
    assert page == settings_text(method, markdown=True) + "\n"


def test_the_list_of_clp_has_what_results_record_and_nothing_of_others():
    assert set(RECORD) <= set(settings_of("clp"))
    said = listed(call("--list-settings", "--method", "clp").stdout)
    assert said["--lr"] == ("0.1", "Learning rate of the classifier. A number > 0.")
    assert said["--set online_epsilon"][1].endswith("A number from 0 to 1. Only with online = fgsm.")
    assert "--set tau" not in said


def test_an_unknown_method_is_one_line():
    assert call("--list-settings", "clp").stdout == call("--list-settings", "--method", "clp").stdout
    done = call("--list-settings", "--method", "clpp")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: unknown method 'clpp': did you mean clp? choose one of ")


@pytest.mark.parametrize("more", [[], ["--markdown"], ["--method", "erm"], ["--meta", "x.h5", "--epochs", "0"]])
def test_it_trains_nothing_and_ends_well(more, monkeypatch):
    monkeypatch.setattr(cli, "run", lambda *_: pytest.fail("a run"))
    done = call("--list-settings", *more)
    assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.parametrize("place", ["help", "shown", "source"])
def test_names_in_a_setting_make_no_columns_and_no_tags(monkeypatch, place):
    """Presets, files and methods of others may bring any text."""
    field = fields_of(Start)["method"]
    hostile = dataclasses.replace(about(field), **{place: "a|b <b>x</b>\n\x1b"})
    monkeypatch.setattr("clp_train.list_settings.about", lambda other: hostile if other is field else about(other))
    row = next(line for line in settings_text(markdown=True).splitlines() if line.startswith("| `method`"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 5
    assert "a\\|b &lt;b>x&lt;/b>\ufffd\ufffd" in row
