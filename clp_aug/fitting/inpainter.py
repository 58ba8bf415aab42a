"""Fit the inpainting network on windows of pictures, each with one hole.

Source: Yu et al., CVPR 2018: the weights of the terms, the spatial discount, two critics. Ours: one hole per picture,
sizes that change from step to step, terms averaged over each picture's own hole.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from kornia.metrics import ssim
from torch import Tensor, nn

from clp_aug.contract.seeds import rng_for
from clp_aug.fitting import loop
from clp_aug.fitting.config import InpainterFit
from clp_aug.fitting.pictures import Pictures, Windows
from clp_aug.nets.contextual_attention import ContextualAttentionNet, start
from clp_aug.nets.inpaint_critics import (
    GLOBAL,
    LOCAL,
    Critic,
    gradient_penalty,
    hole_windows,
    spatial_discount,
)

PIXELS = 64 * 64  # a picture of this size counts as one in a batch
RECONSTRUCTION, COARSE = 1.2, 1.2  # weight of the l1 terms, and weight of the coarse picture in them
WINDOW = 7  # of SSIM, in pixels
RANGE = 2.0  # the paper's pixels are in [-1, 1]
PENALTY = 10.0  # weight of the critics' gradient penalty
CRITIC_WIDTH, CRITIC_LR = 32, 1e-4  # half the published width
HELD_OUT, MOST_HELD = 0.1, 500  # share and number of files for the curve
VALIDATION = 48  # windows of each size

Batch = tuple[Tensor, Tensor]
"""Pictures, float32 (N, 3, S, S) in [0, 1], channels last; holes, float32 (N, 1, S, S), 1 = to be filled."""


def fit(
    config: InpainterFit, pictures: Pictures, on_step: loop.OnStep = loop.no_report, resume: bool = False
) -> ContextualAttentionNet:
    """Fit the network and write its weights. Raises the errors of `loop.prepared` and `loop.run`."""
    with loop.prepared(config, resume):
        task = InpainterTask(config, pictures)
        loop.run(config, task, loop.fingerprint(pictures.paths), on_step, resume)
    return task.network.eval()


class InpainterTask:
    """The network and the source of its windows."""

    def __init__(self, config: InpainterFit, pictures: Pictures) -> None:
        self.config = config
        learnt, held = split(pictures, config.seed)
        self.windows, self.held = Windows(learnt, config.seed), Windows(held, config.seed + 1)
        self.network = ContextualAttentionNet(config.width, config.dilations, smooth=config.smooth)
        start(self.network, torch.Generator().manual_seed(config.seed))
        self.network.to(loop.device_for(config)).to(memory_format=torch.channels_last)
        groups = [{"params": [*self.network.parameters()], "start": config.lr}]
        self.optimiser = torch.optim.Adam(groups, lr=config.lr, betas=(0.5, 0.9))
        self.parts: loop.Parts = {"network": self.network, "optimiser": self.optimiser}
        self.critics = Critics(config) if config.adversarial else None
        if self.critics is not None:
            self.parts |= {"critics": self.critics, "critics' optimiser": self.critics.optimiser}

    def batch(self, step: int) -> Batch:
        """Return the windows of a step, all of one size."""
        size = int(rng_for(self.config.seed, step, "size").choice(self.config.sizes))
        first = step * self.count(min(self.config.sizes))  # the largest number of a step
        return stack([self.windows.item(i, size) for i in range(first, first + self.count(size))])

    def count(self, size: int) -> int:
        """Return the number of pictures per step for a size."""
        return max(1, round(self.config.batch_size * PIXELS / size**2))

    def learn(self, step: int, batch: Batch) -> dict[str, Tensor]:
        """Do one step of the network, and before it some steps of the critics if there are any."""
        picture, hole = loop.moved(batch, self.network)
        loop.set_rates(self.optimiser, self.config, step)
        coarse, refined = self.network(picture, hole)
        terms = reconstruction(coarse, refined, picture, hole, self.config.gamma)
        if self.config.ssim:
            terms["structure"] = self.config.ssim * structure_loss(refined, picture, hole)
        if self.critics is not None:
            filled = torch.where(hole > 0.5, refined, picture)
            self.critics.learn(step, picture, filled.detach(), hole)
            terms["adversarial"] = -self.config.adversarial * self.critics(filled, hole).mean()
        loop.descend(self.optimiser, functools.reduce(torch.add, terms.values()), self.config, step)
        return {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return the mean l1 inside the holes of held-out windows, in [0, 1], by size; the same windows every time."""
        errors = {}
        for size in self.config.sizes:
            picture, hole = loop.moved(stack([self.held.item(i, size) for i in range(VALIDATION)]), self.network)
            filled = torch.cat([self.network.fill(*part) for part in zip(picture.split(8), hole.split(8), strict=True)])
            errors[f"l1_{size}"] = mean_where((filled - picture).abs(), hole).item()
        return errors


class Critics(nn.Module):
    """The sum of two critics: of the whole picture, and of the window around the hole."""

    def __init__(self, config: InpainterFit) -> None:
        super().__init__()
        self.config = config
        self.whole, self.window = Critic(CRITIC_WIDTH, GLOBAL), Critic(CRITIC_WIDTH, LOCAL)
        generator = torch.Generator().manual_seed(config.seed)
        start(self, generator)
        for critic in (self.whole, self.window):
            nn.init.xavier_uniform_(critic.verdict.weight, generator=generator)
            nn.init.zeros_(critic.verdict.bias)
        self.to(loop.device_for(config))
        groups = [{"params": [*self.parameters()], "start": CRITIC_LR}]
        self.optimiser = torch.optim.Adam(groups, lr=CRITIC_LR, betas=(0.5, 0.9))

    def forward(self, pictures: Tensor, hole: Tensor) -> Tensor:
        """Return one score per picture, (N,); higher means more real."""
        return self.whole(pictures) + self.window(hole_windows(pictures, hole, pictures.shape[3] // 2))

    def learn(self, step: int, real: Tensor, fake: Tensor, hole: Tensor) -> None:
        """Do some steps on one batch: real scores up, fake ones down, gradients in the hole near 1."""
        key = int(rng_for(self.config.seed, step, "between").integers(2**62))
        generator = torch.Generator().manual_seed(key)
        side = real.shape[3] // 2
        windows = [hole_windows(x, hole, side) for x in (real, fake, hole)]
        for _ in range(self.config.critic_steps):
            loss = (self(fake, hole) - self(real, hole)).mean()
            for critic, (true, false, mask) in ((self.whole, (real, fake, hole)), (self.window, windows)):
                loss = loss + PENALTY * gradient_penalty(critic, true, false, mask, generator)
            loop.set_rates(self.optimiser, self.config, step)
            loop.descend(self.optimiser, loss, self.config, step)


def split(pictures: Pictures, seed: int) -> tuple[Pictures, Pictures]:
    """Return the training pictures, and a tenth for validation, at least one and at most 500."""
    count = min(MOST_HELD, max(1, round(HELD_OUT * len(pictures))))
    order = rng_for(seed, 0, "held out").permutation(len(pictures))
    return pictures.part(np.sort(order[count:])), pictures.part(np.sort(order[:count]))


def stack(items: Sequence[tuple[np.ndarray, np.ndarray]]) -> Batch:
    """Return windows as one batch."""
    pictures, holes = (torch.from_numpy(np.stack(part)) for part in zip(*items, strict=True))
    return pictures.permute(0, 3, 1, 2).float() / 255, holes[:, None].float()


def mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Return the mean over pictures of each picture's weighted mean over pixels. where: the weights.

    values: (N, C, H, W); where: (N, 1, H, W), >= 0.
    """
    planes = values.shape[1]
    return ((values * where).sum((1, 2, 3)) / (planes * where.sum((1, 2, 3))).clamp(min=1)).mean()


def structure_loss(refined: Tensor, truth: Tensor, hole: Tensor) -> Tensor:
    """Return 1 - SSIM in the hole, averaged like the l1 terms; windows reach across its border. Source: ours.

    Arguments: see `reconstruction`.
    """
    filled = torch.where(hole > 0.5, refined, truth)
    return mean_where(1 - ssim(filled, truth, WINDOW), hole)


def reconstruction(coarse: Tensor, refined: Tensor, truth: Tensor, hole: Tensor, gamma: float) -> dict[str, Tensor]:
    """Return the l1 terms of the paper, weighted: inside the hole, discounted by the distance to known pixels, and
    outside it. All pictures: float (N, 3, H, W) in [0, 1]; hole: (N, 1, H, W); gamma: see `spatial_discount`.
    """
    discount = spatial_discount(hole, gamma)
    coarse, refined = ((RANGE * (picture - truth)).abs() for picture in (coarse, refined))
    total = COARSE * coarse + refined
    return {
        "hole": RECONSTRUCTION * mean_where(total * discount, hole),
        "known": RECONSTRUCTION * mean_where(total, 1 - hole),
    }
