"""The command that a run ends with: pasted into a shell, it is a run that differs by the method alone."""

import shlex
from pathlib import Path

from clp_aug import cli as augment_cli
from clp_train import cli
from clp_train.config import make_config
from clp_train.next_command import attacked_shard, other_method
from clp_train.presets import read_method, read_preset


def parsed(command, line):
    """Return what a command line gives, by name, as its tool reads it."""
    words = shlex.split(line)
    return {name: value for name, value in command.make_context(words[0], words[1:]).params.items() if value}


def test_all_else_is_alike():
    given = {"meta": Path("a b.h5"), "method": "clp", "root": Path("p"), "epochs": 4, "out": Path("runs/x"), "seed": 3}
    texts = ("meta_step=lagged", "leave_out=2", "method=clp", "lr=0.5")
    line = other_method(given, "cifar-lt-cpu", texts, "clp")
    assert line.startswith("clp-train --meta 'a b.h5' --method erm --preset cifar-lt-cpu --root p --epochs 4 --seed 3")
    found = parsed(cli.train, line)
    preset, pairs = found.pop("preset"), found.pop("settings")
    theirs = make_config(read_preset(preset), read_method(preset, "erm"), found, texts=pairs)
    ours = make_config(read_preset(preset), read_method(preset, "clp"), given, texts=texts)
    alike = ("meta", "root", "epochs", "seed", "lr", "meta_step", "model", "schedule", "preset")
    assert all(getattr(theirs, name) == getattr(ours, name) for name in alike)
    assert theirs.method == "erm"
    assert theirs.out is None, "a folder of its own"
    assert "leave_out" not in line, "ERM has no such setting"


def test_erm_is_followed_by_another():
    assert other_method({"meta": Path("x.h5")}, None, (), "erm").startswith("clp-train --meta x.h5 --method ")
    assert "--method erm" not in other_method({"meta": Path("x.h5")}, None, (), "erm")


def test_a_shard_of_the_same_pictures_for_an_attack():
    settings = {"size": 16, "fit": "stretch", "meta": "4/class", "imbalance": 50.0, "img_max": "rest", "noise": None,
                "matte": "centre"}  # fmt: skip
    found = parsed(augment_cli.augment, attacked_shard(settings, "cifar10", Path("d e"), Path("r/classifier.pt2")))
    wanted = {"dataset": "cifar10", "root": Path("d e"), "size": 16, "fit": "stretch", "meta": "4/class",
              "imbalance": 50.0, "matte": "centre", "f": ("fgsm",), "classifier": Path("r/classifier.pt2")}  # fmt: skip
    assert {name: found.get(name) for name in wanted} == wanted
    plain = attacked_shard({"size": 64, "fit": "crop", "meta": "10/class"}, "demo", None, Path("c.pt2"))
    assert plain == "clp-augment --dataset demo --size 64 --meta 10/class --f fgsm --classifier c.pt2"
