"""What judges an inpainting: critics of the whole picture and of the hole, their penalty, and weights within a hole.

Source: Yu et al., CVPR 2018, sections 3.2 and 3.3, and Gulrajani et al., NeurIPS 2017. Ours is named at each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

GLOBAL, LOCAL = (1, 2, 4, 4), (1, 2, 4, 8)  # planes of each layer, in widths
PUBLISHED_HOLE = 128  # pixels


class Critic(nn.Module):
    """Float pictures (N, 3, H, W) of any size -> a score each, (N,); higher is more real. No sigmoid: Wasserstein.

    width: planes of the first layer, published 64; planes: GLOBAL for whole pictures, LOCAL for windows on the hole.
    Source: the published code: convolutions 5 x 5 of stride 2, leaky ReLU 0.2, a linear layer. Ours: that layer weighs
    planes, not places, so that one critic serves every size; one score looks at 61 x 61 pixels.
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
    hole, the rest of both is the same. generator: draws one point between the two a picture.
    Source: Gulrajani et al., NeurIPS 2017, eq. (3); the mask: the published TensorFlow code.
    """
    share = torch.rand(len(real), 1, 1, 1, generator=generator).to(real)
    between = torch.lerp(fake.detach(), real.detach(), share).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    norm = torch.linalg.vector_norm((gradient * mask).flatten(1), dim=1)
    return (norm - 1).square().mean()


def spatial_discount(hole: Tensor, gamma: float) -> Tensor:
    """Return what a pixel of a hole weighs in the l1 loss, (N, 1, H, W) in [0, 1]; 0 outside: gamma^distance.

    hole: float (N, 1, H, W), 1 = hidden, a box in each picture. gamma: a pixel, in a hole of 128: 0.99 in the paper,
    0.9 in the published code. distance: pixels to the nearest side of the box behind
    which something is known, 0 beside it; a border of the picture is no such side. Without any, all weigh 1.
    Source: Yu et al., CVPR 2018, section 3.3. Ours: it is gamma^(128 / side), so that holes of all sizes are discounted
    alike; side: the shorter one of the box, where one that touches a border counts twice.
    """
    before_y, after_y, side_y = distances(hole.amax(3))
    before_x, after_x, side_x = distances(hole.amax(2))
    distance = torch.minimum(torch.minimum(before_y, after_y).mT, torch.minimum(before_x, after_x))  # N x 1 x H x W
    decay = gamma ** (PUBLISHED_HOLE / torch.minimum(side_y, side_x))
    return torch.where(hole > 0.5, decay**distance, 0)


def distances(profile: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for a box seen along one axis, each place's distance to its first and last place, and its side.

    profile: (N, 1, L), 1 in the box. Distances: (N, 1, 1, L), 0 at the end itself, infinite where that end is the
    picture's; side: (N, 1, 1, 1), doubled or infinite when one or both are.
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

    pictures: (N, C, H, W), H and W >= side; hole: (N, 1, H, W). Windows are shifted to lie within the picture.
    Published: the hole itself, always 128 pixels of 256. Ours: windows, as holes differ within a batch.
    """
    height, width = hole.shape[2:]
    y, x = (middle(profile) - side // 2 for profile in (hole.amax((1, 3)), hole.amax((1, 2))))  # N each
    steps = torch.arange(side, device=hole.device)
    rows = y.clamp(0, height - side)[:, None] + steps
    columns = x.clamp(0, width - side)[:, None] + steps
    batch = torch.arange(len(pictures), device=hole.device)[:, None, None]
    return pictures.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def middle(profile: Tensor) -> Tensor:
    """Return the middle of the run of ones of each row, int64 (N,), of (N, L)."""
    inside = profile > 0.5
    place = torch.arange(profile.shape[1], device=profile.device)
    first, last = torch.where(inside, place, profile.shape[1]).amin(1), torch.where(inside, place, -1).amax(1)
    return (first + last + 1) // 2
