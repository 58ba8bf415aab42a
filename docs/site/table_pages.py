"""Pages of the reference made from registries (fills, mattes, data sets, exit codes), and those of clp-train."""

from __future__ import annotations

import textwrap

from clp_aug.common.settings import about, fields_of
from clp_aug.common.terminal import EXIT_UNREAD
from clp_aug.common.text import in_markdown, table_in_markdown
from clp_aug.contract.errors import EXIT_FALLBACKS, EXIT_GAP, EXIT_INPUT, EXIT_INTERRUPTED, EXIT_USAGE
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL
from clp_aug.datasets import DATASETS, DEFAULT_META, META_FROM_VAL, SHARED_ROOTS
from clp_aug.fills import FILLS, option_classes
from clp_aug.mattes import FALLBACKS, MATTES, MAY_HAVE_FILE, NEEDS_FILE

FILL_NOTES = {
    "fgsm": "needs `--classifier`, a program from `clp-train --export`",
    "recolour": "ours, against spurious colour",
    "keep-colour": "ours, against spurious colour",
    "cagan": "our own small network, shipped ([model card](../../assets/cagan.md))",
    "lama": "needs `--lama-weights FILE.pt`, LaMa's network as TorchScript",
}
DATA_NOTES = {
    "demo": "Rings and crosses before two photographs. Built in, made from a seed; needs no files.",
    "folder": "Class folders: `ROOT/CLASS/a.jpg`, or `ROOT/train/CLASS/`, `ROOT/val/CLASS/`, `ROOT/test/CLASS/`.",
    "table": "A table (CSV) with `file`, `label` and, if known, `split`, group or attributes, box, mask.",
    "wds": "Tar files in the layout of webdataset: `wds:'train-{0000..0099}.tar'`. They are not unpacked.",
    "waterbirds": "Waterbirds in the layout of WILDS and group DRO: `metadata.csv` and pictures; group = 2 y + place.",
    "cifar10": "CIFAR-10: the published python batches, or class folders.",
    "cifar100": "CIFAR-100 with fine labels: the published files, or class folders.",
    "imagenet-lt": "ImageNet-LT (Liu et al. 2019), as lists of paths and labels.",
    "places-lt": "Places-LT (Liu et al. 2019), as lists of paths and labels.",
    "inaturalist18": "iNaturalist 2018, as lists of paths and labels.",
    "imagenet-glt": "ImageNet-GLT (Tang et al. 2022): imbalanced classes and attributes; protocols CLT and GLT.",
    "imagenet-cbl": "The same pictures with balanced classes; protocol ALT.",
    "mscoco-glt": "MSCOCO-GLT (Tang et al. 2022); protocols CLT and GLT.",
    "mscoco-cbl": "The same pictures with balanced classes; protocol ALT.",
    "generated-glt": "A generalised long tail that `clp-data glt` made of your pictures; protocols CLT and GLT.",
    "generated-cbl": "The same pictures with balanced classes; protocol ALT.",
}
CODES = (
    (
        0,
        "done",
        "The command finished. Its last lines name the file that it wrote and, if there is one, the next command.",
    ),
    (EXIT_USAGE, "usage", "An option or a setting is unknown, out of range, or contradicts another one."),
    (EXIT_INPUT, "bad input", "A file, a picture, a table, a shard or a device cannot be used."),
    (EXIT_FALLBACKS, "too many fallbacks", "The chosen matte failed on more pictures than `--max-fallback` allows."),
    (EXIT_GAP, "background gap", "`clp-audit --max-gap`: the gap is above the limit, or the audit cannot tell."),
    (EXIT_INTERRUPTED, "interrupted", "Ctrl-C or a signal. The line on stderr says what was kept and how to go on."),
    (EXIT_UNREAD, "output not read", "The reader of the output closed it, for instance `| head`."),
)
LISTS = {
    "settings.md": "--list-settings",
    "methods.md": "--list-methods",
    "presets.md": "--list-presets",
    "models.md": "--list-models",
}
MADE = "`make docs` writes this page."


def list_pages() -> dict[str, str]:
    """Return the pages that `clp-train --list-... --markdown` prints."""
    from click.testing import CliRunner

    from clp_train.cli import train

    pages = {}
    for name, option in LISTS.items():
        done = CliRunner().invoke(train, [option, "--markdown"], catch_exceptions=False)
        if done.exit_code != 0:
            raise SystemExit(f"clp-train {option} --markdown: exit code {done.exit_code}: {done.output}")
        pages[name] = done.stdout
    return pages


def table_pages() -> dict[str, str]:
    """Return file name -> text of the pages that are made from the registries of clp_aug."""
    return {"fills.md": fills(), "mattes.md": mattes(), "datasets.md": datasets(), "exit-codes.md": exit_codes()}


def text_of(title: str, introduction: str, *blocks: list[str]) -> str:
    """Return a page: title, introduction, blocks of lines."""
    lines = [f"# {title}", "", *textwrap.wrap(f"{introduction} {MADE}", 118, break_on_hyphens=False), ""]
    for block in blocks:
        lines += [*block, ""]
    return "\n".join(lines)


def fills() -> str:
    """Return the page of fills and their settings."""
    rows = []
    for name, fill in FILLS.items():
        kinds = ["x" if kind in fill.kinds else "" for kind in (COUNTERFACTUAL, FACTUAL)]
        facts = [in_markdown(fill.summary), *([FILL_NOTES[name]] if name in FILL_NOTES else [])]
        rows.append([f"`{name}`", *kinds, "; ".join(facts)])
    settings = []
    for name, owner in option_classes().items():
        for key, field in fields_of(owner).items():
            declared = about(field)
            default = declared.shown or ("none" if field.default in (None, "") else str(field.default))
            option = "--" + key.replace("_", "-")
            settings.append([f"`{name}`", f"`{option}`", in_markdown(default), in_markdown(declared.help)])
    return text_of(
        "Fills",
        "A fill makes the pixels that replace the object (`--cf`, a counterfactual) or the background (`--f`, a"
        " factual). `clp-augment --cf grey,tile` mixes fills in equal shares. A fill of your own:"
        " [plug-ins](../how-to/plugins.md).",
        table_in_markdown(("fill", "`--cf`", "`--f`", "what it puts in"), rows),
        ["## Settings of fills", ""] + table_in_markdown(("fill", "option", "default", "what it does"), settings),
    )


def mattes() -> str:
    """Return the page of mattes."""
    rows = []
    for name, (_, summary) in MATTES.items():
        spelling = f"{name}:FILE" if name in NEEDS_FILE else f"{name}[:FILE]" if name in MAY_HAVE_FILE else name
        rows.append([f"`{spelling}`", in_markdown(summary)])
    return text_of(
        "Mattes",
        "A matte finds the object of a picture; its box comes from it. `clp-augment --matte NAME` chooses one."
        " Without `--matte`, boxes and masks that come with the pictures are used (`given`), else `hatt`. When a matte"
        f" finds nothing usable, the next of these is tried: {', '.join(f'`{name}`' for name in FALLBACKS)}. More:"
        " [mattes and boxes](../how-to/boxes.md), [model card of hatt](../../assets/hatt.md).",
        table_in_markdown(("`--matte`", "what it is"), rows),
    )


def datasets() -> str:
    """Return the page of data sets."""
    rows = []
    for name in DATASETS:
        meta = f"`{DEFAULT_META[name]}`" if name in DEFAULT_META else "`10/group` if groups are known, else `10/class`"
        source = "val" if name in META_FROM_VAL else "train"
        place = "-" if name == "demo" else f"`data/{SHARED_ROOTS.get(name, name)}`"
        rows.append([f"`{name}`", DATA_NOTES[name], place, meta, source])
    return text_of(
        "Data sets",
        "What `clp-augment --dataset NAME` reads. `--root DIR` names the folder; without it the folder is"
        " `$CLP_DATA/NAME`, else `data/NAME`. The meta set is chosen by `--meta` from the split of `--meta-from`; the"
        " table has the defaults."
        " Layouts and examples: [data](../how-to/data.md). A data set of your own: [plug-ins](../how-to/plugins.md).",
        table_in_markdown(("`--dataset`", "what is read", "default folder", "default `--meta`", "from"), rows),
    )


def exit_codes() -> str:
    """Return the page of exit codes."""
    rows = [[str(code), name, in_markdown(what)] for code, name, what in CODES]
    return text_of(
        "Exit codes",
        "How all commands end. An error is one line on stderr: the value, what was expected, and the remedy.",
        table_in_markdown(("code", "name", "when"), rows),
    )
