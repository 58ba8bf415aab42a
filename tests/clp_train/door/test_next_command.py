"""The command that a run ends with: pasted into a shell, it is a run that differs by the method alone."""

import shlex
from pathlib import Path

import pytest

from clp_aug import cli as augment_cli
from clp_train import cli
from clp_train.config import option_names, settings_of
from clp_train.methods import METHODS
from clp_train.next_command import LEFT_OUT, attacked_shard, command_again, other_method, root_to_say
from tests.clp_train.door.calling import config_called


def parsed(command, line):
    """Return what a command line gives, by name, as its tool reads it."""
    words = shlex.split(line)
    return {name: value for name, value in command.make_context(words[0], words[1:]).params.items() if value}


def following(arguments):
    """Return the configuration of a command line, the command that its run would end with, and that one's."""
    params = parsed(cli.train, f"clp-train {arguments}")
    given = {name: value for name, value in params.items() if name in option_names()}
    ours = config_called(*shlex.split(arguments))
    line = other_method(given, params.get("texts", ()), ours.data.meta, ours.method)
    assert line.startswith("clp-train ")
    return ours, line, config_called(*shlex.split(line)[1:])


def test_all_else_is_alike():
    ours, line, theirs = following(
        "--meta 'a b.h5' --preset cifar-lt-cpu --root p --epochs 4 --out runs/x --seed 3 --saliency-interval 2"
        " --set meta_step=lagged --omega-lr 1e-3 --set leave_out=2 --set method=clp --set lr=0.5 --set limit=none"
    )
    assert line == (
        "clp-train --meta 'a b.h5' --method erm --preset cifar-lt-cpu --root p --epochs 4 --seed 3"
        " --set lr=0.5 --set limit=none"
    )
    assert theirs.method == "erm"
    assert theirs.run.out is None, "a folder of its own"
    record = ours.as_json() | {"method": "erm", "out": None, "meta_step": "exact", "saliency_interval": 5}
    assert theirs.as_json() == record | {"options": {}}, "ERM has no meta step, no saliency and no leave_out"


GIVEN = (
    "--meta x.h5",
    "--meta 'a b/x.h5' --root 'pictures of mine' --cache '$c' --limit 40",
    "--meta x.h5 --preset glt-cpu --batch-size 20 --schedule steps --set first_drop=0.5",
    "--meta x.h5 --set trainable=head --set head_lr=0.01 --set watch_test=true --export --out r",
    "--meta x.h5 --set export=true --set seed=4 --set limit=none --set head_lr=none --weight-decay 1e-05",
)


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("method", METHODS)
def test_it_is_accepted_when_it_is_pasted(method, given):
    own = "".join(
        f" --set {name}={value}"
        for name, value in {"omega_lr": 0.01, "meta_batch_size": "none", "online": "mix-rand"}.items()
        if name in settings_of(method)
    )
    ours, line, theirs = following(f"{given} --method {method}{own}")
    assert theirs.method != ours.method
    kept = ours.flat().keys() & settings_of(theirs.method).keys() - {"omega_lr", *LEFT_OUT}
    assert {name: theirs.flat()[name] for name in kept} == {name: ours.flat()[name] for name in kept}
    assert not {"export", "out"} & parsed(cli.train, line).keys()


def test_it_has_only_settings_that_the_next_method_takes():
    given = {"saliency_lambda": 0.5, "omega_lr": 0.1, "meta_batch_size": 3, "meta_delta": "paper", "lr": 0.1}
    texts = ("online=fgsm", "online_epsilon=0.2", "meta_step=lagged", "omega_form=bounded", "momentum=0.5")
    line = other_method(given, texts, Path("x.h5"), "clp")
    assert line == "clp-train --meta x.h5 --method erm --lr 0.1 --set momentum=0.5"


def test_erm_is_followed_by_another():
    line = other_method({"meta": Path("x.h5")}, (), Path("x.h5"), "erm")
    assert line.startswith("clp-train --meta x.h5 --method ")
    assert "--method erm" not in line


def test_one_whose_run_is_there_already_is_passed_over():
    refused = {"cb-ce", "focal"}
    line = other_method({}, (), Path("x.h5"), "erm", lambda line: line.split()[-1] not in refused)
    assert line == "clp-train --meta x.h5 --method cb-focal"
    assert other_method({}, (), Path("x.h5"), "erm", lambda line: False).endswith("cb-ce"), "none is left"
    offered = []
    other_method({}, (), Path("x.h5"), "clp", lambda line: offered.append(line.split()[-1]))
    assert offered == [name for name in METHODS if not {*METHODS[name].needs} - {"meta"} and name != "clp"]


def test_the_same_command_again():
    line = "--meta 'a b.h5' --preset mine.toml --lr 0.1 --out r --export pt2 --set method=erm --set watch_test=true"
    params = parsed(cli.train, f"clp-train {line}")
    given = {name: value for name, value in params.items() if name in option_names()}
    assert sorted(shlex.split(command_again(given, params["texts"]))) == sorted(
        ["clp-train", *shlex.split(line), "--resume"]
    )


@pytest.mark.parametrize(
    ("variable", "root", "said"),
    [
        ("", None, None),
        ("", "p", "p"),
        ("sets", "p", "p"),
        ("sets", None, "sets/cifar10"),
        ("nowhere", None, None),
        ("data", None, None),
    ],
)
def test_where_the_data_lie_is_said_if_it_cannot_be_known(tmp_path, monkeypatch, variable, root, said):
    monkeypatch.chdir(tmp_path)
    for folder in ("sets", "data"):
        (tmp_path / folder / "cifar10").mkdir(parents=True)
    monkeypatch.setenv("CLP_DATA", variable)
    place = root_to_say("cifar10", root and Path(root))
    assert place == (said and Path(said))
    assert root_to_say("demo", None) is None


def test_a_shard_of_the_same_pictures_for_an_attack():
    settings = {"size": 16, "fit": "stretch", "meta": "4/class", "imbalance": 50.0, "img_max": "rest", "noise": None,
                "matte": "centre", "meta_from": "train", "keep_meta_in_train": True, "noise_seed": 3, "limit": 90,
                "pad": 2}  # fmt: skip
    found = parsed(augment_cli.augment, attacked_shard(settings, "cifar10", Path("d e"), Path("r/classifier.pt2")))
    wanted = {"dataset": "cifar10", "root": Path("d e"), "size": 16, "fit": "stretch", "meta": "4/class",
              "imbalance": 50.0, "matte": "centre", "keep_meta_in_train": True, "noise_seed": 3, "limit": 90,
              "pad": 2, "f": ("fgsm",), "classifier": Path("r/classifier.pt2"), "meta_from": None}  # fmt: skip
    assert {name: found.get(name) for name in wanted} == wanted
    plain = attacked_shard({"size": 64, "fit": "crop", "meta": "10/class"}, "demo", None, Path("c.pt2"))
    assert plain == "clp-augment --dataset demo --size 64 --meta 10/class --f fgsm --classifier c.pt2"
    broken = attacked_shard({"size": 64, "left_out": ["cat/1.png"]}, "demo", None, Path("c.pt2"))
    assert broken == "clp-augment --dataset demo --size 64 --skip-broken --f fgsm --classifier c.pt2"
    crossed = attacked_shard({"size": 64, "attributes": ["place", "light"]}, "table", None, Path("c.pt2"))
    assert crossed == "clp-augment --dataset table --size 64 --attributes place,light --f fgsm --classifier c.pt2"
    val = attacked_shard({"size": 64, "meta_from": "val"}, "cifar10", None, Path("c.pt2"))
    assert "--meta-from val" in val
    for matte in ("hatt:mine", "onnx:u2net"):
        assert attacked_shard({"size": 64, "matte": matte}, "demo", None, Path("c.pt2")) is None, "where is it?"
    assert "--matte given" in attacked_shard({"size": 64, "matte": "given"}, "demo", None, Path("c.pt2"))


def test_a_data_set_of_ones_own_is_named_as_it_was_given():
    ours, line, theirs = following("--meta x.h5 --dataset sets/mine.py:discs --root p --preset none --seed 2")
    assert "--dataset sets/mine.py:discs" in line
    assert "--preset none" in line
    assert (theirs.data, theirs.preset) == (ours.data, None)


def test_an_attack_names_a_data_set_of_ones_own_with_its_folder(monkeypatch):
    monkeypatch.setattr("clp_train.next_command.hangs_on_files", lambda *_: False)
    config = config_called("--meta", "x.h5", "--dataset", "sets/mine.py:discs", "--export", "--out", "r")
    line = cli.suggest_command(config, {"dataset": "mine.py:discs", "shard_settings": {"size": 64}}, {}, ())
    assert line.startswith("clp-augment --dataset sets/mine.py:discs --size 64 ")
