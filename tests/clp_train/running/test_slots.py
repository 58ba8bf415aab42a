"""What the loop tells a method before an epoch, and when it asks whether to take the meta step."""

import pytest
import torch

from clp_train.algorithm.method import Method
from clp_train.methods.clp import MetaLp
from clp_train.pictures.types import as_input
from clp_train.running.assembly import context_of
from tests.clp_train.builders import config_of, load, train


@pytest.mark.parametrize("trainable", ["all", "head"])
def test_scores_before_an_epoch_are_those_of_the_network_as_it_is(demo_shard, trainable):
    seen = []

    class Looking(Method):
        def enter(self, stage, network):
            self.network = network

        def begin_epoch(self, epoch, epochs, scores):
            seen.append((epoch, epochs))
            if epoch == 1:
                own = scores("train")
                self.network.eval()
                with torch.no_grad():
                    expected = [self.network(as_input(part)) for part in run.train.images.split(1)]
                torch.testing.assert_close(own.logits, torch.cat([out.logits for out in expected]))
                torch.testing.assert_close(own.features, torch.cat([out.features for out in expected]))
                assert len(scores("meta").logits) == 8

    config = config_of(meta=demo_shard, method="erm", epochs=2, batch_size=40, trainable=trainable)
    run = load(config)
    train(config, run, method=Looking())
    assert seen == [(0, 2), (1, 2)]


def test_the_meta_step_waits_until_the_method_learns(demo_shard):
    class Late(MetaLp):
        def learns(self, progress):
            return progress >= 0.5

    config = config_of(meta=demo_shard, method="meta-lp", epochs=4, batch_size=40)
    run = load(config)
    history = train(config, run, method=Late(config.options, context_of(config, run))).history
    assert [line["meta_loss"] is None for line in history] == [True, True, False, False]
