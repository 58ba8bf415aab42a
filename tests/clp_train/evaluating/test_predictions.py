"""Predictions picture by picture, and what is taken for what: each against a plain loop."""

import pytest
import torch

from clp_train.evaluating import outputs
from clp_train.evaluating.confusion import Pair, confusion, most_confused
from clp_train.evaluating.metrics import predict
from clp_train.evaluating.outputs import logits_of
from clp_train.evaluating.predictions import predict_labelled
from clp_train.pictures.types import Pictures
from tests.clp_train.builders import generator, network_of


def test_predictions_are_those_of_each_picture():
    network = network_of().float().eval()
    images = torch.randint(256, (260, 3, 8, 8), dtype=torch.uint8, generator=generator())
    label = torch.arange(260) % 3
    found = predict_labelled(network, Pictures(images, label, label, label), logits_of, 2.0)
    assert torch.equal(found.predicted, predict(network, images))
    with torch.no_grad():
        for i in range(0, 260, 37):
            shares = (2 * network(images[i : i + 1].float() / 255).logits).softmax(1)[0]
            assert found.of_label[i].item() == pytest.approx(shares[label[i]].item(), abs=1e-6)
            assert found.of_predicted[i].item() == pytest.approx(shares.max().item(), abs=1e-6)


def test_pictures_that_go_through_few_at_a_time_keep_their_labels(monkeypatch):
    network = network_of().float().eval()
    images = torch.randint(256, (23, 3, 8, 8), dtype=torch.uint8, generator=generator())
    label = torch.arange(23) % 3
    pictures = Pictures(images, label, label, label)
    at_once = predict_labelled(network, pictures, logits_of, 1.0)
    monkeypatch.setattr(outputs, "most_at_once", lambda network, picture: 4)
    few = predict_labelled(network, pictures, logits_of, 1.0)
    assert torch.equal(few.predicted, at_once.predicted)
    torch.testing.assert_close(few.of_label, at_once.of_label)
    torch.testing.assert_close(few.of_predicted, at_once.of_predicted)


@pytest.mark.parametrize("seed", range(5))
def test_confusion_counts_each_picture_once(seed):
    g = generator(seed)
    predicted, label = (torch.randint(4, (50,), generator=g) for _ in range(2))
    counts = confusion(predicted, label, 5)
    expected = torch.zeros(5, 5, dtype=torch.int64)
    for p, y in zip(predicted.tolist(), label.tolist(), strict=True):
        expected[y, p] += 1
    assert torch.equal(counts, expected)
    pairs = most_confused(counts, 3)
    off = sorted(((int(n), y, p) for y, row in enumerate(expected.tolist()) for p, n in enumerate(row) if y != p),
                 key=lambda each: (-each[0], each[1:]))  # fmt: skip
    assert pairs == [Pair(y, p, n, int(expected[y].sum())) for n, y, p in off[:3] if n]


def test_what_is_all_right_has_no_pairs():
    assert most_confused(torch.diag(torch.tensor([3, 4])), 5) == []
