"""Fit the matting network: composites in, weights out; a full state on disk every so often, a curve on pictures that
it does not learn from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from clp_aug import boxing
from clp_aug.contract import boxes
from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.files import written_beside
from clp_aug.contract.seeds import rng_for
from clp_aug.fitting.composites import Composites, Truth
from clp_aug.fitting.config import MatteFit
from clp_aug.fitting.losses import LossWeights, PatchCritic, critic_loss, matte_loss
from clp_aug.fitting.sources import Sources
from clp_aug.fitting.state import Checkpoint
from clp_aug.nets.hatt_lite import HattLite, start, start_from_imagenet

WARM_UP = 100  # steps
CRITIC_LR = 2e-4  # Isola et al. 2017
HELD_OUT = 0.1  # of each folder, for the curve
VALIDATION = 96  # pairs
KINDS = ("foregrounds", "backgrounds", "naturals")


def fit(
    config: MatteFit,
    sources: Sources,
    on_step: Callable[[int, dict], None] = lambda *_: None,
    resume: bool = False,
) -> HattLite:
    """Fit the network and write its weights; the same settings and pictures give the same bytes, killed and resumed or
    not, on a CPU with the same number of threads.

    on_step: called after each step with how many are done and the losses. Raises InputError when the disk refuses or a
    loss is not finite, UsageError for the state of another fit and where something would be lost.
    """
    prepare(config, resume)
    learnt, held = split(sources, config.seed)
    pairs = Composites(learnt.foregrounds, learnt.backgrounds, learnt.naturals, config.seed, config.size)
    validation = Composites(held.foregrounds, held.backgrounds, held.naturals, config.seed + 1, config.size)
    network, critic, weights = build(config), PatchCritic(), LossWeights(adversarial=config.adversarial)
    start(critic, torch.Generator().manual_seed(config.seed))
    optimiser = build_optimiser(network, config)
    critic_optimiser = torch.optim.Adam(critic.parameters(), CRITIC_LR, betas=(0.5, 0.999))
    parts = {"network": network, "optimiser": optimiser}
    if config.adversarial:
        parts |= {"critic": critic, "critic optimiser": critic_optimiser}
    checkpoint = Checkpoint(state_file(config), config.key() | {"pictures": fingerprint(sources)}, parts)
    at = checkpoint.load() if resume else {"step": 0, "curve": []}

    network.train()
    for step, batch in enumerate(batches(pairs, config, at["step"]), at["step"]):
        picture, truth, weight = batch
        set_rates(optimiser, config, step)
        logits = network.logits(picture)
        loss, terms = matte_loss(logits, truth, weight, weights, picture, critic)
        if not loss.isfinite():
            raise InputError(f"step {step}: the loss is {loss.item()}; lower --lr, or --resume from {checkpoint.path}")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if config.adversarial:
            critic_optimiser.zero_grad(set_to_none=True)
            critic_loss(critic, picture, logits.sigmoid(), truth, weight).backward()
            critic_optimiser.step()
        done = step + 1
        on_step(done, {name: term.item() for name, term in terms.items()})
        last = done == config.steps
        if done % config.validate_interval == 0 or last:
            found = validate(network, [validation.item(i) for i in range(VALIDATION)])
            at["curve"].append({"step": done, **found})
            write_curve(config.out, at["curve"])
        if done % config.checkpoint_interval == 0 and not last:
            checkpoint.save({"step": done, "curve": at["curve"]})
    network.eval()
    write_weights(network, config)
    checkpoint.path.unlink(missing_ok=True)
    return network


def state_file(config: MatteFit) -> Path:
    """Return where the full state of a fit lies until its weights are written."""
    return config.out.with_suffix(".checkpoint")


def prepare(config: MatteFit, resume: bool) -> None:
    """Raise UsageError where weights, or an unfinished fit that is not to be resumed, would be lost."""
    if config.out.exists():
        raise UsageError(f"{config.out} holds weights already; choose another --out or remove it")
    if state_file(config).exists() and not resume:
        raise UsageError(f"{state_file(config)} is an unfinished fit; give --resume to go on, or another --out")


def build(config: MatteFit) -> HattLite:
    """Return the network before its first step."""
    generator = torch.Generator().manual_seed(config.seed)
    network = HattLite(config.distil, config.filter_cues)
    (start_from_imagenet if config.pretrained else start)(network, generator)
    return network.to(memory_format=torch.channels_last)


def build_optimiser(network: HattLite, config: MatteFit) -> torch.optim.AdamW:
    """Return AdamW over backbone and head, each with its step size."""
    body = [*network.backbone.parameters()]
    head = [w for name, w in network.named_parameters() if not name.startswith("backbone.")]
    groups = [{"params": body, "start": config.backbone_lr}, {"params": head, "start": config.lr}]
    return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)


def set_rates(optimiser: torch.optim.AdamW, config: MatteFit, step: int) -> None:
    """Set the step sizes of a step (from 0): a linear warm-up, then half a cosine down to 0."""
    factor = min(1, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * step / config.steps)) / 2
    for group in optimiser.param_groups:
        group["lr"] = factor * group["start"]


def split(sources: Sources, seed: int) -> tuple[Sources, Sources]:
    """Return what is learnt from, and a tenth of each kind, at least one of two, that is only looked at."""
    learnt, held = {}, {}
    for i, kind in enumerate(KINDS):
        files = getattr(sources, kind)
        order = rng_for(seed, i, "held out").permutation(len(files))
        count = min(len(files) - 1, max(1, round(HELD_OUT * len(files)))) if len(files) else 0
        parts = np.sort(order[count:]), np.sort(order[:count]) if count else np.sort(order)
        learnt[kind], held[kind] = (
            dataclasses.replace(files, paths=tuple(files.paths[row] for row in rows)) for rows in parts
        )
    return Sources(**learnt, ignored=0), Sources(**held, ignored=0)


def fingerprint(sources: Sources) -> str:
    """Return a SHA-256 over the names and sizes in bytes of all pictures."""
    paths = (path for name in KINDS for path in getattr(sources, name).paths)
    return hashlib.sha256(repr([(path.name, path.stat().st_size) for path in paths]).encode()).hexdigest()


def batches(pairs: Composites, config: MatteFit, first: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the batches of the steps from `first` on; the next one is made while one is used."""

    def batch(step: int) -> tuple[Tensor, Tensor, Tensor]:
        start = step * config.batch_size
        return stacked([pairs.item(i) for i in range(start, start + config.batch_size)])

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(batch, first)
        for step in range(first, config.steps):
            now = ahead.result()
            if step + 1 < config.steps:
                ahead = pool.submit(batch, step + 1)
            yield now


def stacked(truths: Sequence[Truth]) -> tuple[Tensor, Tensor, Tensor]:
    """Return pictures, float32 (N, 3, S, S) in [0, 1], channels last; alpha and weight, float32 (N, 1, S, S)."""
    pictures = torch.from_numpy(np.stack([truth.picture for truth in truths])).permute(0, 3, 1, 2).float() / 255
    alpha, weight = (torch.from_numpy(np.stack(part))[:, None] for part in list(zip(*truths, strict=True))[1:])
    return pictures, alpha, weight


@torch.no_grad()
def validate(network: HattLite, truths: Sequence[Truth]) -> dict[str, float]:
    """Return the mean absolute error where the truth is known, the mean box IoU of pairs with an object, and the
    share of pairs without one that came out empty; None where there is no such pair. The network stays in training.
    """
    errors, overlaps, empties = [], [], []
    for truth in truths:
        picture, alpha, weight = stacked([truth])
        matte = network(picture)
        errors.append(((matte - alpha).abs() * weight).sum().item() / max(weight.sum().item(), 1))
        found, true = (boxing.enclosing_box(boxing.foreground(a)) for a in (matte[0, 0].numpy(), truth.alpha))
        if true is None:
            empties.append(found is None)
        else:
            overlaps.append(0.0 if found is None else float(boxes.iou(np.array(found), np.array(true))))
    mean = {"mae": errors, "box_iou": overlaps, "empties_found": empties}
    return {name: sum(values) / len(values) if values else None for name, values in mean.items()}


def write_curve(out: Path, curve: list[dict]) -> None:
    """Write the validation curve so far, a JSON line a point, beside the weights."""
    with written_beside(out.with_suffix(".jsonl")) as temporary:
        temporary.write_text("".join(json.dumps(point) + "\n" for point in curve))


def write_weights(network: HattLite, config: MatteFit) -> None:
    """Write the weights in half precision, with the settings that made them."""
    state = {name: value.half().contiguous() if value.is_floating_point() else value.contiguous()
             for name, value in network.state_dict().items()}  # fmt: skip
    with written_beside(config.out) as temporary:
        temporary.write_bytes(save(state, {"settings": json.dumps(config.key(), sort_keys=True)}))
