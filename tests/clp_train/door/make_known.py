"""Write clp_train/methods/known.py, the methods' own settings: python -m tests.clp_train.door.make_known"""

from pathlib import Path

from clp_aug.common.settings import about, fields_of, type_of
from clp_train.methods import METHODS, options_of

PLACE = Path(__file__).resolve().parents[3] / "clp_train" / "methods" / "known.py"
HEAD = '''"""The settings that each method has of its own, for the completion of shells, which must not load torch.

Made by `python -m tests.clp_train.door.make_known`; a test says when it is stale.
"""

KNOWN: dict[str, dict[str, tuple[str, ...]]] = {
'''


def text():
    """Return the module: method -> setting -> its values."""
    lines = [HEAD]
    for method in METHODS:
        owner = options_of(method)
        rows = {name: values_of(owner, name) for name in fields_of(owner)}
        if rows:
            lines.append(f'    "{method}": {{\n')
            lines += [f"        {quoted(name)}: {tuple_of(values)},\n" for name, values in rows.items()]
            lines.append("    },\n")
    return "".join([*lines, "}\n"])


def values_of(owner, name):
    """Return the values of a setting that can be listed."""
    return ("true", "false") if type_of(owner, name)[0] is bool else tuple(about(fields_of(owner)[name]).choices)


def quoted(text):
    """Return a text as ruff formats it."""
    return repr(text) if '"' in text else f'"{text}"'


def tuple_of(values):
    """Return names as a tuple."""
    inside = ", ".join(map(quoted, values))
    return f"({inside},)" if len(values) == 1 else f"({inside})"


if __name__ == "__main__":
    PLACE.write_text(text(), encoding="utf-8")
