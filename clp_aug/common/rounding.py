"""Whether an accelerator rounds float32 to TF32 (10 bits of 23) on the way: some do in convolutions, unasked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def products() -> tuple[Any, ...]:
    """Return where torch keeps whether products of matrices are rounded."""
    import torch

    backends: Any = torch.backends
    return (backends.cuda.matmul,)


def convolutions() -> tuple[Any, ...]:
    """Return where torch keeps whether convolutions and recurrent layers are rounded."""
    import torch

    backends: Any = torch.backends
    return backends.cudnn.conv, backends.cudnn.rnn


@contextmanager
def rounded(places: Sequence[Any], allowed: bool) -> Iterator[None]:
    """Within it, operations round float32 to TF32 on the way, or do not. places: which operations."""
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = "tf32" if allowed else "ieee"
        yield
    finally:
        for place, precision in zip(places, before, strict=True):
            place.fp32_precision = precision


@contextmanager
def unrounded() -> Iterator[None]:
    """Within it, nothing is rounded on the way."""
    with rounded((*products(), *convolutions()), False):
        yield
