"""Average the weights of two fits of the matting network, the second of which started from the first.

    python -m experiments.matting.average_weights FIRST.safetensors SECOND.safetensors --out OUT.safetensors

Half of each: what a second fit on other shares of pictures gains, without what it forgets. Source: Wortsman et al.,
CVPR 2022 (robust fine-tuning), with their default share. OUT has SECOND's settings and the SHA-256 of both.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save

from clp_aug.common.files import written_beside
from clp_aug.contract.errors import InputError


def average(first: Path, second: Path, out: Path) -> None:
    """Write the mean of two files' tensors in half precision. Raises InputError where names or shapes differ."""
    one, two = load_file(first), load_file(second)
    shapes = [{name: value.shape for name, value in state.items()} for state in (one, two)]
    if shapes[0] != shapes[1]:
        raise InputError(f"{first} and {second}: tensors differ; expected two fits of one network")
    state = {
        name: ((one[name].float() + two[name].float()) / 2).half() if two[name].is_floating_point() else two[name]
        for name in two
    }
    with safe_open(second, "pt") as file:
        settings = json.loads((file.metadata() or {}).get("settings", "{}"))
    settings["average_of"] = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, second)]
    with written_beside(out) as temporary:
        temporary.write_bytes(save(state, {"settings": json.dumps(settings, sort_keys=True)}))


def main() -> None:
    """Average two files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    average(arguments.first, arguments.second, arguments.out)


if __name__ == "__main__":
    main()
