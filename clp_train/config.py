"""TrainConfig: every setting of a run, validated once, written into its result."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clp_aug.contract.errors import UsageError, pick
from clp_train.methods import METHODS, make_options, options_of
from clp_train.models import check_model
from clp_train.transforms import TRANSFORMS

META_DELTAS = ("none", "paper")
TRAINABLE = ("all", "head")
SALIENCY_TARGETS = ("probability", "log-probability", "logit", "logit-gap")
CHOICES = {
    "meta_delta": META_DELTAS,
    "meta_step": ("exact", "lagged"),
    "meta_scope": ("all", "last-block"),
    "meta_batch_norm": ("batch", "running"),
    "hypergradient": ("forward", "central", "reference"),
    "omega_form": ("full", "bounded", "true-class"),
    "omega_start": ("zero", "log-prior", "background"),
    "saliency_target": SALIENCY_TARGETS,
    "saliency_scale": ("mean", "sum"),
    "saliency_on": ("both", "train", "meta"),
    "trainable": TRAINABLE,
    "online": ("none", "mix-rand", "fgsm"),
    "schedule": ("steps", "constant", "cosine"),
}
"""Setting -> its valid values; the first is the paper's or the plainest."""
KINDS = {"meta": Path, "root": Path, "out": Path, "cache": Path, "meta_batch_size": int, "limit": int, "head_lr": float,
         "noise_rate": float, "anneal": int, "bottleneck_anneal": int, "preset": str}  # fmt: skip
"""Types of the settings whose default does not tell."""
OPTIONS = ("meta", "method", "root", "model", "epochs", "batch_size", "meta_batch_size", "lr", "schedule",
           "weight_decay", "omega_lr", "meta_delta", "saliency_lambda", "saliency_target", "saliency_interval", "seed",
           "out", "cache", "limit", "export", "preset")  # fmt: skip
"""Settings that the command line has an option for; the others are given by --set."""
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a name", Path: "a path"}


@dataclass(frozen=True)
class TrainConfig:
    """The settings of one run.

    meta: the shard; out: the run's folder, runs/<shard>-<method>-seed<k> when None; meta_batch_size: as batch_size,
    or the whole meta set where that is smaller, when None; head_lr: the step size of the last layer, as lr when None;
    schedule: of both, "steps" to a tenth at first_drop and again at second_drop, shares of a stage's epochs; limit: at
    most so many training pictures; cache: folder for decoded pictures, memory-mapped, for sets that memory cannot hold
    and for quick starts, and for the features of a body that does not learn;
    omega_lr: the step of eq. (9); omega_start: where delta starts, "log-prior" at the log class shares, "background" at
    the log probabilities of the classes given the picture without its object; meta_delta: "paper" adds delta to the
    meta logits too, as eq. (9) is written;
    meta_step: "lagged" takes the step itself for the virtual one; meta_scope: which weights the virtual step moves;
    meta_batch_norm: the statistics that the meta loss is measured with, those of the meta batch or, "running", as in
    evaluation; meta_interval: a meta step every so many steps; hypergradient: how its derivative is taken;
    virtual_momentum: weight decay and momentum in the virtual step too; saliency_lambda: lambda of eq. (6);
    saliency_relative: as a share of the cross entropy; saliency_on: which batches it is applied to; saliency_interval:
    every so many steps; saliency_subset: the share of each batch it looks at; freeze_batch_norm: keep the start's
    statistics, for pretrained models on small batches; trainable: "head" for the last layer alone, on the features of
    untransformed pictures; online: factuals that are made anew in each meta batch, of its originals, beside the stored
    ones; online_epsilon: radius of "fgsm", in [0, 1] pixel units; watch_test: measure test after each epoch too, and
    report the best of them, labelled;
    transform: the random joint transform of pictures and boxes; options: the method's own settings;
    checkpoint_interval: steps between two full states on disk; preset: what the settings started from, which refuses
    shards that it is not for.
    """

    meta: Path
    method: str = "clp"
    root: Path | None = None
    model: str = "resnet8"
    epochs: int = 30
    batch_size: int = 100
    meta_batch_size: int | None = None
    lr: float = 0.1
    head_lr: float | None = None
    schedule: str = "steps"
    first_drop: float = 0.6
    second_drop: float = 0.8
    momentum: float = 0.9
    weight_decay: float = 5e-4
    omega_lr: float = 1e-3
    omega_form: str = "full"
    omega_start: str = "zero"
    meta_delta: str = "none"
    meta_step: str = "exact"
    meta_scope: str = "all"
    meta_batch_norm: str = "batch"
    meta_interval: int = 1
    hypergradient: str = "central"
    virtual_momentum: bool = False
    saliency_lambda: float = 0.2
    saliency_target: str = "probability"
    saliency_scale: str = "mean"
    saliency_relative: bool = False
    saliency_on: str = "both"
    saliency_interval: int = 1
    saliency_subset: float = 1.0
    freeze_batch_norm: bool = False
    trainable: str = "all"
    online: str = "none"
    online_epsilon: float = 0.5
    watch_test: bool = False
    transform: str = "pad-crop-flip"
    checkpoint_interval: int = 100
    seed: int = 0
    out: Path | None = None
    cache: Path | None = None
    limit: int | None = None
    export: bool = False
    preset: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pick(METHODS, self.method, "method")
        make_options(self.method, self.options)
        check_model(self.model)
        pick(TRANSFORMS, self.transform, option("transform"))
        for name, valid in CHOICES.items():
            pick(dict.fromkeys(valid), getattr(self, name), option(name))
        if self.meta_step == "lagged" and self.hypergradient == "reference":
            raise UsageError("--set meta_step=lagged has no reference form; set hypergradient=central, or forward")
        if self.omega_start == "log-prior" and self.omega_form != "full":
            raise UsageError(f"--set omega_start=log-prior needs --set omega_form=full, not {self.omega_form}")
        # batch norm has no statistics of a single picture
        for name, low in (("epochs", 1), ("batch_size", 2), ("meta_batch_size", 2), ("saliency_interval", 1),
                          ("meta_interval", 1), ("checkpoint_interval", 1),
                          ("seed", 0), ("limit", 2)):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < low:
                raise UsageError(f"{told(name, value)}: expected a whole number >= {low}")
        for name in ("lr", "omega_lr", "head_lr"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):  # written so that NaN fails too
                raise UsageError(f"{told(name, value)}: expected a number > 0")
        for name in ("weight_decay", "saliency_lambda"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"{told(name, getattr(self, name))}: expected a number >= 0")
        for name, low, high in (("momentum", 0, 0.999), ("saliency_subset", 1e-6, 1), ("online_epsilon", 0, 1),
                                ("first_drop", 0, 1), ("second_drop", self.first_drop, 1)):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{told(name, getattr(self, name))}: expected a number from {low} to {high}")

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.out or Path("runs") / f"{self.meta.stem}-{self.method}-seed{self.seed}"

    def as_json(self) -> dict:
        """Return the settings as plain JSON; paths become text."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(self).items()}


def make_config(*layers: dict, texts: Sequence[str] = ()) -> TrainConfig:
    """Return the settings of layers, later ones before earlier ones, the defaults last.

    layers: as from a preset or the command line; texts: "key=value", before all of them. A key is a setting of a run or
    of its method. Raises UsageError for an unknown key, a value of the wrong type, or no shard.
    """
    pairs = pairs_of(texts)
    if "preset" in pairs:
        raise UsageError(f"--set preset={pairs['preset']}: its settings would not be read; give --preset")
    whole = {key: value for layer in (*layers, pairs) for key, value in layer.items()}
    shared = {field.name: field for field in dataclasses.fields(TrainConfig) if field.name != "options"}
    own = {field.name: field for field in dataclasses.fields(options_of(named_method(*layers, texts=texts)))}
    found: dict[str, object] = {}
    for key, value in whole.items():
        known = pick(shared | own, key, "setting")
        found[key] = read_text(known, value) if key in pairs else checked(known, value)
    if "meta" not in found:
        raise UsageError("no shard: give --meta FILE, one that clp-augment wrote")
    options = {key: value for key, value in found.items() if key in own}
    return TrainConfig(**{key: value for key, value in found.items() if key in shared}, options=options)


def named_method(*layers: dict, texts: Sequence[str] = ()) -> str:
    """Return the method that settings name; layers and texts as `make_config` takes them."""
    named = [layer["method"] for layer in (*layers, pairs_of(texts)) if "method" in layer]
    return named[-1] if named else TrainConfig.method


def pairs_of(texts: Sequence[str]) -> dict[str, str]:
    """Return "key=value" texts as key -> value; the last of a key counts."""
    return dict(text.partition("=")[::2] for text in texts)


def checked(known: dataclasses.Field, value):
    """Return a setting's value as its type. Raises UsageError for another type."""
    kind = kind_of(known)
    if kind is float and type(value) is int:
        return float(value)
    if kind is Path and type(value) is str:
        return Path(value)
    if (kind is Path and isinstance(value, Path)) or type(value) is kind or value is known.default:
        return value
    raise UsageError(f"setting {known.name} = {value!r}: expected {WORDS[kind]}")


def read_text(known: dataclasses.Field, text: str):
    """Return a setting's value, given as text. Raises UsageError for text that is none."""
    kind = kind_of(known)
    try:
        return {"true": True, "false": False}[text] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise UsageError(f"--set {known.name}={text}: expected {WORDS[kind]}") from None


def kind_of(known: dataclasses.Field) -> type:
    """Return the type of a setting's values."""
    return KINDS.get(known.name, type(known.default))


def option(name: str) -> str:
    """Return the command line's spelling of a setting."""
    return "--" + name.replace("_", "-") if name in OPTIONS else f"--set {name}"


def told(name: str, value: object) -> str:
    """Return a setting and its value as they are given."""
    return option(name) + (" " if name in OPTIONS else "=") + str(value)
