"""A second device for a machine that has one: "shadow" computes on the CPU, bit for bit, and is strict as a real one.

A tensor on it wraps a tensor of the CPU, and every operation works on what is wrapped. What a real accelerator refuses
raises here too: tensors of two devices in one operation, a generator of the CPU for random numbers of the device, a
numpy array of its memory. What would make the host wait for the device is counted, and so is what is sent to it.

Not shown: the device's own kernels and rounding, asynchrony, its memory.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "shadow"
aten = torch.ops.aten
COPIES = (aten.copy_.default, aten._copy_from.default)
INDEXING = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)
TAKES_CPU_SCALARS = (aten.masked_fill.Tensor, aten.masked_fill_.Tensor, aten.where.self)
IN_FEWER_BITS = ("conv2d", "linear", "matmul", "mm", "addmm", "bmm")
"""Operations that autocast gives tensors of fewer bits; of those of the CPU, what networks here use."""
WAITING = (torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output)
COMPOSED = {"_local_scalar_dense": "item", "_unique2": "unique", "index": "rows of a mask"}


class Counts(threading.local):
    """What a thread has waited for, and how many tensors it has sent."""

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()
        self.uploads = 0


counts = Counts()


def waits() -> Counter[str]:
    """Return how often this thread has waited for a result of the device since `forget`, by what asked for it."""
    return counts.waits.copy()


def uploads() -> int:
    """Return how many tensors this thread has copied from the host to the device since `forget`."""
    return counts.uploads


def forget() -> None:
    """Count from 0 again."""
    counts.waits.clear()
    counts.uploads = 0


class Shadow(torch.Tensor):
    """A tensor on the device. raw: the tensor of the CPU that it stands for, of the same shape and strides."""

    raw: Tensor

    @staticmethod
    def __new__(cls, raw: Tensor) -> Shadow:
        return torch.Tensor._make_wrapper_subclass(
            cls, raw.shape, strides=raw.stride(), storage_offset=raw.storage_offset(), dtype=raw.dtype,
            layout=raw.layout, device=torch.device(NAME, 0),
        )  # fmt: skip

    def __init__(self, raw: Tensor) -> None:
        self.raw = raw

    def __repr__(self) -> str:
        return f"Shadow({self.raw!r})"

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["raw"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], meta: None, size: Any, stride: Any) -> Shadow:
        return Shadow(inner["raw"])

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.ndim == 0 else super().__format__(spec)

    def tolist(self) -> Any:
        counts.waits["tolist"] += 1
        return self.detach().raw.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(
            f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host"
            " memory first."
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.numpy()

    def pin_memory(self, device: Any = None) -> Tensor:
        raise RuntimeError(f"cannot pin '{self.device}': only dense CPU tensors can be pinned")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in COPIES:
            return copy(func, *args)
        place = kwargs.get("device")
        if place is not None and torch.device(place).type != NAME:
            if func is aten._to_copy.default:
                counts.waits["copy to the host"] += 1
            return func(*tree_map(inner, args), **tree_map(inner, kwargs))
        check(func, args, kwargs)
        count(func, args)
        out = func(*tree_map(on_cpu, args), **tree_map(on_cpu, kwargs))
        return return_and_correct_aliasing(func, args, kwargs, tree_map(on_shadow, out))


def copy(func: Any, *args: Any) -> Tensor:
    """Copy between two devices, or within one: the arguments are as those of `Tensor.copy_` or of `_copy_from`."""
    source, target = (args[0], args[1]) if func is COPIES[1] else (args[1], args[0])
    if isinstance(source, Shadow) and not isinstance(target, Shadow):
        counts.waits["copy to the host"] += 1
    if isinstance(target, Shadow) and not isinstance(source, Shadow) and source.numel():
        counts.uploads += 1
    inner(target).copy_(inner(source))
    return target


def check(func: Any, args: Any, kwargs: Any) -> None:
    """Raise RuntimeError where an operation mixes devices, as a real device would."""
    given = tree_leaves((args, kwargs))
    if any(isinstance(value, torch.Generator) for value in given):
        raise RuntimeError(f"Expected a '{NAME}' device type for generator but found 'cpu'")
    foreign = [value for value in given if isinstance(value, Tensor) and not isinstance(value, Shadow)]
    if not foreign:
        return
    if func in INDEXING:
        mixes = not isinstance(args[0], Shadow) or (len(args) > 2 and not isinstance(args[2], Shadow) and args[2].ndim)
    else:
        takes_scalars = torch.Tag.pointwise in func.tags or func in TAKES_CPU_SCALARS
        changed = [value for value, a in zip(args, func._schema.arguments, strict=False) if is_changed(a)]
        mixes = not takes_scalars or any(v.ndim for v in foreign) or any(not isinstance(v, Shadow) for v in changed)
    if mixes:
        raise RuntimeError(
            f"{func}: Expected all tensors to be on the same device, but found at least two devices, {NAME}:0 and cpu!"
        )


def is_changed(argument: Any) -> bool:
    """Tell whether an operation works in place on an argument of its schema."""
    return argument.alias_info is not None and argument.alias_info.is_write


def count(func: Any, args: Any) -> None:
    """Count an operation whose result's shape or value the host has to know before it goes on."""
    if func in INDEXING:
        asks = any(isinstance(i, Shadow) and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        counts.uploads += sum(isinstance(i, Tensor) and not isinstance(i, Shadow) for i in args[1])
        waits_for_rows = asks and (func is aten.index.Tensor or args[2].numel() > 1)
    else:
        waits_for_rows = any(tag in func.tags for tag in WAITING)
    if waits_for_rows:
        name = func._schema.name.removeprefix("aten::")
        counts.waits[COMPOSED.get(name, name)] += 1


def inner(value: Any) -> Any:
    """Return what a tensor of the device stands for; anything else as it is."""
    return value.raw if isinstance(value, Shadow) else value


def on_cpu(value: Any) -> Any:
    """Return an argument as the CPU takes it."""
    return torch.device("cpu") if isinstance(value, torch.device) else inner(value)


def on_shadow(value: Any) -> Any:
    """Return a result as one of the device."""
    return Shadow(value) if isinstance(value, Tensor) and not isinstance(value, Shadow) else value


class Module:
    """What `torch.shadow` offers, and `torch.accelerator` asks for."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def get_device_name(self, device: Any = None) -> str:
        return "a shadow of the CPU"

    def synchronize(self, device: Any = None) -> None:
        return None

    def manual_seed_all(self, seed: int) -> None:
        return None

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def _is_in_bad_fork(self) -> bool:
        return False


def install() -> torch.device:
    """Make the device known to torch, once a process and before its first backward pass; return it.

    Backward passes run in the thread that asks for them: with one for each device, the order in which gradients are
    added up, and so their rounding, is not that of the CPU.
    """
    if not hasattr(torch, NAME):
        _setup_privateuseone_for_python_backend(NAME, Module())
        for name, function in FACTORIES.items():
            torch.library.impl(f"aten::{name}", "PrivateUse1")(function)
        register_autocast()
        torch.autograd.set_multithreading_enabled(False)
    return torch.device(NAME, 0)


def register_autocast() -> None:
    """Let autocast on the device work as on the CPU."""
    every, some = (torch.library.Library(space, "IMPL", "AutocastPrivateUse1") for space in ("_", "aten"))
    every.fallback(torch.library.fallthrough_kernel)
    for name in IN_FEWER_BITS:
        some.impl(name, in_fewer_bits(getattr(aten, name).default))
    LIBRARIES.extend((every, some))


def in_fewer_bits(operation: Any) -> Callable[..., Any]:
    """Return an operation that takes numbers of the type that autocast has now."""

    def rounded(value: Any) -> Any:
        is_number = isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64
        return value.to(torch.get_autocast_dtype(NAME)) if is_number else value

    def run(*args: Any, **kwargs: Any) -> Any:
        keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)
        with torch._C._ExcludeDispatchKeyGuard(keys):
            return operation(*tree_map(rounded, args), **tree_map(rounded, kwargs))

    return run


LIBRARIES: list[torch.library.Library] = []
"""They forget what is registered in them when they go."""


def empty_strided(
    size: Any, stride: Any, *, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: Any = None
) -> Tensor:
    """Make room for a tensor of some strides."""
    return Shadow(torch.empty_strided(size, stride, dtype=dtype))


def empty(
    size: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: Any = None,
    memory_format: Any = None,
) -> Tensor:
    """Make room for a tensor of a memory format."""
    return Shadow(torch.empty(size, dtype=dtype, memory_format=memory_format or torch.contiguous_format))


def zeros(size: Any, *, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: Any = None) -> Tensor:
    """Make the tangent of what does not move."""
    return Shadow(torch.zeros(size, dtype=dtype))


def copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    """Copy between two devices."""
    return copy(COPIES[1], source, target)


FACTORIES: dict[str, Callable[..., Tensor]] = {
    "empty_strided": empty_strided,
    "empty.memory_format": empty,
    "_efficientzerotensor": zeros,
    "_copy_from": copy_from,
}
