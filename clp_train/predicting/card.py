"""card.md: the model card of a trained classifier, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clp_aug.common.files import written_beside
from clp_aug.common.text import code_in_markdown, in_markdown
from clp_aug.contract.schema import Header
from clp_train.config import make_config, spell_option
from clp_train.evaluating.selection import LAST, WORST_GROUP, knew_of, title_of
from clp_train.predicting.description import PLACES, Description

CARD = "card.md"
UNSAID = (
    *PLACES, "method", "export", "device", "store", "workers", "preset", "plugins", "options", "checkpoint_interval",
)  # fmt: skip
"""Settings that say nothing about the classifier, or that the card names elsewhere."""
MOST_ROWS = 50  # groups; of more groups the card gives only the number
TERMS = "_terms"
"""End of the names of a shard's settings that hold the terms of a fill's weights."""


def write_card(folder: Path, about: Description, result: Mapping[str, Any], header: Header) -> None:
    """Write the model card. result: of the run, as plain JSON; header: of its shard. Raises InputError when the disk
    refuses.
    """
    sections = (title(about), loading(about), data(result, about), accuracies(result), settings(result), terms(header))
    lines = [line for section in sections for line in (*section, "")]
    with written_beside(folder / CARD) as temporary:
        temporary.write_bytes("\n".join(lines).rstrip("\n").encode("utf-8", "replace") + b"\n")


def title(about: Description) -> Iterator[str]:
    """Yield the title and one paragraph about the classifier."""
    config = about.config
    yield f"# {in_markdown(about.method)} on {in_markdown(about.dataset)}"
    yield ""
    yield (
        f"A classifier of pictures into {len(about.class_names)} classes: {in_markdown(str(config['model']))}, trained"
        f" with {in_markdown(about.method)}, seed {config['seed']}. Its weights are `{about.weights}`, of epoch"
        f" {about.epoch}. It takes RGB pictures of {about.size} x {about.size} pixels, made square by {about.fit}."
    )


def loading(about: Description) -> Iterator[str]:
    """Yield how to load it."""
    yield from (
        "## How to load it",
        "",
        "```python",
        "from clp_train import load_classifier",
        "",
        'classifier = load_classifier("THIS FOLDER")',
        'picture = classifier.preprocess("a.jpg")',
        "probabilities = classifier(picture[None]).softmax(1)  # in the order of classifier.class_names",
        "```",
        "",
        "Or on the command line: `clp-predict THIS_FOLDER PICTURES --out predictions.csv`.",
    )


def data(result: Mapping[str, Any], about: Description) -> Iterator[str]:
    """Yield the section about its training data, with counts."""
    part = "group" if result["has_groups"] else "class"
    names, counts = result["group_names"], result["train_group_counts"]
    meta = ", ".join(f"{n} {kind}s" for kind, n in result["meta_kinds"].items())
    yield from ("## Data", "")
    yield (
        f"Data set {in_markdown(about.dataset)}, fingerprint {result['fingerprint'][:12]}: {sum(counts)} training"
        f" pictures; meta set: {meta}."
    )
    noise = result["shard_settings"].get("noise")
    if noise:
        yield f"Some labels of training pictures were changed on purpose: noise {in_markdown(str(noise))}."
    yield ""
    if len(names) > MOST_ROWS:
        yield f"{len(names)} {part}s of {min(counts)} to {max(counts)} training pictures."
        return
    yield from (f"| {part} | training pictures |", "|---|---:|")
    yield from (f"| {in_markdown(name)} | {n} |" for name, n in zip(names, counts, strict=True))


def accuracies(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield its accuracy on each split, and by group on the test splits."""
    snapshot = result["selected"] or result["last"]
    worst = "worst group" if result["has_groups"] else "worst class"
    yield from ("## Accuracy", "", f"| split | average | {worst} | weighted as in training | pictures |")
    yield "|---|---:|---:|---:|---:|"
    for split, m in snapshot["metrics"].items():
        shares = (percent(m[key]) for key in ("average", "worst", "weighted_average"))
        yield f"| {in_markdown(split)} | {' | '.join(shares)} | {sum(m['group_counts'])} |"
    yield from ("", chosen(result))
    tests = {split: m for split, m in snapshot["metrics"].items() if split != "val"}
    if not tests or len(result["group_names"]) > MOST_ROWS:
        return
    yield from ("", f"| {worst.split()[1]} | {' | '.join(map(in_markdown, tests))} |", "|---|" + "---:|" * len(tests))
    for g, name in enumerate(result["group_names"]):
        cells = (f"{percent(m['per_group'][g])} of {m['group_counts'][g]}" for m in tests.values())
        yield f"| {in_markdown(name)} | {' | '.join(cells)} |"


def chosen(result: Mapping[str, Any]) -> str:
    """Return one sentence on how the epoch was selected."""
    way = result.get("selected_by") or WORST_GROUP
    if not result["selected"] or way == LAST:
        return "Nothing was selected: it is the last epoch."
    title, knew = title_of(way, result["has_groups"]), knew_of(way, result["has_groups"])
    return f"The epoch was selected by the {title} on val, which needs {knew}, never by test."


def percent(share: float | None) -> str:
    """Return a share in [0, 1] as text, a dash for None."""
    return "-" if share is None else f"{100 * share:.1f} %"


def settings(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the settings of the run that are not the defaults of its method."""
    config = result["config"]
    usual = make_config({"meta": config["meta"], "method": config["method"]}).as_json()
    values = {k: v for k, v in config.items() if k not in UNSAID and usual.get(k) != v} | config["options"]
    yield from ("## Settings", "")
    if not values:
        yield f"The defaults of `clp-train --method {config['method']}`."
        return
    yield f"Those that are not the defaults of `clp-train --method {config['method']}`:"
    yield ""
    yield from (f"- {code_in_markdown(spell_option(name, value))}" for name, value in values.items())


def terms(header: Header) -> Iterator[str]:
    """Yield the terms of pictures, boxes, fills and weights, as far as the shard states them."""
    yield from ("## Terms", "")
    yield f"- Pictures: those of data set {in_markdown(header.dataset)} itself, which are not recorded."
    if header.matte.get("licence"):
        yield f"- Boxes: matte {in_markdown(str(header.matte['name']))}, {in_markdown(str(header.matte['licence']))}."
    for name, value in header.settings.items():
        if name.endswith(TERMS):
            yield f"- Fill {in_markdown(name.removesuffix(TERMS))}: {in_markdown(str(value))}."
    yield "- Weights that training started from, where it did: their own."
