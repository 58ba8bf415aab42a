"""Everything in the room of pictures on the second device of tests/shadow; in a process of its own, as that asks for.

Prints what was compared, by name: whether it is the same as on the CPU to the last bit, and what made the CPU wait.
"""

import json
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from clp_aug.contract.errors import SettingError
from clp_aug.contract.seeds import rng_for
from clp_train.pictures import batching, infills, store
from clp_train.pictures.transforms import TRANSFORMS, load_transform, rand_augment, rand_augment_tensors
from clp_train.pictures.types import BoxedPictures, masks, meta_of_kinds
from tests.shadow import second_device

second_device.install()
CPU, THERE = torch.device("cpu"), torch.device("shadow")
SIZES = ((32, 32, 9), (12, 17, 5), (8, 8, 1))


class Out(NamedTuple):
    logits: Tensor


class Linear(nn.Module):
    def __init__(self, height, width):
        super().__init__()
        self.head = nn.Linear(3 * height * width, 3)

    def forward(self, x):
        return Out(self.head(x.flatten(1)))


def generator(seed):
    return torch.Generator().manual_seed(seed)


def pictures_of(seed, height, width, n):
    g = generator(seed)
    x0, y0 = torch.randint(width - 2, (n,), generator=g), torch.randint(height - 2, (n,), generator=g)
    x1 = x0 + 1 + (torch.rand(n, generator=g) * (width - x0)).long()
    y1 = y0 + 1 + (torch.rand(n, generator=g) * (height - y0)).long()
    images = torch.randint(256, (n, 3, height, width), generator=g, dtype=torch.uint8)
    label, ids = torch.randint(3, (n,), generator=g), torch.arange(n)
    return BoxedPictures(images, label, label % 2, ids + 70, torch.stack([x0, y0, x1, y1], 1), (ids % 3).byte())


def tensors_of(found):
    """Return the tensors of a result, in order."""
    if isinstance(found, Tensor):
        return [found]
    parts = vars(found).values() if hasattr(found, "__dict__") else found if isinstance(found, (tuple, list)) else ()
    return [value for part in parts for value in tensors_of(part)]


def compared(make, *moved):
    """Return how `make` of tensors, pictures or networks on the device differs from the same on the CPU."""
    expected = tensors_of(make(*moved))
    there = [part.to(THERE) for part in moved]
    second_device.forget()
    found = tensors_of(make(*there))
    waits = dict(second_device.waits())
    same = len(found) == len(expected) > 0 and all(
        a.dtype == b.dtype and torch.equal(a.cpu(), b) for a, b in zip(found, expected, strict=True)
    )
    return {"same": same, "waits": waits, "moved": any(value.device.type == "shadow" for value in found)}


def rows_of(n, seed=0):
    return [rng_for(seed, k, "rows").integers(n, size=3) for k in range(7)]


def cases():
    """Yield the name of each case and what came of it."""
    for k, (height, width, n) in enumerate(SIZES):
        p, size = pictures_of(k, height, width, n), f"{n} of {width} x {height}"
        yield f"masks, {size}", compared(lambda box, h=height, w=width: masks(box, h, w), p.box)
        inside = masks(p.box, height, width)
        for name in TRANSFORMS:
            for images in (p.images, p.images.float() / 255):
                moved = compared(lambda *both, name=name: load_transform(name)(*both, generator(3)), images, inside)
                yield f"{name}, {images.dtype}, {size}", moved
            batch = compared(
                lambda there, name=name, n=n: batching.train_batch(there, np.arange(n)[::-1].copy(), 3, 5, name), p
            )
            yield f"batch of {name}, {size}", batch
        strips = compared(lambda box, h=height, w=width: infills.background_strips(box, h, w), p.box)
        yield f"strips, {size}", strips
        mixed = compared(lambda *three: infills.mix_rand(*three, generator(4)), p.images, p.box, p.label)
        yield f"mix-rand, {size}", mixed
        half = compared(lambda images, p=p: infills.mix_rand(images, p.box, p.label, generator(4))[0], p.images)
        yield f"mix-rand by boxes of the CPU, {size}", half
        for targeted in (False, True):
            torch.manual_seed(0)

            def attacked(network, images, box, label, targeted=targeted):
                return infills.fgsm(network, images, box, label, 0.03, targeted, generator(5))

            made = compared(attacked, Linear(height, width), p.images.float() / 255, p.box, p.label)
            yield f"fgsm, targeted {targeted}, {size}", made
        for seed in range(3):
            yield (
                f"rand-augment, draws {seed}, {size}",
                compared(
                    lambda images, inside, seed=seed: augmented(images, inside, rng_for(seed, 0, "draws")),
                    p.images,
                    inside,
                ),
            )
        yield f"rows, {size}", compared(rows_by_label, p) | {"moved": True}  # rows are the CPU's
        yield f"kinds, {size}", compared(lambda there: meta_of_kinds(there, (0, 2)), p)
    yield from stores(pictures_of(9, 10, 12, 31))


def augmented(images, inside, rng):
    """The form of a device, on the CPU too, where PIL would be taken."""
    if images.device.type != "cpu":
        return rand_augment.rand_augment(images, inside, rng)
    drawn = []
    keep = rand_augment.operated_by_pil
    rand_augment.operated_by_pil = lambda *arguments: drawn.append(arguments) or arguments[:2]
    try:
        rand_augment.rand_augment(images, inside, rng)
    finally:
        rand_augment.operated_by_pil = keep
    return rand_augment_tensors.operated(*drawn[0])


def rows_by_label(pictures):
    return [
        torch.from_numpy(rows) for name in ("natural", "class") for rows in batching.epoch_rows(pictures, 1, 2, 4, name)
    ]


def stores(pictures):
    """Yield what comes out of each store, and how two that are refused are refused."""
    batches = rows_of(len(pictures))
    expected = [pictures.take(torch.from_numpy(rows)) for rows in batches]
    for name in ("device", "memory", "mapped"):
        placed = store.place(pictures, name, THERE, is_mapped=name == "mapped")
        second_device.forget()
        found = {"take": [placed.take(rows) for rows in batches], "ahead": list(store.ahead(placed, iter(batches)))}
        waits = dict(second_device.waits())
        for how, parts in found.items():
            columns = [list(vars(part).values()) for part in parts]
            same = all(
                torch.equal(a.cpu(), b)
                for part, those in zip(columns, expected, strict=True)
                for a, b in zip(part, vars(those).values(), strict=True)
            )
            moved = all(value.device.type == "shadow" for part in columns for value in part)
            yield f"store {name}, {how}", {"same": same, "waits": waits, "moved": moved}
        on_cpu = {placed.label.device, placed.group.device, placed.kind.device, placed.box.device} == {CPU}
        rows = [torch.from_numpy(part) for part in batching.epoch_rows(placed, 1, 2, 4, "group")]
        those = [torch.from_numpy(part) for part in batching.epoch_rows(pictures, 1, 2, 4, "group")]
        yield (
            f"store {name}, order",
            {"same": on_cpu and all(map(torch.equal, rows, those)), "waits": {}, "moved": True},
        )
    free = 40 * pictures.images.nbytes
    for share, chosen in ((0.4, "device"), (0.6, "memory")):
        store.free_memory_of = lambda device, share=share: round(pictures.images.nbytes / share)
        same = store.choose_store("auto", [pictures], THERE, False) == chosen
        yield f"auto of {share}", {"same": same, "waits": {}, "moved": True}
    store.free_memory_of = lambda device: free
    try:
        store.choose_store("device", [pictures] * 41, THERE, True)
    except SettingError as error:
        gib = 41 * pictures.images.nbytes / (1 << 30), free / (1 << 30)
        line = "store = device: the pictures need {:.1f} GiB, and {:.1f} GiB of shadow are free; take store = mapped"
        yield "too little memory", {"same": str(error) == line.format(*gib), "waits": {}, "moved": True}
    store.free_memory_of = lambda device: None
    same = store.choose_store("auto", [pictures], THERE, True) == "mapped"
    same &= store.choose_store("device", [pictures], THERE, True) == "device"
    yield "a device that does not say what is free", {"same": same, "waits": {}, "moved": True}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(dict(cases())))
