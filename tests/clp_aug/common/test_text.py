"""Names that others wrote: nothing in them acts on a terminal, or on a page of Markdown."""

import pytest

from clp_aug.common.text import code_in_markdown, in_markdown, printable

MARK = "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("añb 中", "añb 中"),
        ("[red]cat [/mug] :smile:", "[red]cat [/mug] :smile:"),
        ("\x1b[31mred\x07", f"{MARK}[31mred{MARK}"),
        ("\x9b31m", f"{MARK}31m"),
        ("a\nerror: b\r\tc", f"a{MARK}error: b{MARK}{MARK}c"),
        ("gpj\u202etxt", f"gpj{MARK}txt"),
        ("\ud800 \udcff", f"{MARK} {MARK}"),
        ("full\u3000width\u00a0", "full\u3000width\u00a0"),
        ("\u0645\u06cc\u200c\u0634\u0648\u062f", "\u0645\u06cc\u200c\u0634\u0648\u062f"),
        ("\u2028\u0000\x7f", MARK * 3),
    ],
    ids=["good", "markup", "escape", "c1", "lines", "bidi", "surrogate", "blanks", "joiner", "nul"],
)
def test_printable(text, shown):
    assert printable(text) == shown
    assert len(printable(text)) == len(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("CE + re-weighting", "CE + re-weighting"),
        ("a number >= 0 and < 1", "a number >= 0 and < 1"),
        ("a|b", "a\\|b"),
        ("<b>x</b><!--", "&lt;b>x&lt;/b>&lt;!--"),
        ("a\n| b |", f"a{MARK}\\| b \\|"),
    ],
    ids=["good", "less than", "column", "tags", "line"],
)
def test_markdown(text, shown):
    assert in_markdown(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"), [("clp-bench a", "`clp-bench a`"), ("a`b", "`` a`b ``"), ("``", "``` `` ```")]
)
def test_code_ends_where_it_should(text, shown):
    assert code_in_markdown(text) == shown
