"""Tables as spreadsheets of several countries write them, and what is said of those that cannot be read."""

import pytest

from clp_aug.contract.errors import InputError
from clp_aug.datasets.tables import read_table

COLUMNS = ("file", "x0", "y0")
READ = {
    "plain": "file,x0,y0\na.jpg,1,2\n",
    "no last line end": "file,x0,y0\na.jpg,1,2",
    "blanks in the header": "file, x0, y0\na.jpg,1,2\n",
    "blanks everywhere": " file , x0,\ty0 \n a.jpg , 1,2 \n",
    "quoted": '"file","x0","y0"\n"a.jpg","1","2"\n',
    "quoted after blanks": 'file, "x0", "y0"\n"a.jpg", "1", "2"\n',
    "semicolons": "file;x0;y0\na.jpg;1;2\n",
    "semicolons and blanks": "file; x0; y0\na.jpg; 1; 2\n",
    "tabs": "file\tx0\ty0\na.jpg\t1\t2\n",
    "empty lines of a spreadsheet": "file,x0,y0\n,,\na.jpg,1,2\n, ,\n,,,,\n\n",
    "byte order mark": "\ufefffile,x0,y0\na.jpg,1,2\n",
    "Windows": "file,x0,y0\r\na.jpg,1,2\r\n",
    "Unicode of Excel": "file\tx0\ty0\r\na.jpg\t1\t2\r\n".encode("utf-16"),
    "the other order": b"\xfe\xff" + "file,x0,y0\na.jpg,1,2\n".encode("utf-16-be"),
    "old Macintosh": "file,x0,y0\ra.jpg,1,2\r",
}


@pytest.mark.parametrize("text", READ.values(), ids=READ)
def test_what_spreadsheets_write_is_read(tmp_path, text):
    (tmp_path / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    (entry,) = read_table(tmp_path / "t.csv", COLUMNS)
    assert {column: entry[1][column] for column in COLUMNS} == {"file": "a.jpg", "x0": "1", "y0": "2"}


def test_blanks_belong_to_the_names_of_a_plain_table(tmp_path):
    (tmp_path / "t.csv").write_text("file,x0,y0\n a.jpg ,1,2\n\nb;c.jpg,3,4\n")
    first, second = read_table(tmp_path / "t.csv", COLUMNS)
    assert first == (2, {"file": " a.jpg ", "x0": "1", "y0": "2"})
    assert second == (4, {"file": "b;c.jpg", "x0": "3", "y0": "4"})


REFUSED = {
    "capitals": ("File,X0,y0\na,1,2\n", r"no column file, x0 in the header File, X0, y0; write File, X0 in lower case"),
    "twice": ("file,x0,x0,y0\na,1,1,2\n", r"column x0 is in the header twice; keep one$"),
    "no header": ("a.jpg,1,2\n", r"no column file, x0, y0 in the header a.jpg, 1, 2; add it$"),
    "two signs": ("file;x0,y0\na;1,2\n", r"no column file, x0 in the header file;x0, y0; add it$"),
    "long header": ("x" * 9000 + "\n", r"in the header x{80}\.\.\.; add it$"),
    "codes": ("\x1b[31mfile\n", "in the header \N{REPLACEMENT CHARACTER}" + r"\[31mfile; add it$"),
    "nothing but empty lines": ("file,x0,y0\n,,\n", r"the table is empty; expected one line per picture below the"),
    "short": ("file;x0;y0\na;1\n", r"line 2: not the 3 columns of the header; correct the line$"),
    "long value": ("file,x0,y0\n" + "a" * 140_000 + ",1,2\n", r"not a CSV file in UTF-8 \(field larger .*\); save it"),
    "an open quote": ('file,x0,y0\n"a,1,2\n' + "b,1,2\n" * 30_000, r"not a CSV file in UTF-8 \(field larger"),
    "other letters": (b"file,x0,y0\ncaf\xe9,1,2\n", r"not a CSV file in UTF-8 \('utf-8' codec .*\); save it again$"),
    "half of UTF-16": ("file\tx0\ty0\n".encode("utf-16")[:-1], r"not a CSV file in UTF-8 \(.*\); save it again$"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_one_line(tmp_path, text, message):
    (tmp_path / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message) as raised:
        read_table(tmp_path / "t.csv", COLUMNS)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(("name", "message"), [
    ("t" * 300, r"\(File name too long\); expected columns file, x0, y0$"), ("", r"\(Is a directory\); expected col"),
    ("a\0b", r"cannot read .* \(embedded null byte\); expected columns file, x0, y0$"),
])  # fmt: skip
def test_what_cannot_be_opened(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / name, COLUMNS)
