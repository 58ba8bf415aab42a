"""One pass over a shard: the answers of a slow loop over pictures, in any number of parts, and little memory."""

import numpy as np
import pytest
import torch

from clp_aug.contract.errors import InputError
from clp_aug.contract.shards import ShardReader
from clp_train.auditing import answers
from clp_train.auditing.answers import answers_of, ask, at_once
from clp_train.auditing.classes import OTHER, ClassMap
from clp_train.auditing.subject import Subject
from tests.clp_train.builders import generator, network_of

INDEX = np.array([1, OTHER, 0, 1], np.int64)
MIDDLE = 110  # of grey levels, so that pictures fall to both sides
MAP = ClassMap(INDEX, np.array([True, True]))


def weights():
    return torch.randn(4, 3, generator=generator(3))


def asked(counts, network=None, size=None):
    """Return a subject of four logits, linear in the mean colour, that counts how many pictures it is asked about."""

    def logits(pictures):
        assert pictures.dtype == torch.uint8
        counts.append(len(pictures))
        return (pictures.float().mean((2, 3)) - MIDDLE) @ weights().T / 10

    return Subject("s", "factory", (("a",),) * 4, size, None, logits, network)


def by_loop(reader):
    """Return the answers picture by picture, class by class, in double precision."""
    rows = []
    for i in range(len(reader)):
        z = ((torch.from_numpy(reader.image(i)).double().mean((0, 1)) - MIDDLE) @ weights().double().T / 10).tolist()
        shares = [float(np.exp(one - max(z))) for one in z]
        shares = [one / sum(shares) for one in shares]
        best = z.index(max(z))
        label = reader.tables["meta/label"][i]
        rows.append((INDEX[best], shares[best], sum(p for p, c in zip(shares, INDEX, strict=True) if c == label)))
    return [np.array(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("pixels", [1, 5 * 16 * 16, answers.PIXELS])
def test_the_answers_of_a_slow_loop_whatever_the_parts(demo_shard, monkeypatch, pixels):
    monkeypatch.setattr(answers, "PIXELS", pixels)
    reader, counts = ShardReader(demo_shard), []
    found = ask(asked(counts), MAP, reader)
    assert sum(counts) == len(reader)
    assert max(counts) == min(len(reader), max(1, pixels // 256), 250)
    predicted, of_predicted, of_label = by_loop(reader)
    np.testing.assert_array_equal(found.predicted, predicted)
    np.testing.assert_allclose(found.of_predicted, of_predicted, atol=1e-5)
    np.testing.assert_allclose(found.of_label, of_label, atol=1e-5)
    assert [column.dtype for column in found] == [np.int64, np.float32, np.float32]
    assert {OTHER, 0, 1} >= set(predicted)
    assert len(set(predicted)) > 1, "else the test says little"


def test_a_class_that_no_logit_stands_for_has_probability_zero():
    logits = torch.randn(5, 3, generator=generator())
    found = answers_of(logits, torch.tensor([0, 0, OTHER]), np.array([1, 1, 0, 1, 0]), "s", 0)
    assert found.of_label[[0, 1, 3]].tolist() == [0, 0, 0]
    assert (found.of_label[[2, 4]] > 0).all()
    assert set(found.predicted.tolist()) <= {0, OTHER}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_logit_that_is_no_number_is_one_line_with_its_row(value):
    logits = torch.zeros(4, 3)
    logits[2, 1] = value
    with pytest.raises(InputError) as caught:
        answers_of(logits, torch.tensor([0, 1, 1]), np.zeros(4, np.int64), "m.onnx", 30)
    assert str(caught.value) == (
        "model m.onnx: its logits are nan or infinite for /meta/images[32]; give other weights"
    )


def test_a_probability_of_zero_is_a_number():
    logits = torch.tensor([[0.0, float("-inf")]])
    assert answers_of(logits, torch.tensor([0, 1]), np.array([1]), "s", 0).of_label.tolist() == [0]


def test_progress_is_told_for_every_picture(demo_shard):
    told = []

    def watch(rows, name):
        for row in rows:
            yield row
            told.append((name, row))

    reader = ShardReader(demo_shard)
    ask(asked([]), MAP, reader, watch)
    assert told == [("AUDIT", i) for i in range(len(reader))]


def test_a_network_is_asked_as_its_largest_array_allows(monkeypatch):
    network = network_of().float().eval()
    picture = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    monkeypatch.setattr(answers, "IN_CACHE", 10 * 16 * 16 * 16 * 4)  # the first layer: 16 planes of 16 x 16
    assert at_once(asked([], network), picture) == 10
    assert at_once(asked([], network, size=32), picture) == 2, "the size that it is asked with counts"
    monkeypatch.setattr(answers, "IN_CACHE", 1)
    assert at_once(asked([], network), picture) == 1
    monkeypatch.setattr(answers, "CPU", "no such device")
    assert at_once(asked([], network), picture) == 250, "an accelerator is asked as EVALUATE asks it"
