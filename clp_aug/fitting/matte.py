"""Fit the matting network on composites."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clp_aug import boxing
from clp_aug.contract import boxes
from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from clp_aug.fitting import loop
from clp_aug.fitting.composites import Composites, Truth
from clp_aug.fitting.config import MatteFit
from clp_aug.fitting.losses import LossWeights, PatchCritic, critic_loss, matte_loss
from clp_aug.fitting.sources import Sources
from clp_aug.nets.hatt_lite import HattLite, read, start, start_from_imagenet
from clp_aug.nets.shipped import shipped_path

CRITIC_LR = 2e-4  # Isola et al. 2017
HELD_OUT = 0.1  # share of each folder, for the curve
VALIDATION = 96  # pairs
MOST_HELD = 200  # files of a kind
STARTS, SHIPPED_START = {"imagenet": start_from_imagenet, "nothing": start}, "shipped"
KINDS = ("foregrounds", "backgrounds", "naturals", "boxed")

Batch = tuple[Tensor, Tensor, Tensor]
"""Pictures, float32 (N, 3, S, S) in [0, 1], channels last; alpha and weight, float32 (N, 1, S, S)."""


def fit(config: MatteFit, sources: Sources, on_step: loop.OnStep = loop.no_report, resume: bool = False) -> HattLite:
    """Fit the network and write its weights. Raises the errors of `loop.prepared` and `loop.run`."""
    with loop.prepared(config, resume):
        task = MatteTask(config, sources)
        paths = [path for kind in KINDS for path in getattr(sources, kind).files()]
        loop.run(config, task, loop.fingerprint(paths), on_step, resume)
    return task.network.eval()


class MatteTask:
    """The network, its critic if it has one, and the source of its pairs."""

    def __init__(self, config: MatteFit, sources: Sources) -> None:
        self.config, self.weights = config, LossWeights(adversarial=config.adversarial)
        learnt, held = split(sources, config.seed)
        self.pairs = {size: composites(learnt, config.seed, size) for size in config.sizes}
        self.held = composites(held, config.seed + 1, max(config.sizes))
        device = loop.device_for(config)
        self.network, self.critic = build(config).to(device), PatchCritic()
        start(self.critic, torch.Generator().manual_seed(config.seed))
        self.critic.to(device)
        self.optimiser = build_optimiser(self.network, config)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), CRITIC_LR, betas=(0.5, 0.999))
        self.parts: loop.Parts = {"network": self.network, "optimiser": self.optimiser}
        if config.adversarial:
            self.parts |= {"critic": self.critic, "critic optimiser": self.critic_optimiser}
        self.network.train()

    def batch(self, step: int) -> Batch:
        """Return the pairs of a step, all of one size."""
        size = int(rng_for(self.config.seed, step, "size").choice(self.config.sizes))
        first = step * self.config.batch_size
        return stack([self.pairs[size].item(i) for i in range(first, first + self.config.batch_size)])

    def learn(self, step: int, batch: Batch) -> dict[str, Tensor]:
        """Do one step of the network, and one of the critic if there is one."""
        picture, truth, weight = loop.moved(batch, self.network)
        loop.set_rates(self.optimiser, self.config, step)
        logits = self.network.logits(picture)
        loss, terms = matte_loss(logits, truth, weight, self.weights, picture, self.critic)
        loop.descend(self.optimiser, loss, self.config, step)
        if self.config.adversarial:
            critic = critic_loss(self.critic, picture, logits.sigmoid(), truth, weight)
            loop.descend(self.critic_optimiser, critic, self.config, step)
        return terms

    def validate(self) -> dict[str, float | None]:
        """Return the measures of `validate` on held-out pairs, the same ones every time."""
        return validate(self.network, [self.held.item(i) for i in range(VALIDATION)])


def composites(sources: Sources, seed: int, size: int) -> Composites:
    """Return pairs of one size made from these pictures."""
    return Composites(sources.foregrounds, sources.backgrounds, sources.naturals, seed, size, sources.boxed)


def build(config: MatteFit) -> HattLite:
    """Return the network before its first step. Raises the errors of `start_from_imagenet` and `read`, and UsageError
    for a start with other attentions.
    """
    if config.start in STARTS:
        network = HattLite(config.distil, config.filter_cues)
        STARTS[config.start](network, torch.Generator().manual_seed(config.seed))
    else:
        network = read(shipped_path("hatt") if config.start == SHIPPED_START else Path(config.start))[0]
        has = (network.distillation is not None, network.coarse.attention is not None)
        if has != (config.distil, config.filter_cues):
            raise UsageError(f"--start {config.start}: a network with other attentions; expected those of the fit")
    return network.to(memory_format=torch.channels_last)


def build_optimiser(network: HattLite, config: MatteFit) -> torch.optim.AdamW:
    """Return AdamW over backbone and head, each with its own learning rate."""
    body = [*network.backbone.parameters()]
    head = [w for name, w in network.named_parameters() if not name.startswith("backbone.")]
    groups = [{"params": body, "start": config.backbone_lr}, {"params": head, "start": config.lr}]
    return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)


def split(sources: Sources, seed: int) -> tuple[Sources, Sources]:
    """Return the training files, and a tenth of each kind for validation, 1 to 200 files."""
    learnt, held = {}, {}
    for i, kind in enumerate(KINDS):
        files = getattr(sources, kind)
        order = rng_for(seed, i, "held out").permutation(len(files))
        count = min(len(files) - 1, MOST_HELD, max(1, round(HELD_OUT * len(files)))) if len(files) else 0
        parts = np.sort(order[count:]), np.sort(order[:count]) if count else np.sort(order)
        learnt[kind], held[kind] = (
            dataclasses.replace(files, paths=tuple(files.paths[row] for row in rows)) for rows in parts
        )
    return Sources(**learnt, ignored=0), Sources(**held, ignored=0)


def stack(truths: Sequence[Truth]) -> Batch:
    """Return pairs as one batch."""
    pictures = torch.from_numpy(np.stack([truth.picture for truth in truths])).permute(0, 3, 1, 2).float() / 255
    alpha, weight = (torch.from_numpy(np.stack(part))[:, None] for part in list(zip(*truths, strict=True))[1:])
    return pictures, alpha, weight


@torch.no_grad()
def validate(network: HattLite, truths: Sequence[Truth]) -> dict[str, float | None]:
    """Return the mean absolute error where the truth is known, the mean box IoU of pairs with an object, and the share
    of pairs without an object that came out empty; None if there is no such pair. The network stays in training mode.
    """
    errors, overlaps, empties = [], [], []
    for truth in truths:
        picture, alpha, weight = loop.moved(stack([truth]), network)
        matte = network(picture)
        errors.append(((matte - alpha).abs() * weight).sum().item() / max(weight.sum().item(), 1))
        found, true = (boxing.enclosing_box(boxing.foreground(a)) for a in (matte[0, 0].cpu().numpy(), truth.alpha))
        if true is None:
            empties.append(found is None)
        else:
            overlaps.append(0.0 if found is None else float(boxes.iou(np.array(found), np.array(true))))
    mean = {"mae": errors, "box_iou": overlaps, "empties_found": empties}
    return {name: sum(values) / len(values) if values else None for name, values in mean.items()}
