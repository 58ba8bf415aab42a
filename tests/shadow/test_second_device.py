"""The second device itself: the numbers of the CPU, and the refusals of a real accelerator."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clp_aug.nets.devices import describe, find_device
from tests.shadow import second_device
from tests.shadow.second_device import Shadow, forget, install, uploads, waits

MIXED = "Expected all tensors to be on the same device"


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def device():
    return install()


@pytest.fixture
def x(device):
    return torch.arange(12.0).view(3, 4).to(device)


def test_it_is_the_accelerator_of_this_process(device):
    assert torch.accelerator.current_accelerator() == torch.device(second_device.NAME)
    assert torch.accelerator.device_count() == 1
    assert find_device("auto") == find_device("shadow") == find_device("shadow:0") == device
    assert describe(device) == "a shadow of the CPU"


REFUSED = {
    "a sum": (lambda x: x + torch.ones(4), MIXED),
    "in place into the CPU": (lambda x: torch.ones(()).add_(x.sum()), MIXED),
    "a scalar of the device": (lambda x: torch.ones(2) * x.sum(), MIXED),
    "joined": (lambda x: torch.cat([x, torch.ones(1, 4)]), MIXED),
    "stacked scalars": (lambda x: torch.stack([x.sum(), torch.ones(())]), MIXED),
    "a mask for the CPU": (lambda x: torch.ones(3, 4)[x > 2], MIXED),
    "rows for the CPU": (lambda x: torch.ones(3, 4)[x[0].long()], MIXED),
    "values put": (lambda x: x.index_put_((torch.tensor([0]),), torch.ones(4)), MIXED),
    "rows of the CPU added": (lambda x: x.index_add_(0, torch.tensor([0]), x[:1]), MIXED),
    "gathered": (lambda x: x.gather(1, torch.zeros(3, 1, dtype=torch.int64)), MIXED),
    "labels of the CPU": (lambda x: F.cross_entropy(x, torch.zeros(3, dtype=torch.int64)), MIXED),
    "a layer of the CPU": (lambda x: nn.Linear(4, 2)(x), MIXED),
    "a layer of the device": (lambda x: nn.Linear(4, 2).to(x.device)(torch.ones(1, 4)), MIXED),
    "chosen": (lambda x: torch.where(x > 1, torch.ones(3, 4), x), MIXED),
    "numpy": (lambda x: x.numpy(), "can't convert shadow:0 device type tensor to numpy"),
    "an array": (lambda x: np.asarray(x), "can't convert shadow:0 device type tensor to numpy"),
    "drawn by the CPU": (lambda x: x.uniform_(generator=torch.Generator()), "device type for generator"),
    "a permutation": (lambda x: torch.randperm(3, generator=torch.Generator(), device=x.device), "for generator"),
    "drawn rows": (lambda x: torch.multinomial(x + 1, 1, generator=torch.Generator()), "for generator"),
    "pinned": (lambda x: x.pin_memory(), "cannot pin"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what, x):
    use, reason = REFUSED[what]
    with pytest.raises((RuntimeError, TypeError), match=reason):
        use(x)


ALLOWED = {
    "a number": lambda x: x + 1, "a scalar of the CPU": lambda x: x * torch.tensor(2.0),
    "a choice with a scalar": lambda x: torch.where(x > 1, torch.tensor(0.0, device=x.device), x),
    "rows of the CPU": lambda x: x[torch.tensor([2, 0])], "made there": lambda x: torch.arange(4, device=x.device) + x,
    "new": lambda x: x.new_zeros(4) + x, "like it": lambda x: torch.zeros_like(x) + x,
    "sorted": lambda x: x.sort(descending=True).values, "scattered": lambda x: x.scatter(1, x[:, :1].long() % 4, 0.5),
    "to float64": lambda x: x.double() / 3, "spread": lambda x: x[:, None].expand(3, 2, 4).transpose(0, 2),
}  # fmt: skip


@pytest.mark.parametrize("what", ALLOWED)
def test_allowed_and_the_same(what, x):
    found, expected = ALLOWED[what](x), ALLOWED[what](x.cpu())
    assert isinstance(found, Shadow)
    assert found.stride() == found.raw.stride()
    assert torch.equal(found.cpu(), expected)


COUNTED = {
    "item": lambda x: x.sum().item(), "item of a truth": lambda x: bool((x > 1).any()), "tolist": lambda x: x.tolist(),
    "copy to the host": lambda x: x.cpu(), "nonzero": lambda x: x.nonzero(), "rows of a mask": lambda x: x[x > 1],
    "unique": lambda x: x.unique(), "bincount": lambda x: x.flatten().long().bincount(minlength=20),
    "equal": lambda x: torch.equal(x, x), "item in words": lambda x: f"{x.sum():.0f}",
    "copy to the host in place": lambda x: torch.ones(3, 4).copy_(x),
}  # fmt: skip


@pytest.mark.parametrize("what", COUNTED)
def test_a_wait_is_counted(what, x):
    forget()
    COUNTED[what](x)
    assert waits() == {what.split(" of a truth")[0].split(" in ")[0]: 1}


NOT_COUNTED = {
    "a product": lambda x: x @ x.T, "a fill": lambda x: x.masked_fill_(x > 1, 0),
    "put": lambda x: x.__setitem__(x > 1, 0), "one-hot": lambda x: F.one_hot(x.long(), 12),
    "a choice": lambda x: torch.where(x > 1, 0, x), "added": lambda x: x.index_add(0, x[:, 0].long() % 3, x),
    "a step": lambda x: torch.optim.SGD([nn.Parameter(x)], 0.1, 0.9).step(),
}  # fmt: skip


@pytest.mark.parametrize("what", NOT_COUNTED)
def test_no_wait(what, x):
    forget()
    NOT_COUNTED[what](x)
    assert not waits()


def test_autocast_rounds_as_on_the_cpu(device):
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    images, found = numbers(5, 3, 4, 4), []
    for place in ("cpu", second_device.NAME):
        layers.to(place).zero_grad()
        with torch.autocast(place, torch.bfloat16):
            out = layers(images.to(place))
        assert out.dtype == torch.bfloat16
        out.float().square().sum().backward()
        found.append([value.detach().cpu() for value in (out, *(w.grad for w in layers.parameters()))])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_uploads_are_counted(device):
    forget()
    torch.ones(3).to(device), torch.tensor([1, 2], device=device), torch.zeros(3, device=device)
    assert uploads() == 2


def test_views_share_memory(x):
    whole = x.clone()
    row, column = whole[1], whole.T[0]
    row.mul_(0)
    column.add_(100)
    whole[2, 2:] = 7
    assert whole.tolist() == [[100, 1, 2, 3], [100, 0, 0, 0], [108, 9, 7, 7]]
    assert row.tolist() == [100, 0, 0, 0]
    row.unsqueeze_(0)
    assert row.shape == row.raw.shape == (1, 4)


def test_a_module_moves_in_place_and_learns_the_same(device):
    layers = [nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    names = dict(layers[1].named_parameters())
    layers[1].to(device)
    assert all(names[name] is w for name, w in layers[1].named_parameters())
    images, label = numbers(6, 3, 4, 4), torch.tensor([0, 1] * 3)
    for net in layers:
        optimiser = torch.optim.Adam(net.parameters(), 0.1)
        for _ in range(3):
            optimiser.zero_grad()
            place = next(net.parameters()).device
            F.cross_entropy(net(images.to(place)), label.to(place)).backward()
            optimiser.step()
    for name, value in layers[0].state_dict().items():
        assert torch.equal(value, layers[1].state_dict()[name].cpu())
