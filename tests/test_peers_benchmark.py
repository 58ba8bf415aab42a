"""benchmarks/peers_speed.py: who is left out and why, a peer that answers, and our rows against a double backward."""

import argparse
import json
import sys
from pathlib import Path

import pytest

from benchmarks import peers_page

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
FAKE = """
import sys
from serve import Peer, main

def make(task, how):
    if how == "cannot":
        raise SystemExit("it has no steps")
    if how == "breaks":
        raise ValueError("nothing here works")
    adam = task.adam()
    def steps(count):
        print("said by a library")
        for w in task.net.parameters():
            w.grad = w.detach() * 0 + 2
        adam.step()
        return 0.5
    return Peer(steps, lambda: adam, lambda: list(task.network.parameters()), scale=3.0)

main(make)
"""


@pytest.fixture
def module(monkeypatch):
    """The module, with the others of its folder beside it."""
    monkeypatch.syspath_prepend(FOLDER)
    import peers_speed

    return peers_speed


@pytest.fixture
def fake(module, tmp_path, monkeypatch):
    """Rows of a small adapter in a folder of its own, beside the plain step; returns their commands."""
    script = tmp_path / "with_fake.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(FOLDER / 'peers')!r})\n{FAKE}")
    return {how: [sys.executable, str(script), "--how", how] for how in ("works", "cannot", "breaks")}


def bench(module, commands):
    return module.Bench(commands, 2, 1, 1)


def test_a_peer_that_is_not_given_is_left_out_in_a_line(module, tmp_path, capsys):
    commands = module.chosen({"mwn": tmp_path}, [])
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "TorchOpt: left out, not given; --peer torchopt=PYTHON",
        "higher: left out, not given; --peer higher=PYTHON",
        "betty, unrolled: left out, not given; --peer betty-0.1.1=PYTHON",
        "betty, darts: left out, not given; --peer betty=PYTHON",
    ]
    assert commands["Meta-Weight-Net, the authors' script"][0] == sys.executable
    assert commands["Meta-Weight-Net, the authors' script"][-1] == str(tmp_path)
    assert list(module.chosen({}, ["Bilevel, central"])) == ["Bilevel, central"]


def test_what_is_not_there_is_refused(module, tmp_path):
    with pytest.raises(argparse.ArgumentTypeError, match=r"^'jax' is no peer; expected NAME=PATH with one of mwn, tor"):
        module.peer_of("jax=/usr/bin/python")
    for text, kind in (("mwn=/no/where", "a folder"), ("higher=/no/where", "the python of an environment")):
        with pytest.raises(argparse.ArgumentTypeError, match=rf"^{text}: not found; expected {kind}$"):
            module.peer_of(text)
    with pytest.raises(argparse.ArgumentTypeError, match=r"not found; expected the python"):
        module.peer_of(f"betty={tmp_path}")
    assert module.peer_of(f"mwn={tmp_path}") == ("mwn", tmp_path)
    with pytest.raises(SystemExit, match=r"^--only exact: no such row; expected one of: plain step, no meta step; Bil"):
        module.chosen({}, ["exact"])


def test_peers_take_turns_and_one_that_cannot_is_left_out(module, fake, capsys):
    rows = bench(module, fake).speed(3, 2)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "cannot: left out, it has no steps"
    assert said[1] == "breaks: left out, ValueError: nothing here works"
    assert set(rows) == {module.PLAIN, "works"}
    assert rows[module.PLAIN]["ratios"] == [1, 1, 1]
    assert len(rows["works"]["seconds"]) == 3


def test_growth_is_that_of_many_steps(module, fake):
    found = bench(module, {"works": fake["works"]}).growth(20)
    assert list(found) == ["works"]
    assert len(found["works"]["held_megabytes"]) == len(found["works"]["cpu_seconds_a_step"]) == 10
    blocks = [{"held": 10.0 + k, "cpu": 4.0 if k < 5 else 6.0, "rss": 110.0 + k, "peak": 150.0} for k in range(10)]
    grown = module.grown(blocks, 20)
    assert grown["memory grown, megabytes"] == 8
    assert grown["time, second half over first"] == 1.5
    assert grown["cpu_seconds_a_step"][0] == 2
    assert grown["peak_megabytes"] == 50


def test_our_rows_find_the_gradient_of_the_double_backward(module, fake, tmp_path):
    names = ["Bilevel, central", "Bilevel, one-sided"]
    start = tmp_path / "start.pt"
    measured = bench(module, {**module.chosen({}, names), "works": fake["works"]})
    with module.Process([*measured.commands[module.PLAIN], *measured.words]) as process:
        weights = module.first_state(process, start, 3)["weights"]
    assert weights.dtype.itemsize == 8
    found = measured.errors(tmp_path, ("--start", str(start)))
    for name in names:
        assert found[name]["cosine"] > 0.999
        assert found[name]["error"] < 0.05
        assert found[name]["error of the step"] < 1e-3
    assert abs(found["works"]["cosine"]) < 0.99
    assert found["works"]["error of the step"] == pytest.approx(1), "its network stood still"


def test_the_gradient_is_compared_at_three_points(module, monkeypatch):
    asked = []
    monkeypatch.setattr(module.Bench, "errors", lambda self, folder, more: asked.append(more) or {})
    points = bench(module, {}).gradient(2)
    assert list(points) == ["at drawn weights", "after 2 plain steps", "there, learning rate 0.01"]
    assert [words[::2] for words in asked] == [(), ("--start",), ("--start", "--rate")]


def test_parts_and_rows_are_put_beside_those_of_the_file(module, monkeypatch, tmp_path):
    out = tmp_path / "results" / "peers.json"
    monkeypatch.setattr(module.Bench, "growth", lambda self, steps: {name: {"steps": steps} for name in self.wanted})
    for name in (module.PLAIN, module.TWICE):
        words = ["peers_speed.py", "--part", "growth", "--only", name, "--out", str(out)]
        monkeypatch.setattr(sys, "argv", words)
        module.main()
    assert json.loads(out.read_text())["growth"]["rows"] == {module.PLAIN: {"steps": 500}, module.TWICE: {"steps": 500}}
    assert module.merged({"a": {"b": 1, "c": 2}, "d": 1}, {"a": {"c": 3}}) == {"a": {"b": 1, "c": 3}, "d": 1}


def test_the_page_holds_what_the_results_say():
    assert not peers_page.is_stale(), "run: python -m benchmarks.peers_page"
    text = peers_page.PAGE.read_text("utf-8")
    assert not [name for name in peers_page.BLOCKS if f"<!-- {name}: made by {peers_page.MAKER} -->" not in text]


def test_check_says_what_to_run(tmp_path, monkeypatch):
    other = tmp_path / "peers.md"
    block = "\n".join(peers_page.speed())
    other.write_text(peers_page.PAGE.read_text("utf-8").replace(block, "old"), "utf-8")
    assert peers_page.is_stale(other)
    monkeypatch.setattr(peers_page, "PAGE", other)
    monkeypatch.setattr("sys.argv", ["page", "--check"])
    with pytest.raises(SystemExit, match=r"^peers\.md: other figures .* python -m benchmarks\.peers_page writes them$"):
        peers_page.main()
