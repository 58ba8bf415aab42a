"""Completion of shells: what is offered behind options, without torch, in the forms of bash, zsh and fish."""

import os
import subprocess
import sys
import time

import click
import pytest
from click.shell_completion import ShellComplete

from clp_aug.cli import augment
from clp_aug.common.shells import Bash, Fish, Zsh
from clp_aug.datasets import DATASETS
from clp_aug.fills import CF, FILLS
from clp_train.audit_cli import audit
from clp_train.bench.cli import bench
from clp_train.cli import train
from clp_train.methods import METHODS
from clp_train.methods.known import KNOWN
from clp_train.models import MODELS
from clp_train.predict_cli import predict
from clp_train.presets import names
from tests.clp_train.door import make_known

NAMES = {
    train: "clp-train",
    augment: "clp-augment",
    audit: "clp-audit",
    bench: "clp-bench",
    predict: "clp-predict",
}


def offered(tool, *words):
    """Return what is offered for the last of some words."""
    found = ShellComplete(tool, {}, NAMES[tool], "_COMPLETE").get_completions(list(words[:-1]), words[-1])
    return [item.value for item in found]


@pytest.mark.parametrize(
    ("tool", "words", "expected"),
    [
        (train, ["--sched"], ["--schedule"]),
        (
            train,
            ["--preset", "waterbirds-"],
            ["waterbirds-cpu", "waterbirds-lisa", "waterbirds-pde", "waterbirds-probe"],
        ),
        (train, ["--method", "cl"], ["clp"]),
        (train, ["--model", "resnet"], ["resnet8", "resnet20", "resnet32"]),
        (train, ["--model", "ti"], ["timm:"]),
        (train, ["--schedule", ""], ["steps", "constant", "cosine"]),
        (train, ["--export", "pt2,"], ["pt2,onnx"]),
        (train, ["--set", "hyper"], ["hypergradient="]),
        (train, ["--set", "hypergradient=on"], ["hypergradient=one-sided"]),
        (train, ["--set", "watch_test="], ["watch_test=true", "watch_test=false"]),
        (train, ["--set", "omega_form="], ["omega_form=" + value for value in KNOWN["clp"]["omega_form"]]),
        (train, ["--method", "erm", "--set", "omega_f"], []),
        (train, ["--set", "no_such="], []),
        (train, ["--list-settings", "ldam"], ["ldam", "ldam-drw"]),
        (augment, ["--dataset", "water"], ["waterbirds"]),
        (augment, ["--cf", "ti"], ["tile"]),
        (augment, ["--cf", "tile,gr"], ["tile,grey"]),
        (augment, ["--cf", "grey,tile,gre"], []),
        (augment, ["--f", "mi"], ["mix-rand"]),
        (augment, ["--matte", "ha"], ["hatt"]),
        (augment, ["--fit", "stretch-"], ["stretch-crop"]),
        (augment, ["--set", "epsi"], ["epsilon="]),
        (bench, ["table2"], ["table2"]),
        (bench, ["table2", "--scale", "p"], ["paper"]),
        (predict, ["run", "--dataset", "de"], ["demo"]),
        (audit, ["data", "--dataset", "de"], ["demo"]),
    ],
)
def test_what_is_offered(tool, words, expected):
    assert offered(tool, *words) == expected


def test_every_name_is_offered():
    assert set(offered(train, "--preset", "")) == {*names(), "none"}
    assert set(offered(train, "--method", "")) == set(METHODS)
    assert set(MODELS) <= set(offered(train, "--model", ""))
    assert set(offered(augment, "--dataset", "")) == set(DATASETS)
    assert set(offered(augment, "--cf", "")) == {name for name, fill in FILLS.items() if CF in fill.kinds}


def test_settings_of_methods_are_those_that_they_have():
    assert make_known.PLACE.read_text(encoding="utf-8") == make_known.text(), (
        "run: python -m tests.clp_train.door.make_known"
    )


BASH = {
    ("clp-train --set hypergradient=one", "one"): "plain,one-sided",
    ("clp-train --set hypergradient=", ""): "plain,forward\nplain,central\nplain,one-sided\nplain,reference",
    ("clp-train --set hyper", "hyper"): "plain,hypergradient=",
    ("clp-train --preset dem", "dem"): "plain,demo",
    ("clp-train --preset=dem", "dem"): "plain,demo",
    ("clp-train --schedule ", ""): "plain,steps\nplain,constant\nplain,cosine",
}


@pytest.mark.parametrize(("line", "word"), BASH)
def test_bash_gets_the_part_that_it_replaces(line, word, monkeypatch):
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_WORD", word)
    assert Bash(train, {}, "clp-train", "_CLP_TRAIN_COMPLETE").complete() == BASH[line, word]


def test_zsh_and_fish_get_whole_words_with_what_they_are(monkeypatch):
    monkeypatch.setenv("COMP_WORDS", "clp-train --preset dem")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert Zsh(train, {}, "clp-train", "_X").complete().startswith("plain\ndemo\nThe built-in demo set")
    monkeypatch.setenv("COMP_CWORD", "dem")
    assert Fish(train, {}, "clp-train", "_X").complete().startswith("plain,demo\tThe built-in demo set")


REAL = """
eval "$(_CLP_TRAIN_COMPLETE=bash_source {tool})"
complete -p {tool} > /dev/null || exit 1
COMP_LINE='{line}' COMP_POINT={point}
_clp_train_completion {tool} '{word}' before 2> /dev/null
printf '%s|' "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(not os.path.exists("/bin/bash"), reason="has no bash")
@pytest.mark.parametrize(
    ("line", "word", "expected"),
    [
        ("clp-train --set meta_step=", "", "exact|lagged|"),
        ("clp-train --preset glt", "glt", "glt|glt-cpu|"),
        ("clp-train --preset glt more words", "glt", "glt|glt-cpu|"),
    ],
)
def test_a_real_bash(line, word, expected):
    tool, point = "clp-train", line.index(word or "=") + max(len(word), 1)
    script = REAL.format(tool=tool, line=line, word=word, point=point)
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=os.environ | {"PATH": path})
    assert done.stdout == expected, done.stderr


def test_completion_loads_no_torch_and_is_quick():
    code = (
        "import sys; from clp_train.cli import train\n"
        "try: train(prog_name='clp-train')\nexcept SystemExit: pass\n"
        "print('LOADED', *sorted({'torch', 'numpy', 'rich', 'h5py'} & set(sys.modules)))"
    )
    words = {"COMP_LINE": "clp-train --set omega_", "COMP_WORD": "omega_", "_CLP_TRAIN_COMPLETE": "bash_complete"}
    times = []
    for _ in range(3):
        began = time.process_time(), os.times().children_user
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | words)
        times.append(os.times().children_user - began[1])
        assert done.stdout.splitlines()[-1] == "LOADED", done.stdout
    assert min(times) < 0.2


def test_every_tool_is_one_of_ours():
    assert all(isinstance(tool, click.Command) and hasattr(tool, "grouped") for tool in NAMES)
