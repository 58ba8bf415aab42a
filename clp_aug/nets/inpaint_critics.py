"""Critics of an inpainting: of the whole picture and of the hole, their penalty, and weights inside a hole.

Source: Yu et al., CVPR 2018, sections 3.2 and 3.3, and Gulrajani et al., NeurIPS 2017. Our differences are named in
each docstring.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

GLOBAL, LOCAL = (1, 2, 4, 4), (1, 2, 4, 8)  # planes of each layer, in widths
PUBLISHED_HOLE = 128  # pixels


class Critic(nn.Module):
    """Float pictures (N, 3, H, W) of any size -> a score each, (N,); higher is more real. No sigmoid: Wasserstein.

    width: planes of the first layer, published 64; planes: GLOBAL for whole pictures, LOCAL for windows on the hole.
    Source: the published code: convolutions 5 x 5 of stride 2, leaky ReLU 0.2, a linear layer. Ours: that layer weights
    planes, not places, so that one critic works for every size; one score sees 61 x 61 pixels.
    """

    def __init__(self, width: int, planes: tuple[int, ...]) -> None:
        super().__init__()
        layers, before = [], 3
        for factor in planes:
            layers += [nn.Conv2d(before, factor * width, 5, 2, 2), nn.LeakyReLU(0.2)]
            before = factor * width
        self.layers, self.verdict = nn.Sequential(*layers), nn.Linear(before, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.verdict(self.layers(x).mean((2, 3))).flatten()


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
    """Return the mean over pictures of (|gradient| - 1)^2 between real and fake; its weight is 10 in the papers.

    real, fake: float (N, 3, H, W), no gradient reaches them; mask: (N, 1, H, W), 1 where the gradient counts: in the
    hole, because the rest of both is equal. generator: draws one point between the two per picture. Source: Gulrajani
    et al., NeurIPS 2017, eq. (3); the mask: the published TensorFlow code.
    """
    share = torch.rand(len(real), 1, 1, 1, generator=generator).to(real)
    between = torch.lerp(fake.detach(), real.detach(), share).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    norm = torch.linalg.vector_norm((gradient * mask).flatten(1), dim=1)
    return (norm - 1).square().mean()


def spatial_discount(hole: Tensor, gamma: float) -> Tensor:
    """Return the weight of each pixel of a hole in the l1 loss, (N, 1, H, W) in [0, 1]: gamma^distance; 0 outside.

    hole: float (N, 1, H, W), 1 = hidden, a box in each picture. gamma: per pixel, for a hole of 128 pixels: 0.99 in the
    paper, 0.9 in the published code. distance: pixels to the nearest side of the box with known pixels beyond it, 0
    beside it; a border of the picture is no such side. Without any such side all weights are 1. Source: Yu et al., CVPR
    2018, section 3.3. Ours: it is gamma^(128 / side), so that holes of all sizes are discounted alike; side: the
    shorter side of the box; a side with one end at a border counts twice.
    """
    before_y, after_y, side_y = distances(hole.amax(3))
    before_x, after_x, side_x = distances(hole.amax(2))
    distance = torch.minimum(torch.minimum(before_y, after_y).mT, torch.minimum(before_x, after_x))  # N x 1 x H x W
    decay = gamma ** (PUBLISHED_HOLE / torch.minimum(side_y, side_x))
    return torch.where(hole > 0.5, decay**distance, 0)


def distances(profile: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the distance of each place to the first and last place of a box along one axis, and the box's side.

    profile: (N, 1, L), 1 in the box. Distances: (N, 1, 1, L), 0 at the end itself, infinite if that end is at the
    picture's border; side: (N, 1, 1, 1), doubled if one end is at a border, infinite if both are.
    """
    inside = profile[:, :, None] > 0.5
    length, place = inside.shape[3], torch.arange(inside.shape[3], device=profile.device, dtype=profile.dtype)
    first = torch.where(inside, place, length).amin(3, keepdim=True)
    last = torch.where(inside, place, -1).amax(3, keepdim=True)
    before = torch.where(first > 0, place - first, torch.inf)
    after = torch.where(last < length - 1, last - place, torch.inf)
    known_ends = (first > 0).to(profile) + (last < length - 1).to(profile)
    return before, after, (last - first + 1) * 2 / known_ends


def hole_windows(pictures: Tensor, hole: Tensor, side: int) -> Tensor:
    """Return a square of each picture for the local critic, (N, C, side, side), centred on its hole's box.

    pictures: (N, C, H, W), H and W >= side; hole: (N, 1, H, W). Windows are shifted to be inside the picture.
    Published: the hole itself, always 128 pixels of 256. Ours: windows, because holes differ within a batch.
    """
    height, width = hole.shape[2:]
    y, x = (middle(profile) - side // 2 for profile in (hole.amax((1, 3)), hole.amax((1, 2))))  # N each
    steps = torch.arange(side, device=hole.device)
    rows = y.clamp(0, height - side)[:, None] + steps
    columns = x.clamp(0, width - side)[:, None] + steps
    batch = torch.arange(len(pictures), device=hole.device)[:, None, None]
    return pictures.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def middle(profile: Tensor) -> Tensor:
    """Return the middle of the run of ones in each row of (N, L): int64 (N,)."""
    inside = profile > 0.5
    place = torch.arange(profile.shape[1], device=profile.device)
    first, last = torch.where(inside, place, profile.shape[1]).amin(1), torch.where(inside, place, -1).amax(1)
    return (first + last + 1) // 2
