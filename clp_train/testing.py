"""Tests for plug-ins: registered methods, models and transforms pass them too. Call them from your own test.

    from clp_train.testing import check_method


    def test_halving():
        check_method("mine.py:Halving")

Each raises AssertionError, with a message, for the first property that does not hold, and passes on errors of the
plug-in. They train on small random pictures of two classes in two places.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clp_aug.common.checks import require
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL, ORIGINAL, Header
from clp_train.algorithm.method import Method
from clp_train.algorithm.settings import META_STEP, SALIENCY
from clp_train.config import TrainConfig, make_config
from clp_train.loading.data import RunData
from clp_train.methods import build_method, entry_of, options_of
from clp_train.models import build_model
from clp_train.models.parts import Classifier
from clp_train.pictures.transforms import load_transform
from clp_train.pictures.types import BoxedPictures, Pictures
from clp_train.running.assembly import assemble, context_of
from clp_train.running.checkpoint import Checkpoint
from clp_train.running.loop import Done, Hooks, Trained, train

GROUPS = ("a on x", "a on y", "b on x", "b on y")
STATISTICS = ([0.5] * 3, [0.25] * 3)  # mean and standard deviation of the channels
MOST = 1e-4  # allowed difference of logits from features @ head
SHORT = {"batch_size": 10, "checkpoint_interval": 1, "model": "resnet8", "seed": 1}


class Stopped(BaseException):
    """Simulates the end of a process."""


def generator_of(seed: int) -> torch.Generator:
    """Return a generator on the CPU."""
    return torch.Generator().manual_seed(seed)


def random_pictures(count: int, seed: int, kind: int = ORIGINAL, size: int = 16) -> BoxedPictures:
    """Return pictures of the groups in turn, uint8 (count, 3, size, size): noise, brighter by class in the box."""
    at = torch.arange(count)
    group, quarter = at % len(GROUPS), size // 4
    images = torch.randint(0, 128, (count, 3, size, size), dtype=torch.uint8, generator=generator_of(seed))
    images[:, :, quarter:-quarter, quarter:-quarter] += (60 * (group // 2))[:, None, None, None].to(torch.uint8)
    box = torch.tensor([quarter, quarter, size - quarter, size - quarter]).repeat(count, 1)
    kinds = torch.full((count,), kind, dtype=torch.uint8)
    return BoxedPictures(images, group // 2, group, at + 1000 * seed, box, kinds)


def random_data() -> RunData:
    """Return the data of a short run: 40 training pictures, 8 meta originals with their copies, val and test."""
    header = Header("random", ("a", "b"), GROUPS, ("none", "grey", "random"), ("given",), {"size": 16}, {}, "", 0, "")
    kinds = (ORIGINAL, COUNTERFACTUAL, FACTUAL)
    meta = [random_pictures(8, 2 + kind, kind) for kind in kinds]
    held_out = {name: random_pictures(8, seed) for name, seed in (("val", 6), ("test", 7))}
    evaluation = {name: Pictures(p.images, p.label, p.group, p.sample_id) for name, p in held_out.items()}
    augmented = meta[0].followed_by(meta[1]).followed_by(meta[2])
    return RunData(header, random_pictures(40, 1), augmented, evaluation, GROUPS, "", weights=(10,) * len(GROUPS))


def check_method(name: str, settings: Mapping[str, object] | None = None) -> None:
    """Check a method: its attributes are right and its defaults valid; it trains reproducibly, also if killed and
    resumed.

    settings: those that it needs, its own and those of every run.
    """
    entry, options = entry_of(name), options_of(name)
    require(bool(entry.source and entry.family), f"method {name}: it has no source or no family")
    options()
    config = short_run(name, settings)
    method, data = method_of(config), random_data()
    has_meta_step, has_saliency = META_STEP in entry.parts, SALIENCY in entry.parts
    require(
        bool(method.learned) == has_meta_step,
        f"method {name}: `parts` must have {META_STEP!r} if and only if `learned` is not empty",
    )
    require(
        (method.saliency_weight > 0) == has_saliency,
        f"method {name}: `parts` must have {SALIENCY!r} if and only if `saliency_weight` is not 0",
    )
    with tempfile.TemporaryDirectory() as folder:
        steps: list[int] = []
        whole = run(config, data, Path(folder) / "whole", steps=steps)
        torch.rand(3)  # code that draws from the global generator now gets other numbers
        require_same(whole, run(config, data, Path(folder) / "again"), f"method {name}: a second run differs")
        for kill_at in sorted({2, len(steps) // 2 + 1, len(steps) - 1}):
            place = Path(folder) / str(kill_at)
            with contextlib.suppress(Stopped):
                run(config, data, place, kill_at)
            resumed = run(config, data, place, resume=True)
            said = f"killed after step {kill_at} and resumed, the run differs"
            require_same(whole, resumed, f"method {name}: {said}; is all of its state in `state_dict`?")


def short_run(method: str, settings: Mapping[str, object] | None) -> TrainConfig:
    """Return the settings of a run of a few steps; the shortest stage of a method with stages is a tenth of the run."""
    epochs = 6 if "stages" in entry_of(method).needs else 3
    return make_config({"meta": Path("random.h5"), "method": method, "epochs": epochs, **SHORT, **(settings or {})})


def method_of(config: TrainConfig) -> Method:
    """Return the method of a run on random pictures."""
    return build_method(config.options, context_of(config, random_data()))


def run(
    config: TrainConfig,
    data: RunData,
    place: Path,
    kill_at: int | None = None,
    resume: bool = False,
    steps: list[int] | None = None,
) -> Trained:
    """Train, or stop after a step. place: folder of the state; steps: the finished steps are appended to it."""

    def on_step(done: Done) -> None:
        if steps is not None:
            steps.append(done.step)
        if done.step == kill_at:
            raise Stopped

    place.mkdir(exist_ok=True)
    checkpoint = Checkpoint(place / "state.safetensors", {})
    return train(assemble(config, data), Hooks(on_step=on_step), checkpoint, resume)


def require_same(one: Trained, other: Trained, message: str) -> None:
    """Raise AssertionError with a message unless two runs left the same weights and history."""
    same = all(torch.equal(value, other.last.state[name]) for name, value in one.last.state.items())
    require(same and one.history == other.history, message)


def check_model(name: str, classes: int = 3, size: int = 32, head: str | None = None) -> None:
    """Check a classifier.

    Its logits are those of its last layer on its features; the same generator gives the same initial weights; pixels
    get gradients; two passes give the same output; it learns by a method. head: the name of its last layer, None to
    find it.
    """
    images = torch.rand(4, 3, size, size, generator=generator_of(0))
    network = model_of(name, classes, size, head).eval()
    torch.rand(3)
    other = model_of(name, classes, size, head).eval()
    for key, value in network.state_dict().items():
        require(
            torch.equal(value, other.state_dict()[key]), f"model {name}: two new networks from one seed differ in {key}"
        )
    images.requires_grad_(True)
    out = network(images)
    require(
        out.logits.shape == (4, classes), f"model {name}: logits {tuple(out.logits.shape)}, expected (4, {classes})"
    )
    linear = network.head(out.features)
    require(
        bool((linear - out.logits).abs().max() <= MOST), f"model {name}: logits are not those of its head on features"
    )
    (gradient,) = torch.autograd.grad(out.logits.sum(), images)
    require(bool(gradient.abs().sum() > 0), f"model {name}: no gradient with respect to the pixels")
    require(torch.equal(network(images).logits, out.logits), f"model {name}: two passes on the same pictures differ")
    other.load_state_dict(network.state_dict())
    given = {"model": name, "model_head": head, "transform": "none"} if head else {"model": name, "transform": "none"}
    config = short_run("erm", {**given, "epochs": 1})
    with tempfile.TemporaryDirectory() as folder:
        run(config, resized(random_data(), size), Path(folder) / "run")


def model_of(name: str, classes: int, size: int, head: str | None) -> Classifier:
    """Return a new classifier."""
    return build_model(name, classes, *STATISTICS, generator_of(1), head, size)


def resized(data: RunData, size: int) -> RunData:
    """Return the data of a run with pictures of another size: the same ones, with repeated pixels, and cropped."""

    def large(pictures: Any) -> Any:
        times = -(-size // pictures.images.shape[-1])
        images = pictures.images.repeat_interleave(times, 2).repeat_interleave(times, 3)[..., :size, :size]
        return replace(pictures, images=images)

    evaluation = {name: large(part) for name, part in data.evaluation.items()}
    header = replace(data.header, settings={"size": size})
    return replace(data, header=header, train=large(data.train), meta=large(data.meta), evaluation=evaluation)


def check_transform(name: str) -> None:
    """Check a transform on uint8 and on floats in [0, 1].

    Shapes and types do not change, inputs are not written to, and only its generator decides the result.
    """
    transform, pictures = load_transform(name), random_pictures(6, 1, size=20)
    inside = torch.zeros(6, 20, 20, dtype=torch.bool)
    inside[:, 5:15, 3:12] = True
    for images in (pictures.images, pictures.images.float() / 255):
        before = images.clone(), inside.clone()
        first = transform(images, inside, generator_of(7))
        torch.rand(3)
        again = transform(images, inside, generator_of(7))
        where = f"transform {name}, {images.dtype}"
        require(equal((images, inside), before), f"{where}: it wrote to its input; expected work on a copy")
        require(equal(first, again), f"{where}: the same seed gave two results; draw only from the generator")
        require(first[0].shape == images.shape and first[0].dtype == images.dtype, f"{where}: shape or type changed")
        require(
            first[1].shape == inside.shape and first[1].dtype == inside.dtype,
            f"{where}: the mask has another shape or type",
        )
        require(bool((first[0].float() >= 0).all()), f"{where}: it made values below 0")


def equal(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> bool:
    """Whether two pairs of tensors are the same."""
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
