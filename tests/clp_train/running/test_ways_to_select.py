"""Every way to compare epochs: which is kept, by an oracle on random histories; what it knew; killed and resumed."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from clp_aug.contract.errors import InputError, SettingError
from clp_aug.contract.shards import ShardReader
from clp_train.config import make_config
from clp_train.evaluating.metrics import Metrics
from clp_train.evaluating.selection import BEFORE_OTHERS, SELECT, WAYS, knew_of, merit, title_of, way_of
from clp_train.loading.views import audit_command
from clp_train.methods import METHODS
from clp_train.report.table import selection_note
from clp_train.result import result_of
from clp_train.running import epochs
from clp_train.running.assembly import assemble
from clp_train.running.checkpoint import Position
from tests.clp_train.builders import config_of, load, train
from tests.clp_train.door.calling import call
from tests.clp_train.resuming import Killed, assert_same, killable, short
from tests.clp_train.running.audits_of_val import make_audit_of_val

KEYS = {
    "worst-group": lambda m, _: m.worst,
    "worst-class": lambda m, _: m.worst_class,
    "balanced": lambda m, _: m.balanced,
    "average": lambda m, _: m.average,
    "gap": lambda _, before_others: before_others,
}
"""Way -> what the oracle compares, of the metrics of val and the accuracy on other backgrounds."""


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    return make_audit_of_val(tmp_path_factory.mktemp("audit") / "val.h5", 12)


@pytest.fixture(scope="module")
def with_views(demo_shard, audit):
    """The demo run with views of val."""
    return load(config_of(meta=demo_shard, select="gap", audit=audit))


def random_metrics(rng):
    """Return metrics of few values, so that ties are common."""
    worst, average, worst_class, balanced, weighted = rng.choice([0.2, 0.5, 0.8], 5).tolist()
    return Metrics(average, weighted, worst, (), (), (), (), worst_class=worst_class, balanced=balanced)


def oracle(values):
    """Return the epoch, from 1, with the largest (measure, average); the later of equal ones."""
    best = 0
    for k in range(1, len(values)):
        if values[k] >= values[best]:
            best = k
    return best + 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(8))
def test_the_epoch_that_is_kept(way, seed):
    rng = np.random.default_rng(seed)
    network, at = torch.nn.Linear(2, 2), Position()
    val = [random_metrics(rng) for _ in range(7)]
    others = rng.choice([0.3, 0.6], 7).tolist()
    for epoch, (metrics, other) in enumerate(zip(val, others, strict=True), start=1):
        torch.nn.init.constant_(network.bias, epoch)
        epochs.conclude_epoch(at, network, {"val": metrics}, 0.1, False, way, {BEFORE_OTHERS: other})
    compared = [(KEYS[way](m, o), m.average) for m, o in zip(val, others, strict=True)] if way in KEYS else []
    assert at.selected.epoch == (7 if way == "last" else oracle(compared))
    assert at.selected.state["bias"].tolist() == [at.selected.epoch] * 2
    assert at.selected.metrics["val"] is val[at.selected.epoch - 1]
    lines = json.loads(json.dumps(at.history))  # as a resumed run reads them
    assert [merit(line, way) for line in lines] == [merit(line, way) for line in at.history]


@pytest.mark.parametrize("way", KEYS)
@pytest.mark.parametrize("seed", range(6))
def test_patience_goes_by_what_selects(way, seed):
    rng, patience = np.random.default_rng(seed), 2
    lines = [{"val_average": a, WAYS[way].key: v} for a, v in rng.choice([0.1, 0.2, 0.3, 0.4], (12, 2)).tolist()]
    values = [(line[WAYS[way].key], line["val_average"]) for line in lines]
    expected = next((n for n in range(1, 13) if n - 1 - values.index(max(values[:n])) >= patience), None)
    over = (n for n in range(1, 13) if epochs.is_patience_over(lines[: n - 1], lines[n - 1], patience, way))
    assert next(over, None) == expected


def test_auto_knows_groups_only_where_the_method_does():
    for name, entry in METHODS.items():
        assert way_of("auto", entry.needs) == ("worst-group" if "groups" in entry.needs else "worst-class"), name
        assert all(way_of(way, entry.needs) == way for way in WAYS)
    assert list(SELECT) == ["auto", *WAYS]


KNEW = {
    "worst-group": ("groups of val", "classes of val"),
    "worst-class": ("classes of val", "classes of val"),
    "balanced": ("classes of val", "classes of val"),
    "average": ("classes of val", "classes of val"),
    "last": ("nothing", "nothing"),
    "gap": ("boxes of val", "boxes of val"),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_it_knew_in_words(way):
    assert (knew_of(way, True), knew_of(way, False)) == KNEW[way]
    assert title_of(way, False) == ("worst class" if way == "worst-group" else WAYS[way].title)


@pytest.mark.parametrize("select", SELECT)
@pytest.mark.parametrize("trainable", ["all", "head"])
def test_to_choose_changes_nothing_that_is_learnt(demo_shard, with_views, audit, select, trainable):
    settings = {"meta": demo_shard, "method": "group-dro", "epochs": 3, "batch_size": 40, "trainable": trainable}
    plain = train(config_of(**settings), replace(with_views, views=None))
    config = config_of(**settings, select=select, **({"audit": audit} if select == "gap" else {}))
    chosen = train(config, with_views)
    assert all(torch.equal(value, chosen.last.state[name]) for name, value in plain.last.state.items())
    assert chosen.last.metrics == plain.last.metrics
    assert set(chosen.last.metrics) == {"val", "test"}  # the views are no split
    assert [{k: v for k, v in line.items() if k != BEFORE_OTHERS} for line in chosen.history] == plain.history
    assert all((BEFORE_OTHERS in line) == (select == "gap") for line in chosen.history)
    way = "worst-group" if select == "auto" else select
    assert chosen.selected_by == way
    values = [merit(line, way) for line in chosen.history]
    assert chosen.selected.epoch == oracle(values)
    result = result_of(config.as_json(), with_views, chosen, {}, "cpu")
    assert (result["selected_by"], result["selection_knew"]) == (way, KNEW[way][0])
    assert ("select" in result["config"]) == (select != "auto")
    note = selection_note(result)
    assert note.startswith("selected = the last epoch (3), by nothing" if way == "last" else "selected = best val ")
    assert way == "last" or f", by {KNEW[way][0]}, never by test" in note


def test_the_views_of_a_head_are_those_of_its_whole_network(demo_shard, with_views, audit):
    """The accuracy that a head has on features is that of the whole network on the views."""
    settings = {"select": "gap", "audit": audit, "trainable": "head", "epochs": 2, "batch_size": 40}
    trained = train(config_of("erm", demo_shard, **settings), with_views)
    views, network = with_views.views, trained.network
    network.load_state_dict(trained.last.state)
    network.eval()
    with torch.no_grad():
        right = network(views.images.float() / 255).logits.argmax(1) == views.label
    of_classes = [float(right[views.label == c].double().mean()) for c in views.label.unique()]
    assert trained.history[-1][BEFORE_OTHERS] == pytest.approx(sum(of_classes) / len(of_classes))


@pytest.mark.parametrize("select", SELECT)
def test_killed_and_resumed_it_selects_the_same(demo_shard, with_views, audit, tmp_path, select):
    change = {"method": "erm", "epochs": 4, "select": select} | ({"audit": audit} if select == "gap" else {})
    run = with_views if select == "gap" else replace(with_views, views=None)
    whole = killable(short(demo_shard, tmp_path / "whole", **change), run)
    config = short(demo_shard, tmp_path / "killed", **change)
    with pytest.raises(Killed):
        killable(config, run, 11)
    assert_same(killable(config, run, resume=True), whole)


def test_without_val_the_last_epoch_is_selected_only_where_it_is_asked_for(demo_shard, loaded):
    tests = replace(loaded, evaluation={k: v for k, v in loaded.evaluation.items() if k != "val"})
    settings = {"epochs": 2, "batch_size": 80}
    assert train(config_of("erm", demo_shard, **settings), tests).selected is None
    config = config_of("erm", demo_shard, select="last", **settings)
    trained = train(config, tests)
    assert trained.selected.epoch == trained.last.epoch == 2
    assert trained.selected.metrics == trained.last.metrics
    plain = train(config_of("erm", demo_shard, **settings), tests)
    result = result_of(config.as_json(), tests, plain, {}, "cpu")
    assert (result["selected_by"], result["selection_knew"]) == (None, "nothing")


@pytest.mark.parametrize("select", [way for way in WAYS if way not in ("last", "gap")])
def test_without_val_nothing_can_be_compared(demo_shard, loaded, select):
    tests = replace(loaded, evaluation={k: v for k, v in loaded.evaluation.items() if k != "val"})
    message = rf"^select = {select}: the data have no val split to compare epochs by; take select = last$"
    with pytest.raises(SettingError, match=message):
        assemble(config_of("erm", demo_shard, select=select), tests)


def test_a_state_of_an_earlier_version_is_refused_where_it_cannot_be_compared(tmp_path):
    before = [{"val_worst": 0.5, "val_average": 0.6}]
    epochs.check_comparable(before, "worst-group", tmp_path)
    epochs.check_comparable([{"test_average": 0.6}], "worst-class", tmp_path)
    with pytest.raises(InputError, match=r"of an earlier version, whose epochs have no val_worst_class; train again"):
        epochs.check_comparable(before, "worst-class", tmp_path)


REFUSED = {
    "audit alone": (["--audit", "a.h5"], "--audit a.h5: has no effect where select is auto; take --select gap"),
    "patience with last": (
        ["--select", "last", "--set", "patience=2"],
        "--set patience=2: has no effect where select is last; take --select auto",
    ),
    "unknown": (
        ["--select", "worst"], "--select worst: did you mean worst-group? expected one of auto, worst-group,"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_by_the_command_line(demo_shard, tmp_path, case):
    words, message = REFUSED[case]
    done = call("--meta", demo_shard, "--method", "erm", "--out", tmp_path / "r", *words)
    assert done.exit_code == 2
    assert message.split(" did you")[0] in done.stderr


def test_gap_without_views_names_the_command(demo_shard, loaded, tmp_path):
    command = audit_command(ShardReader(demo_shard).header)
    assert command == "clp-augment --audit val --dataset demo --size 16"
    done = call("--meta", demo_shard, "--method", "erm", "--select", "gap", "--out", tmp_path / "r")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].endswith(f"make them with {command}; take --audit SHARD")
    assert not (tmp_path / "r").exists()
    with pytest.raises(SettingError, match=f"make them with {command}; take audit = SHARD"):
        assemble(config_of("erm", demo_shard, select="gap"), loaded)


def test_by_the_command_line_with_views(demo_shard, audit, tmp_path):
    words = ("--meta", demo_shard, "--method", "erm", "--epochs", 2, "--batch-size", 40, "--select", "gap")
    done = call(*words, "--audit", audit, "--quiet", "--out", tmp_path / "r")
    assert done.exit_code == 0, done.stderr
    result = json.loads((tmp_path / "r" / "result.json").read_text())
    assert (result["selected_by"], result["selection_knew"]) == ("gap", "boxes of val")
    assert set(result["last"]["metrics"]) == {"val", "test"}
    assert BEFORE_OTHERS in result["history"][-1]
    assert "by the accuracy on backgrounds of other classes on val" in (tmp_path / "r" / "card.md").read_text()
    assert not list((tmp_path / "r").glob("predictions-views*"))


def test_settings_as_they_are_recorded():
    plain = make_config({"meta": "x.h5", "method": "erm"}).as_json()
    assert not {"select", "audit"} & set(plain)
    said = make_config({"meta": "x.h5", "method": "erm", "select": "gap", "audit": "a.h5"}).as_json()
    assert (said["select"], said["audit"]) == ("gap", "a.h5")
