"""Tables of labelled pictures that cannot be read: one line each, with the row and the form expected."""

import pytest

from clp_aug.contract.errors import InputError, SettingError
from clp_aug.datasets import load_dataset, table
from tests.clp_aug.datasets.tiny_sets import save_picture, write_table

WRONG = {
    "no header": ("a/1.png,cat\na/2.png,dog\n", r"no column file in the header a/1.png, cat; expected a first"),
    "empty": ("", r"the table is empty; expected one line per picture below the header$"),
    "header alone": ("file,label\n", r"the table is empty; expected one line per picture"),
    "short": ("file,label\na/1.png\n", r"line 2: 1 values, not the 2 of the header file,label; correct the line$"),
    "a comma too many": ("file;label\na/1.png;cat;x\n", r"line 2: 3 values, not the 2 of the header file;label; co"),
    "a column twice": ("file,label,label\na/1.png,cat,x\n", r"column label is in the header twice; keep one$"),
    "capitals": (
        "file,label,Label\na/1.png,cat,x\n",
        r"columns label and Label differ only in upper and lower case; keep one",
    ),
    "no label": ("file,label\na/1.png,\n", r"line 2: label is ''; expected a label for every picture$"),
    "no attribute": ("file,label,place\na/1.png,cat,\n", r"line 2: place is ''; expected a value for every picture$"),
    "no split": ("file,label,split\na/1.png,cat,\n", r"line 2: split is ''; expected train, val, test or 0, 1, 2"),
    "split": ("file,label,split\na/1.png,cat,3\n", r"line 2: split is '3'; expected train, val, test or 0, 1, 2"),
    "no file": ("file,label\n,cat\n", r"line 2: file is ''; expected a path below /"),
    "outside": ("file,label\n../a.png,cat\n", r"line 2: file is '../a.png'; expected a path below /"),
    "up by backslashes": ("file,label\na\\..\\..\\a.png,cat\n", r"line 2: file is .*; expected a path below /"),
    "absolute": ("file,label\n/etc/passwd,cat\n", r"line 2: file is '/etc/passwd'; expected a path below /"),
    "another machine": ("file,label\nC:\\a\\1.png,cat\n", r"line 2: file is 'C:.*; expected a path below /"),
    "twice": ("file,label\na/1.png,cat\n./a//1.png,dog\n", r"line 3: a/1.png is in .*line 2 already; list"),
    "missing": ("file,label\na/1.png,cat\na/8.png,cat\na/9.png,cat\n",
                r"table.csv: 2 of 3 pictures are missing, first .*/a/8.png; restore them or take them out of table"),
    "a null": ("file,label\na/1.png\0,cat\n", r"1 of 1 pictures are missing|not a CSV file"),
    "no class folder": ("file\ntop.png\n", r"line 2: no column label, and top.png is in no class folder; add one$"),
    "a box that is none": ("file,label,x0,y0,x1,y1\na/1.png,cat,5,1,4,9\n", r"line 2: box .*; expected 0 <= x0 < x1"),
    "a box of words": ("file,label,x0,y0,x1,y1\na/1.png,cat,5,1,x,9\n", r"line 2: x1 is 'x'; expected a number"),
    "shares": ("file,label,x0,y0,x1,y1\na/1.png,cat,0.1,0.1,0.9,1\n", r"line 2: box .*, and all others are as small"),
    "a missing mask": ("file,label,mask\na/1.png,cat,m/1.png\n", r"1 of 1 pictures are missing, first .*/m/1.png"),
    "letters": ("file,label\na/1.png,\ud800\n".encode("utf-8", "surrogatepass"), r"not a CSV file in UTF-8"),
    "long label": ("file,label\na/1.png," + "c" * 300 + "\n", r"a label name of 300 bytes, 'c{79}\.\.\."),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_wrong_tables(tmp_path, text, message):
    write_table(tmp_path, text)
    save_picture(tmp_path / "top.png")
    with pytest.raises(InputError, match=message) as raised:
        table.load(tmp_path)
    assert "\n" not in str(raised.value)
    assert "table.csv" in str(raised.value)


LINES = {
    "cut": ('{"file_name": "a/1.png", "la', r"line 1: not JSON \(.*\); expected one object a line$"),
    "a list": ("[1]", r"line 1: a list; expected an object with file_name$"),
    "deep": ('{"file_name": "a/1.png", "label": 1}\n' + "[" * 100_000, r"line 2: nested too deep; expected an object"),
    "empty": ("\n\n", r"the table is empty"),
    "no name": ('{"label": 1}', r"no column file in the header label; expected a first line with the names"),
    "blanks": ('{"file_name": "a/1.png", "a": 1, " a": 2}', r"names that differ only by blanks"),
}


@pytest.mark.parametrize(("text", "message"), LINES.values(), ids=LINES)
def test_wrong_json_lines(tmp_path, text, message):
    with pytest.raises(InputError, match=rf"metadata.jsonl.*{message}") as raised:
        table.load(write_table(tmp_path, text, "metadata.jsonl"))
    assert "\n" not in str(raised.value)


PLAIN = "file,label\na/1.png,cat\na/2.png,dog\n"


def test_which_table_counts_is_not_guessed(tmp_path):
    write_table(tmp_path, PLAIN, "one.csv")
    write_table(tmp_path, PLAIN, "two.csv")
    with pytest.raises(InputError, match=r"several tables, one.csv, two.csv; rename the right one to table.csv$"):
        table.load(tmp_path)
    with pytest.raises(
        InputError, match=r"no table.csv, metadata.csv, .* and no other CSV file in .*; see docs/how-to/data.md$"
    ):
        table.load(tmp_path / "a")
    write_table(tmp_path / "above/data", PLAIN)
    for root in ("above", "above/data/a"):
        with pytest.raises(InputError, match=rf"; give --root {tmp_path}/above/data$"):
            table.load(tmp_path / root)


def test_attributes_that_are_none(tmp_path):
    write_table(tmp_path, "file,label,group,place,light\na/1.png,cat,x,sea,0\na/2.png,dog,y,sea,1\n")
    for attributes, message in (
        (["plaze"], r"no column plaze of attributes; did you mean place\? choose of group, light, place, or none$"),
        (["label"], r"no column label of attributes; choose of group, light, place, or none$"),
        (["place", "Place"], r"a column is named twice; name each once$"),
    ):
        with pytest.raises(SettingError, match=message):
            load_dataset("table", tmp_path, attributes)
    write_table(tmp_path, "file,label\na/1.png,x\n")
    with pytest.raises(SettingError, match=r"no column place of attributes; its table has no such columns$"):
        table.load(tmp_path, ["place"])


def test_texts_are_no_attributes(tmp_path):
    files = [f"p/{k}.png" for k in range(40)]
    rows = "".join(f"{file},{k % 30},a picture of {k}\n" for k, file in enumerate(files))
    write_table(tmp_path, "file,label,text\n" + rows, files=files)
    with pytest.raises(
        InputError, match=r"30 labels and the values of text with 40 make 1,200 groups, expected at most"
    ):
        table.load(tmp_path)
    assert table.load(tmp_path, ["none"]).group_names == ()
