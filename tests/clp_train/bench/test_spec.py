"""Tables as data: the shipped ones are whole, and what does not fit is named."""

from dataclasses import fields
from pathlib import Path

import pytest

from clp_aug.contract.errors import InputError, UsageError
from clp_train.bench.figures import DRAWINGS
from clp_train.bench.spec import MEASURES, SCALES, Column, Row, Table, names, read_table
from clp_train.methods import METHODS
from clp_train.presets import check_shard
from tests.clp_train.door.calling import config_called

GOOD = """
title = "T"
[columns.a]
title = "A"
[columns.a.cpu]
augment = ["--dataset", "demo"]
train = ["--epochs", "1"]
[columns.b]
title = "B"
measure = "worst"
shared = "a"
[rows.clp]
title = "CLP"
method = "clp"
quoted = { a = 90.5 }
"""


def read(tmp_path, text):
    (tmp_path / "t.toml").write_text(text)
    return read_table(str(tmp_path / "t.toml"))


def test_what_is_read(tmp_path):
    table = read(tmp_path, GOOD)
    assert (table.name, table.title, list(table.columns), list(table.rows)) == ("t", "T", ["a", "b"], ["clp"])
    assert table.columns["a"].cpu.augment == ("--dataset", "demo")
    assert table.columns["a"].paper is None
    assert table.columns["b"].measure == "worst"
    assert table.rows["clp"].quoted == {"a": 90.5}
    assert (table.rows["clp"].cf, table.rows["clp"].f, table.rows["clp"].own) == ("tile", "random", ())


MESSAGES = {
    "method": (
        ('method = "clp"', 'method = "clap"'),
        "unknown method of row clp 'clap': did you mean clp? choose one of ace, afr, ala, apl, ",
    ),
    "key": (("measure =", "measures ="), "unknown key of b 'measures': did you mean measure? choose one of"),
    "measure": (('"worst"', '"best"'), "unknown measure of column b 'best': choose one of accuracy, average, error"),
    "shared": (('shared = "a"', 'shared = "c"'), "unknown shared column of b 'c': choose one of a, b"),
    "shared twice": (('shared = "a"', 'shared = "b"'), "column b shares the runs of b, which has no runs of its own"),
    "no scale": (("[columns.a.cpu]", "[columns.c.cpu]"), "c: no title; add a line title = ..."),
    "quoted": (("{ a = 90.5 }", "{ z = 90.5 }"), "unknown quoted column of row clp 'z': choose one of a, b"),
    "quoted text": (("{ a = 90.5 }", '{ a = "x" }'), "row clp: quoted a = 'x'; expected a number in percent"),
    "type": (('title = "CLP"', "title = 3"), "clp: title = 3; expected a name"),
    "list": (('augment = ["--dataset", "demo"]', 'augment = "demo"'), "a.cpu: augment = 'demo'; expected a list of"),
    "no title": (('title = "T"', ""), "t: no title; add a line title = ..."),
    "nothing": ((GOOD, 'title = "T"'), "no columns or no rows: expected tables"),
    "columns": ((GOOD, "title = 'T'\ncolumns = 5"), "columns = 5; expected a table, [columns]"),
    "rows": ((GOOD, "title = 'T'\nrows = [1]"), "rows = [1]; expected a table, [rows]"),
    "column": ((GOOD, "title = 'T'\ncolumns.a = 5"), "columns.a = 5; expected a table, [columns.a]"),
    "row": (
        (GOOD, "columns.a = {title = 'A', shared = 'a'}\nrows.b = 'x'"),
        "rows.b = 'x'; expected a table, [rows.b]",
    ),
    "scale": (
        ("[columns.a.cpu]", "cpu = 3\n[columns.a.paper]"),
        "columns.a.cpu = 3; expected a table, [columns.a.cpu]",
    ),
    "quoted number": (("{ a = 90.5 }", "5"), "rows.clp.quoted = 5; expected a table, [rows.clp.quoted]"),
    "quoted list": (("{ a = 90.5 }", "[90.5]"), "rows.clp.quoted = [90.5]; expected a table, [rows.clp.quoted]"),
    "quoted nan": (("{ a = 90.5 }", "{ a = nan }"), "row clp: quoted a = nan; expected a number in percent"),
    "no place": (('method = "clp"', 'method = "clp"\nx = nan'), "row clp: x = nan; expected a number"),
    "no end": (('method = "clp"', 'method = "clp"\nx = -inf'), "row clp: x = -inf; expected a number"),
    "too far": (
        ('method = "clp"', 'method = "clp"\nx = 1e308'),
        "row clp: x = 1e+308; expected a number in [-1e+300, 1e",
    ),
    "digits": (('title = "T"', "title = " + "9" * 4301), "not TOML (Exceeds the limit"),
    "not toml": (('title = "T"', "title = "), "not TOML"),
}


@pytest.mark.parametrize("what", MESSAGES)
def test_one_line_for_each_problem(tmp_path, what):
    (old, new), message = MESSAGES[what]
    assert old in GOOD
    with pytest.raises(InputError) as caught:
        read(tmp_path, GOOD.replace(old, new, 1))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_names_list_the_tables(tmp_path):
    with pytest.raises(UsageError, match=r"unknown table 'table9': did you mean table8\? choose one of .*table2"):
        read_table("table9")
    with pytest.raises(InputError, match=r"none.toml \(No such file or directory\)"):
        read_table(str(tmp_path / "none.toml"))


@pytest.mark.parametrize("name", names())
def test_shipped_tables_name_methods_and_settings_that_exist(name, tmp_path):
    table = read_table(name)
    assert {column for row in table.rows.values() for column in row.quoted} <= set(table.at("paper"))
    assert table.at("cpu") or name == "table8", "no set like MSCOCO-GLT can be generated here"
    for column in table.columns.values():
        for scale in SCALES:
            how = getattr(column, scale)
            for row in table.rows.values():
                if how is not None:
                    own = (*how.train, *row.train, *row.own)  # presets and settings must be valid for the method
                    assert config_called("--meta", "x.h5", "--method", row.method, *own).method == row.method
    assert {row.method for row in table.rows.values()} <= set(METHODS)
    assert all(0 <= value <= 100 for row in table.rows.values() for value in row.quoted.values())
    assert all(row.reference or row.quoted or name.startswith(("fig", "table4")) for row in table.rows.values())


def test_the_columns_of_table_2_have_the_presets_of_their_own_data():
    """LPL has settings of its own on CIFAR-100, one of them for each ratio."""
    for column in read_table("table2").columns.values():
        shard = dict(zip(column.paper.augment[::2], column.paper.augment[1::2], strict=True))
        (_, preset), settings = column.paper.train, {"imbalance": float(shard["--imbalance"])}
        check_shard(preset, shard["--dataset"], settings)
        with pytest.raises(UsageError):
            check_shard(preset, shard["--dataset"], {"imbalance": 50.0})


def test_the_table_of_the_documentation(tmp_path):
    """It is read, and says all that it shows; its commands are those of the bench."""
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "compare-methods.md").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(page.split("```toml\n")[1].split("```")[0])
    table = read_table(str(path))
    assert table.at("cpu") == ["accuracy", "worst"]
    assert (table.rows["clp"].f, table.rows["meta-lp"].f) == ("mix-rand", "random")
    for kind in (Table, Column, Row):
        assert all(f"`{one.name}`" in page for one in fields(kind) if one.name not in ("name", "columns", "rows"))
    assert all(f"`{name}`" in page for name in (*MEASURES, *DRAWINGS))
