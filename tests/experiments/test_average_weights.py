"""Averages of two fits: half of each, tensor by tensor, and where they came from."""

import hashlib
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from clp_aug.contract.errors import InputError
from experiments.matting.average_weights import average


def test_half_of_each(tmp_path):
    first, second, out = (tmp_path / f"{name}.safetensors" for name in ("first", "second", "out"))
    save_file({"w": torch.tensor([1.0, 2.0]).half(), "n": torch.tensor(3)}, first)
    save_file({"w": torch.tensor([3.0, 6.0]).half(), "n": torch.tensor(4)}, second, {"settings": '{"steps": 7}'})
    average(first, second, out)
    found = load_file(out)
    assert found["w"].dtype == torch.float16
    assert found["w"].tolist() == [2.0, 4.0]
    assert found["n"].item() == 4
    with safe_open(out, "pt") as file:
        settings = json.loads(file.metadata()["settings"])
    sums = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, second)]
    assert settings == {"steps": 7, "average_of": sums}


def test_fits_of_other_networks_are_refused(tmp_path):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    save_file({"w": torch.zeros(2)}, first)
    save_file({"w": torch.zeros(3)}, second)
    with pytest.raises(InputError, match=r"tensors differ; expected two fits of one network"):
        average(first, second, tmp_path / "out.safetensors")
