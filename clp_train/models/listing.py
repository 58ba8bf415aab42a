"""The names of classifiers as a table, for `clp-train --list-models` and docs/reference/models.md. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from clp_aug.common.plugins import GROUPS, entry_points
from clp_aug.common.text import in_markdown, plain_table, table_in_markdown
from clp_train.models import NAMES

if TYPE_CHECKING:
    from importlib import metadata


class About(NamedTuple):
    """what: one sentence in plain English; extra: the extra of the package that installs what it needs, or none."""

    what: str
    extra: str = ""


ABOUT = {
    "resnet8": About("ResNet-8 for small pictures: quick runs on a CPU."),
    "resnet20": About("ResNet-20 for small pictures, such as CIFAR."),
    "resnet32": About("ResNet-32 for small pictures: the paper's, for long tails and flip noise."),
    "wrn-28-10": About("Wide ResNet for small pictures: the paper's, for uniform noise. Needs a GPU."),
    "efficientnet-lite0": About("EfficientNet-Lite0 with ImageNet weights.", "pretrained"),
    "efficientnet-lite0-scratch": About("EfficientNet-Lite0 without pretrained weights."),
    "torchvision:NAME": About("A classifier of torchvision with a linear last layer: torchvision:resnet50."),
    "timm:NAME": About("A classifier of timm: timm:convnext_atto.", "timm"),
}
"""Name, as NAMES has it -> what is known of it."""
OWN = (
    ("MODULE:NAME", "A network of yours from an installed module."),
    ("FILE.py:NAME", "A network of yours from a Python file."),
)
COLUMNS = ("model", "what it is", "extra needed")
NONE = "-"
INTRODUCTION = """# Models

Every name that `clp-train --model` takes. A name with `@WEIGHTS` behind it starts from these weights: a file, or the
folder of a run. Nothing is downloaded. An extra is installed by `pip install 'causal-logit-perturbation[EXTRA]'`. More:
[models](../how-to/models.md). `clp-train --list-models --markdown` writes this page.
"""


def models_table(markdown: bool = False) -> str:
    """Return a line for each classifier, with a head; or the page of the docs.

    The names that installed packages have added come last, not on the page of the docs.
    """
    rows = [(name, ABOUT[name].what, ABOUT[name].extra or NONE) for name in NAMES]
    rows += [(name, what, NONE) for name, what in OWN]
    if markdown:
        page = [(f"`{name}`", *map(in_markdown, rest)) for name, *rest in rows]
        return "\n".join([INTRODUCTION, *table_in_markdown(COLUMNS, page)])
    rows += [(name, f"Of an installed package: {point.value}.", NONE) for name, point in added().items()]
    return "\n".join(plain_table(COLUMNS, rows))


def added() -> dict[str, metadata.EntryPoint]:
    """Return the entry points of installed packages that add models, by name."""
    return {name: point for name, point in entry_points(GROUPS["model"]).items() if name not in NAMES}
