"""EVALUATE: find the layer of a network that gives its last map of a picture, and the axes of this map."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clp_aug.contract.errors import UsageError
from clp_train.models.parts import Classifier

ONE_PIXEL = "its last feature map is one pixel"
TOKENS = "it ends in tokens that lie on no grid, or of which none but a class token counts"
CHANNELS_FIRST, CHANNELS_LAST, ON_A_GRID = "channels first", "channels last", "tokens"
MOST_PREFIXES = 16  # tokens before the tokens of the picture: a class token, registers
WINDOWED = (nn.MaxPool2d, nn.AvgPool2d)  # layers that pool windows, not a whole map

Run = Callable[[Tensor], Any]
"""A network as a function of pictures, float (n, 3, H, W)."""


class Seen(NamedTuple):
    """The output of a module for one picture. shape: of the output; entered: number of positions of its input, None for
    neither a map nor tokens; positions: the same for its output; is_map: four axes, the last two of more than one
    pixel; in_shape: these two have the picture's shape, so they are not channels; kind: "map" or "tokens" for a layer
    with weights, else ""; pools: whether it pools windows.
    """

    name: str
    shape: tuple[int, ...]
    entered: int | None
    positions: int | None
    is_map: bool
    in_shape: bool
    kind: str
    pools: bool = False


class Place(NamedTuple):
    """The place of a map of pictures. name: of the module that outputs it; axes: CHANNELS_FIRST for (n, K, h, w),
    CHANNELS_LAST for (n, h, w, K), ON_A_GRID for (n, first + h w, K); size: h, w; first: tokens before the grid.
    """

    name: str
    axes: str
    size: tuple[int, int]
    first: int = 0

    def map_of(self, output: Tensor) -> Tensor:
        """Return the module's output, or a gradient of the same shape, as (n, K, h, w)."""
        if self.axes == CHANNELS_FIRST:
            return output
        if self.axes == CHANNELS_LAST:
            return output.permute(0, 3, 1, 2)
        return output[:, self.first :].transpose(1, 2).unflatten(2, self.size)


def map_layers(network: Classifier, run: Run, image: Tensor) -> list[str]:
    """Return the names of the modules that output maps (n, K, h, w) of more than one pixel, in the order they finish.

    The last one comes before global pooling. image: float (1, 3, H, W). Raises UsageError when there is none.
    """
    return [place.name for place in map_places(network, seen(network, run, image), image)]


def map_places(network: Classifier, outputs: Sequence[Seen], images: Tensor) -> list[Place]:
    """Return the modules that output maps of some pictures, (n, 3, H, W). Raises UsageError when there is none."""
    places = [Place(each.name, CHANNELS_FIRST, size_of(each.shape[2:])) for each in outputs if each.is_map]
    if not places:
        raise UsageError(
            f"{type(network).__name__}: no module gives a map larger than 1 x 1 for pictures of"
            f" {images.shape[3]} x {images.shape[2]}; Grad-CAM needs a convolutional network or larger pictures"
        )
    return places


def last_place(network: Classifier, run: Run, outputs: Sequence[Seen], image: Tensor) -> tuple[Place | None, str]:
    """Return the place of the last map of a picture, and ""; or None, and the reason why there is none.

    It is the output of the last layer with weights that works on a map, up to global pooling. A network may end in
    tokens, or in maps with channels last. Then it is the output of the last module with this property: each of its
    positions influences the features. If only a class token is read, this is the input of the last attention. outputs:
    of `seen`; image: float (1, 3, H, W).
    """
    reason, learned = reason_of(outputs), last_learned(outputs)
    if learned.kind != "tokens" or learned.positions == 1:
        return (None, reason) if reason else (Place(*_last_map(outputs)), "")
    if not reason and comes_first(outputs, widths_of(network, outputs), image):
        return Place(*_last_map(outputs)), ""
    places = list(token_places(network, outputs, image))
    with_gradient = places_with_gradient(network, run, image, places)
    return (with_gradient[-1], "") if with_gradient else (None, TOKENS)


def _last_map(outputs: Sequence[Seen]) -> tuple[str, str, tuple[int, int]]:
    last = next(each for each in reversed(outputs) if each.is_map)
    return last.name, CHANNELS_FIRST, size_of(last.shape[2:])


def reason_of(outputs: Sequence[Seen]) -> str:
    """Return why the outputs of modules do not end in a map (n, K, h, w), or ""."""
    learned = last_learned(outputs)
    if learned.positions == 1:
        return ONE_PIXEL
    end = outputs[outputs.index(learned) :]
    if not behind_pooling(end):
        end = list(itertools.takewhile(lambda each: each.positions != 1, end))
    last_map = next((each for each in reversed(outputs) if each.is_map), None)
    if last_map is not None and last_map in end and last_map.in_shape:
        return ""
    return TOKENS if learned.kind == "tokens" else ONE_PIXEL


def last_learned(outputs: Sequence[Seen]) -> Seen:
    """Return the output of the last layer with weights on a map or on tokens; without such a layer, one of no position.

    Layers of one position after global pooling are left out: they weigh the map's channels, or belong to the head.
    """
    learned = [i for i, each in enumerate(outputs) if each.kind]
    if not learned:
        return Seen("", (), None, 1, False, False, "map")
    on_maps = [i for i in learned if outputs[i].positions != 1]
    if on_maps and behind_pooling(outputs[on_maps[-1] :]):
        return outputs[on_maps[-1]]
    return outputs[learned[-1]]


def behind_pooling(outputs: Sequence[Seen]) -> bool:
    """Return whether all layers with weights after the first one work on the result of global pooling: they have one
    position each, and no pooling of windows made it.
    """
    rest = [each for each in outputs[1:] if each.kind]
    if not rest or any(each.kind != "map" or each.positions != 1 or each.entered != 1 for each in rest):
        return False
    to_rest = itertools.takewhile(lambda each: each is not rest[0], outputs[1:])
    return not any(each.pools and each.positions == 1 for each in to_rest)


def comes_first(outputs: Sequence[Seen], widths: Collection[int], image: Tensor) -> bool:
    """Return whether the channels of the last map come first and cannot also come last. widths: `widths_of`."""
    shape = next(each.shape for each in reversed(outputs) if each.is_map)
    return shape[1] in widths and not (shape[3] in widths and fits(shape[1:3], *image.shape[2:]))


def widths_of(network: Classifier, outputs: Sequence[Seen]) -> set[int]:
    """Return the possible numbers of channels of the last map of a network that ends in linear layers."""
    return {last_learned(outputs).shape[-1], network.head.in_features}


def token_places(network: Classifier, outputs: Sequence[Seen], image: Tensor) -> Iterator[Place]:
    """Yield the possible places of maps in the outputs of modules: those with the width of the network's end."""
    widths = widths_of(network, outputs)
    grids = [size_of(each.shape[2:]) for each in outputs if each.kind == "map" and each.is_map and each.in_shape]
    height, width = image.shape[2:]
    for each in outputs:
        shape = each.shape
        if shape[0] != len(image) or 1 in (each.positions, math.prod(shape[1:-1]), math.prod(shape[2:])):
            continue
        if len(shape) == 4 and shape[3] in widths and fits(shape[1:3], height, width):
            if shape[1] != shape[3]:  # else rows and channels cannot be distinguished
                yield Place(each.name, CHANNELS_LAST, size_of(shape[1:3]))
        elif len(shape) == 4 and shape[1] in widths and fits(shape[2:], height, width):
            yield Place(each.name, CHANNELS_FIRST, size_of(shape[2:]))
        elif len(shape) == 3 and shape[2] in widths:
            grid = grid_of(shape[1], grids, height, width)
            if grid is not None:
                yield Place(each.name, ON_A_GRID, grid, shape[1] - math.prod(grid))


def grid_of(tokens: int, grids: Sequence[tuple[int, int]], height: int, width: int) -> tuple[int, int] | None:
    """Return rows and columns of this many tokens of a picture, some of which may come first and have no position; None
    for no grid.

    grids: of maps that the network computed before, such as its patches; the latest one counts. Without any, the grid
    has the picture's shape, with at most one token before it.
    """
    for grid in reversed(grids):
        if 0 <= tokens - math.prod(grid) <= MOST_PREFIXES:
            return grid
    for count in () if grids else (tokens, tokens - 1):
        rows = round(math.sqrt(count * height / width))
        if count > 1 and rows and count % rows == 0 and fits((rows, count // rows), height, width):
            return rows, count // rows
    return None


def places_with_gradient(network: Classifier, run: Run, image: Tensor, places: Sequence[Place]) -> list[Place]:
    """Return the places of maps where the features have a gradient at every position, in their order."""
    offsets: dict[str, Tensor] = {}

    def add_to(name: str) -> Callable[[nn.Module, Any, Any], Tensor]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            offsets[name] = torch.zeros_like(output, requires_grad=True)
            return output + offsets[name]

        return hook

    handles = [network.get_submodule(name).register_forward_hook(add_to(name)) for name in {p.name for p in places}]
    try:
        features = run(image).features
    finally:
        for handle in handles:
            handle.remove()
    if not offsets:
        return []
    value = (features * torch.linspace(1, 2, features.shape[1]).to(features)).sum()  # the plain sum after a norm is 0
    gradients = dict(zip(offsets, torch.autograd.grad(value, list(offsets.values()), allow_unused=True), strict=True))
    return [place for place in places if has_gradient(place, gradients[place.name])]


def has_gradient(place: Place, gradient: Tensor | None) -> bool:
    """Return whether a map has a gradient at each of its positions."""
    return gradient is not None and bool(place.map_of(gradient).abs().amax(1).gt(0).all())


def seen(network: Classifier, run: Run, image: Tensor) -> list[Seen]:
    """Return the outputs of a network's modules for a picture, float (1, 3, H, W), in the order they finish."""
    outputs: list[Seen] = []

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim >= 3:
                outputs.append(look_over(name, module, inputs, output, image))

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in network.named_modules() if name]
    try:
        run(image)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def look_over(name: str, module: nn.Module, inputs: Sequence[Any], output: Tensor, image: Tensor) -> Seen:
    """Return the output of a module for a picture: (n, K, h, w), or (n, ..., K) if it is linear in the last axis."""
    learned = any(values.ndim > 1 for values in module.parameters(recurse=False))
    tokens = learned and isinstance(module, nn.Linear)
    entered = next((positions_of(value, tokens) for value in inputs if isinstance(value, Tensor)), None)
    kind = "tokens" if tokens else "map" if learned and output.ndim == 4 else ""
    is_map = output.ndim == 4 and output.shape[2:].numel() > 1
    in_shape = fits(output.shape[-2:], *image.shape[2:])
    positions, pools = positions_of(output, tokens), isinstance(module, WINDOWED)
    return Seen(name, tuple(output.shape), entered, positions, is_map, in_shape, kind, pools)


def positions_of(values: Tensor, tokens: bool) -> int | None:
    """Return the number of positions of a map or of tokens; None for values that are neither."""
    places = values.shape[1:-1] if tokens else values.shape[2:]
    return places.numel() if tokens or values.ndim == 4 else None


def fits(size: Sequence[int], height: int, width: int) -> bool:
    """Return whether a map of rows and columns has the shape of a picture, up to one row or column."""
    rows, columns = size
    return abs(rows * width - columns * height) <= max(height, width)


def size_of(shape: Sequence[int]) -> tuple[int, int]:
    """Return rows and columns."""
    rows, columns = shape
    return rows, columns
