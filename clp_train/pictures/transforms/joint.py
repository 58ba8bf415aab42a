"""Random transforms of a batch of pictures together with their box masks, on the device of the pictures.

Numbers are drawn and coordinates computed on the CPU, so they are the same for all devices.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clp_train.pictures.moving import onto

SCALE = (0.7, 1.0)  # of the picture's area
WIDE, HALF = (0.08, 1.0), (0.5, 1.0)
STRETCH = (3 / 4, 4 / 3)  # of the picture's own aspect


def none(images: Tensor, inside: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return both unchanged; draws nothing."""
    return images, inside


def crops(n: int, generator: torch.Generator, scale: tuple[float, float] = SCALE) -> Tensor:
    """Return random crops, float64 (n, 4): x0, y0, width, height as shares of the picture's sides, all inside it.

    The area is uniform in `scale`. The aspect, relative to the picture's, is log-uniform in the part of STRETCH that
    fits: from max(3/4, area) to min(4/3, 1/area). Source: the random resized crop of Szegedy et al. 2015, but crops
    that do not fit are never drawn, instead of being rejected (ours).
    """
    u = torch.rand((4, n), generator=generator, dtype=torch.float64)
    area = scale[0] + u[0] * (scale[1] - scale[0])
    low, high = area.clamp(min=STRETCH[0]).log(), (1 / area).clamp(max=STRETCH[1]).log()
    stretch = (low + u[1] * (high - low)).exp()
    size = torch.stack([(area * stretch).sqrt(), (area / stretch).sqrt()]).clamp(max=1)  # a rounding error above 1
    return torch.cat([u[2:] * (1 - size), size]).T


def resize_crop_flip(
    images: Tensor, inside: Tensor, generator: torch.Generator, scale: tuple[float, float] = SCALE
) -> tuple[Tensor, Tensor]:
    """Cut a crop from each picture, stretch it to full size, and flip it with probability 1/2.

    scale: of a crop's area, relative to the picture; images: uint8 or float (n, 3, H, W), bilinear, and rounded if
    uint8; inside: bool (n, H, W), nearest pixel, so a box stays a box. Crops are never larger than the picture, so
    nothing is reduced in size and nothing aliases.
    """
    n, _, height, width = images.shape
    x0, y0, w, h = crops(n, generator, scale).T[..., None]  # each (n, 1)
    flip = torch.rand((n, 1), generator=generator) < 0.5
    xs, ys = x0 + w * centres(width), y0 + h * centres(height)  # source coordinates, as shares of the sides
    xs = torch.where(flip, xs.flip(1), xs)
    pixels = images if images.is_floating_point() else images.float()
    across, down = (onto((2 * places - 1).to(pixels.dtype), images.device) for places in (xs, ys))  # in [-1, 1]
    grid = torch.stack(torch.broadcast_tensors(across[:, None, :], down[:, :, None]), -1)  # (n, H, W, 2)
    moved = F.grid_sample(pixels, grid, "bilinear", "border", align_corners=False)
    moved = moved if images.is_floating_point() else moved.round().to(images.dtype)
    columns = onto((xs * width).long().clamp(max=width - 1), images.device)
    rows = onto((ys * height).long().clamp(max=height - 1), images.device)
    picture = torch.arange(n, device=images.device)[:, None, None]
    return moved, inside[picture, rows[:, :, None], columns[:, None, :]]


def wide_crop_flip(images: Tensor, inside: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """As `resize_crop_flip`, with crops of at least 8 % of the area, as usual for ImageNet (Szegedy et al. 2015)."""
    return resize_crop_flip(images, inside, generator, WIDE)


def half_crop_flip(images: Tensor, inside: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """As `resize_crop_flip`, with crops of at least half of the area, as for MSCOCO-GLT (Tang et al. 2022)."""
    return resize_crop_flip(images, inside, generator, HALF)


def centres(n: int) -> Tensor:
    """Return the centres of n pixels as shares of the side, float64 (n,)."""
    return (torch.arange(n, dtype=torch.float64) + 0.5) / n


def reflect(i: Tensor, n: int) -> Tensor:
    """Fold indices from (-n, 2n - 1) into [0, n) as reflection padding does, without repeating the edge."""
    return (n - 1) - ((n - 1) - i.abs()).abs()


def pad_crop_flip(images: Tensor, inside: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Shift each picture by up to an eighth of its side, mirrored at the edges, and flip it with probability 1/2.

    images: (n, 3, H, W); inside: (n, H, W); both move together. Source: He et al. 2016 (4 of 32 pixels), with
    reflection instead of zeros, as in the meta-learning code for CIFAR.
    """
    n, _, height, width = images.shape
    ys = torch.arange(height) + torch.randint(-(height // 8), height // 8 + 1, (n, 1), generator=generator)
    xs = torch.arange(width) + torch.randint(-(width // 8), width // 8 + 1, (n, 1), generator=generator)
    xs = torch.where(torch.rand((n, 1), generator=generator) < 0.5, xs.flip(1), xs)
    rows, columns = onto(reflect(ys, height), images.device), onto(reflect(xs, width), images.device)
    picture, channels = torch.arange(n, device=images.device), torch.arange(3, device=images.device)[:, None, None]
    pixels = picture[:, None, None], rows[:, :, None], columns[:, None, :]
    return images[pixels[0][:, None], channels, pixels[1][:, None], pixels[2][:, None]], inside[pixels]
