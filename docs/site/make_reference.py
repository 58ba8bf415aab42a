"""Write the generated pages of docs/reference: python docs/site/make_reference.py [--check].

`--check` writes nothing; it names each page that is not current, and ends with exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from api_pages import api_pages
from command_pages import COMMANDS, command_pages
from table_pages import list_pages, table_pages

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
INDEX = """# Reference

| page | what it has |
|---|---|
{commands}
| [settings](settings.md) | every setting of `clp-train`: default, range, equation or source |
| [methods](methods.md) | every method: paper, needs, cost |
| [presets](presets.md) | named settings for `--preset` |
| [models](models.md) | classifiers for `--model` |
| [fills](fills.md) | what replaces an object or a background |
| [mattes](mattes.md) | what finds the object |
| [data sets](datasets.md) | what `clp-augment --dataset` reads |
| [the shard](shard.md) | the file that `clp-augment` writes and `clp-train` reads |
| [exit codes](exit-codes.md) | how commands end |
| [clp_aug](api/clp_aug.md), [clp_train](api/clp_train.md) | the Python packages |
| [plug-ins](api/plugins.md), [more names](api/inner.md) | names that own code builds on |

`make docs` writes these pages from the code, all but the one about the shard.
"""
PURPOSE = {
    "clp-augment": "makes a shard: finds objects, makes counterfactuals and factuals",
    "clp-inspect": "shows what a shard holds",
    "clp-fit": "fits the matting or the inpainting network on your own pictures",
    "clp-data": "makes a data set with a known shift",
    "clp-train": "trains a classifier on a shard",
    "clp-predict": "predicts pictures with a finished run",
    "clp-audit": "measures how much a classifier depends on the background",
    "clp-compare": "puts several runs on one page",
    "clp-bench": "makes tables that compare methods",
}


def pages() -> dict[str, str]:
    """Return file name under docs/reference -> text, for every generated page."""
    commands = "\n".join(f"| [{name}](commands/{name}.md) | {PURPOSE[name]} |" for name in COMMANDS)
    made = {
        "index.md": INDEX.format(commands=commands),
        **command_pages(),
        **list_pages(),
        **table_pages(),
        **api_pages(),
    }
    return {name: text.rstrip("\n") + "\n" for name, text in made.items()}


def is_current(name: str, text: str) -> bool:
    """Whether a page on disk is what would be written."""
    path = REFERENCE / name
    return path.exists() and path.read_text(encoding="utf-8") == text


def main() -> int:
    """Write the pages that are not current, or with --check name them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="Write nothing; name the pages that are not current.")
    check = parser.parse_args().check
    made = pages()
    stale = [name for name, text in made.items() if not is_current(name, text)]
    for name in stale:
        print(f"docs/reference/{name}: not current; run: make docs" if check else f"docs/reference/{name}")
        if not check:
            (REFERENCE / name).parent.mkdir(parents=True, exist_ok=True)
            (REFERENCE / name).write_text(made[name], encoding="utf-8", newline="\n")
    known = {name for name in made if "/" in name}
    for path in (path for folder in ("commands", "api") for path in (REFERENCE / folder).glob("*.md")):
        if path.relative_to(REFERENCE).as_posix() not in known:
            print(f"{path}: no longer made; delete it")
            stale.append(path.name)
    return int(check and bool(stale))


if __name__ == "__main__":
    raise SystemExit(main())
