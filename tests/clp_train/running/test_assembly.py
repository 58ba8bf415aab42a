"""What a config describes, made: what it refuses before the first step, and what an own loop may replace."""

from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from clp_aug.contract.errors import SettingError, UsageError
from clp_train import cli
from clp_train.algorithm.method import Method
from clp_train.algorithm.stages import Stage
from clp_train.config import spell_option
from clp_train.models.parts import last_block
from clp_train.running import loop
from clp_train.running.assembly import assemble, assemble_with, step_rule
from tests.clp_train.builders import config_of, network_of, train


def test_an_unknown_sampler_of_a_method_lists_the_valid_ones(loaded, demo_shard):
    method = Method()
    method.stages = (Stage(sampler="random"),)
    with pytest.raises(UsageError) as error:
        assemble_with(method, config_of("erm", demo_shard), loaded)
    assert str(error.value) == "unknown sampler 'random': choose one of class, group, natural"


def test_a_refused_run_leaves_no_folder(demo_shard, tmp_path):
    options = ["--meta", str(demo_shard), "--meta-batch-size", "25", "--out", str(tmp_path / "run"), "--quiet"]
    found = CliRunner().invoke(cli.train, options)
    assert found.exit_code == 2
    assert "--meta-batch-size 25: the meta set holds 24 pictures" in found.output
    assert list(tmp_path.iterdir()) == []


def test_the_rule_of_steps_is_the_configs():
    rule = step_rule(config_of(saliency_on="meta", meta_interval=3))
    assert (rule.saliency.saliency_on, rule.meta_step.meta_interval) == ("meta", 3)
    assert rule.virtual is None
    network = network_of()
    assert step_rule(config_of(meta_scope="last-block")).virtual(network) == last_block(network)


def test_the_start_is_the_network_before_its_first_step_each_time(loaded, demo_shard):
    assembly = assemble(config_of("erm", demo_shard, seed=3), loaded)
    for network in (assembly.start(), assembly.start()):
        assert network is not assembly.network
        pairs = zip(network.state_dict().values(), assembly.network.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert assembly.classes == 2


def test_an_own_network_is_trained_in_place_of_the_configs(loaded, demo_shard):
    """The same start by hand gives the same run, another start another one."""
    config = config_of("erm", demo_shard, epochs=1, batch_size=40)
    assembly, plain = assemble(config, loaded), train(config, loaded).last.state
    other = assemble(config_of("erm", demo_shard, epochs=1, batch_size=40, seed=1), loaded).network
    for network, same in ((assembly.start(), True), (other, False)):
        found = loop.train(replace(assembly, network=network)).last.state
        assert all(torch.equal(value, plain[name]) for name, value in found.items()) == same


def test_what_a_method_cannot_do_is_refused_when_it_is_assembled(loaded, demo_shard):
    with pytest.raises(SettingError) as error:
        assemble(config_of("mwn", demo_shard, online="fgsm"), loaded)
    assert (
        error.value.spelt(spell_option)
        == "--set online=fgsm: mwn learns only from meta originals; take --set online=none"
    )
