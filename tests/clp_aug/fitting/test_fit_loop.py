"""What a fit does beside learning: one process an output, nothing lost, one line for whatever goes wrong."""

import errno
import os
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from clp_aug.common.rounding import convolutions, products
from clp_aug.contract.errors import ClpError, InputError, UsageError
from clp_aug.fitting import loop
from clp_aug.fitting.config import InpainterFit
from clp_aug.fitting.state import tensors_of
from clp_aug.nets.state import write_state


class Halves:
    """Something to fit that needs no pictures: one weight, which the loss pulls to the number of the step.

    broken_at: step at which the loss is multiplied by a value, or the weights become infinite when it is None.
    """

    def __init__(self, config, broken_at=None, value=float("nan")):
        self.config, self.broken_at, self.value = config, broken_at, value
        self.network = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            self.network.weight.fill_(1.0)
        self.optimiser = torch.optim.SGD([{"params": [*self.network.parameters()], "start": 0.5}], lr=0.5)
        self.parts = {"network": self.network, "optimiser": self.optimiser}

    def batch(self, step):
        return float(step)

    def learn(self, step, batch):
        loss = (self.network.weight - batch).square().sum()
        if step == self.broken_at and self.value is not None:
            loss = loss * self.value
        loop.set_rates(self.optimiser, self.config, step)
        loop.descend(self.optimiser, loss, self.config, step)
        if step == self.broken_at and self.value is None:
            self.network.weight.data.fill_(float("inf"))
        return {"loss": loss.detach()}

    def validate(self):
        return {"weight": self.network.weight.item()}


def config(out, **change):
    return InpainterFit(Path("data"), out, **{"steps": 6, "checkpoint_interval": 2, "validate_interval": 3, **change})


def fit(config, task=None, resume=False, on_step=loop.no_report, pictures="same"):
    task = task or Halves(config)
    with loop.prepared(config, resume):
        loop.run(config, task, pictures, on_step, resume)


def killed(done, losses):
    if done == 3:
        raise KeyboardInterrupt


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_whole_and_resumed_are_the_same_bytes_and_leave_nothing_else(tmp_path):
    fit(config(tmp_path / "whole.safetensors"))
    cut = config(tmp_path / "cut.safetensors")
    with pytest.raises(KeyboardInterrupt):
        fit(cut, on_step=killed)
    assert left(tmp_path) == ["cut.checkpoint", "whole.jsonl", "whole.safetensors"]
    fit(cut, resume=True)
    assert left(tmp_path) == ["cut.jsonl", "cut.safetensors", "whole.jsonl", "whole.safetensors"]
    for suffix in (".safetensors", ".jsonl"):
        assert (tmp_path / f"cut{suffix}").read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin", "w"])
@pytest.mark.parametrize("resume", [False, True])
def test_a_second_fit_of_one_output_is_refused(tmp_path, name, resume):
    """Of one state, too: w.bin has that of w.safetensors."""
    with (
        loop.prepared(config(tmp_path / "w.safetensors"), False),
        pytest.raises(UsageError, match=rf"another fit is writing to .*{name}; wait for it to end, or choose another"),
    ):
        fit(config(tmp_path / name), resume=resume)
    fit(config(tmp_path / name))


def test_what_killed_fits_left_is_removed(tmp_path):
    for name in ("w.safetensors", "w.checkpoint", "w.jsonl", "other.jsonl"):
        (tmp_path / f"{name}.tmp-0123456789abcdef").write_bytes(b"half")
    fit(config(tmp_path / "w.safetensors"))
    assert left(tmp_path) == ["other.jsonl.tmp-0123456789abcdef", "w.jsonl", "w.safetensors"]


@pytest.mark.parametrize("resume", [False, True])
def test_the_state_of_a_fit_that_was_killed_behind_its_weights_is_removed(tmp_path, monkeypatch, resume):
    write_weights = loop.write_weights

    def killed_then(*arguments):
        write_weights(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "write_weights", killed_then)
    with pytest.raises(KeyboardInterrupt):
        fit(config(tmp_path / "w.safetensors"))
    assert left(tmp_path) == ["w.checkpoint", "w.jsonl", "w.safetensors"]
    weights = (tmp_path / "w.safetensors").read_bytes()
    with pytest.raises(UsageError, match=r"w.safetensors holds weights already; choose another --out or remove it"):
        fit(config(tmp_path / "w.safetensors"), resume=resume)
    assert left(tmp_path) == ["w.jsonl", "w.safetensors"]
    assert (tmp_path / "w.safetensors").read_bytes() == weights


@pytest.mark.parametrize("weights", ["of another fit", "of no fit", "a folder"])
def test_a_state_beside_weights_that_are_not_its_own_stays(tmp_path, weights):
    """One of w.bin, for instance, which has the name of that of w.safetensors."""
    if weights == "of another fit":
        fit(config(tmp_path / "w.safetensors"))
    elif weights == "of no fit":
        (tmp_path / "w.safetensors").write_bytes(b"mine")
    else:
        (tmp_path / "w.safetensors").mkdir()
    other = config(tmp_path / "w.bin", lr=0.01)
    with pytest.raises(KeyboardInterrupt):
        fit(other, on_step=killed)
    with pytest.raises(UsageError, match=r"holds weights already|is a folder"):
        fit(config(tmp_path / "w.safetensors"), resume=True)
    fit(other, resume=True)


@pytest.mark.parametrize("name", [".", "/", "w.checkpoint", "w.jsonl"])
def test_names_that_a_fit_would_write_over(name):
    with pytest.raises(UsageError, match=r"expected the name of a file that does not end in .checkpoint or .jsonl"):
        config(Path(name))


def names_a_folder(root):
    (root / "w.safetensors").mkdir()
    return root / "w.safetensors"


def below_a_file(root):
    (root / "file").write_bytes(b"")
    return root / "file" / "w.safetensors"


PLACES = {
    "folder": (names_a_folder, r"is a folder; give the name of a file, \S+mine.safetensors"),
    "below a file": (below_a_file, r"cannot write \S+ \(.*\); "),
    "too long": (lambda root: root / ("w" * 300), r"cannot write \S+ \(File name too long\); choose a shorter name"),
    "too long for its state": (
        lambda root: root / ("w" * 236 + ".a"),
        r"\(File name too long\); choose a shorter name",
    ),
    "null": (lambda root: root / "w\0", r"cannot write .* \(it has a null character\); choose another name"),
    "surrogate": (lambda root: root / "w\ud800", r"cannot write .* \(it is not UTF-8\); choose another name"),
}


@pytest.mark.parametrize(("place", "message"), PLACES.values(), ids=PLACES)
def test_where_nothing_can_be_written_is_said_before_the_first_step(tmp_path, place, message):
    with pytest.raises(ClpError, match=message) as raised:
        fit(config(place(tmp_path)), on_step=lambda *_: pytest.fail("a step was done"))
    assert "\n" not in str(raised.value)


def fails_with(code):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    return refuse


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.EACCES, errno.EDQUOT])
@pytest.mark.parametrize("function", ["open", "replace", "fsync", "unlink"])
def test_a_disk_that_refuses_is_one_line_and_the_fit_goes_on_from_its_state(tmp_path, monkeypatch, code, function):
    whole, cut = config(tmp_path / "whole.safetensors"), config(tmp_path / "cut.safetensors")
    fit(whole)
    told = ""

    def refuses_later(done, losses):
        if done == 3:
            monkeypatch.setattr(os, function, fails_with(code))

    try:
        fit(cut, on_step=refuses_later)
    except InputError as error:
        told = str(error)
    monkeypatch.undo()
    if not cut.out.exists():
        assert re.match(rf"cannot write {cut.out.with_suffix('')}\S* \({os.strerror(code)}\); ", told)
        fit(cut, resume=True)
    assert cut.out.read_bytes() == whole.out.read_bytes()


@pytest.mark.parametrize(
    ("step", "value", "message"),
    [
        (0, float("nan"), r"^step 0: the loss: NaN or infinity; check the pictures and the start weights$"),
        (3, float("inf"), r"^step 3: the loss: NaN or infinity; lower --lr and give another --out$"),
        (3, None, r"^step 3: weights: NaN or infinity; lower --lr and give another --out$"),
        (5, 1e7, r"^the weights in half precision: NaN or infinity; lower --lr and give another --out$"),
    ],
    ids=["start", "loss", "state", "half precision"],
)
def test_numbers_that_are_not_finite_never_reach_a_file(tmp_path, step, value, message):
    one = config(tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=message):
        fit(one, Halves(one, step, value))
    assert not one.out.exists()
    if step == 3:
        task = Halves(one)
        fit(one, task, resume=True)
        assert task.network.weight.isfinite().all()


@pytest.mark.parametrize(("precision", "expected"), [("float32", "ieee"), ("tf32", "tf32")])
def test_some_devices_round_only_if_they_are_asked_to(tmp_path, precision, expected, monkeypatch):
    before, seen = [place.fp32_precision for place in (*products(), *convolutions())], []
    learn = Halves.learn

    def looked(self, step, batch):
        seen.extend(place.fp32_precision for place in (*products(), *convolutions()))
        return learn(self, step, batch)

    monkeypatch.setattr(Halves, "learn", looked)
    fit(config(tmp_path / "w.safetensors", precision=precision))
    assert set(seen) == {expected}
    assert [place.fp32_precision for place in (*products(), *convolutions())] == before


def test_the_precision_is_part_of_a_fit_where_it_is_not_the_usual_one(tmp_path):
    usual, other = config(tmp_path / "w.safetensors"), config(tmp_path / "w.safetensors", precision="tf32")
    assert "precision" not in usual.key()
    assert other.key() == usual.key() | {"precision": "tf32"}
    with pytest.raises(KeyboardInterrupt):
        fit(usual, on_step=killed)
    with pytest.raises(UsageError):
        fit(other, resume=True)
    assert str(loop.device_for(usual)) == "cpu"
    with pytest.raises(
        UsageError, match=r"^precision = tf32: cpu \(.*\) does not have it; it has float32; take precis"
    ):
        loop.device_for(other)


HOSTILE = {
    "step of another kind": ({"step": "2", "curve": []}, None),
    "step behind the end": ({"step": 6, "curve": []}, None),
    "step before the start": ({"step": -1, "curve": []}, None),
    "no step": ({"curve": []}, None),
    "no curve": ({"step": 2}, None),
    "curve of another kind": ({"step": 2, "curve": {}}, None),
    "a list": ([2], None),
    "no tensors": ({"step": 2, "curve": []}, {}),
    "another shape": ({"step": 2, "curve": []}, {"network/weight": torch.zeros(2, 2)}),
    "momentum of another shape": (
        {"step": 2, "curve": []},
        {"network/weight": torch.zeros(1, 1), "optimiser/0.momentum_buffer": torch.zeros(3)},
    ),
    "momentum of nothing": (
        {"step": 2, "curve": []},
        {"network/weight": torch.zeros(1, 1), "optimiser/7.momentum_buffer": torch.zeros(3)},
    ),
    "no number": ({"step": 2, "curve": []}, {"network/weight": torch.zeros(1, 1), "optimiser/x.y": torch.zeros(1)}),
}


@pytest.mark.parametrize(("plain", "tensors"), HOSTILE.values(), ids=HOSTILE)
def test_a_state_that_does_not_fit_is_refused(tmp_path, plain, tensors):
    one = config(tmp_path / "w.safetensors")
    if tensors is None:
        tensors = {f"network/{name}": value for name, value in tensors_of(Halves(one).network).items()}
    write_state(loop.state_file(one), one.key() | {"pictures": "same"}, plain, tensors)
    with pytest.raises(
        InputError,
        match=r"w\.checkpoint: (the state of another fit|damaged checkpoint) \(.*\); remove it and start again",
    ):
        fit(one, resume=True)


def test_the_fingerprint_is_of_names_and_bytes(tmp_path):
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    first.write_bytes(b"12")
    second.write_bytes(b"3")
    seen = [loop.fingerprint([first, second]), loop.fingerprint([second, first]), loop.fingerprint([first])]
    first.write_bytes(b"21")
    seen.append(loop.fingerprint([first, second]))
    first.rename(tmp_path / "c.png")
    seen.append(loop.fingerprint([tmp_path / "c.png", second]))
    assert len(set(seen)) == len(seen)
    with pytest.raises(InputError, match=r"cannot read \S+a.png \(No such file or directory\)"):
        loop.fingerprint([first])
