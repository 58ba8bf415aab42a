"""Table 1 by hand: two pictures, three classes, logits chosen so that the probabilities are plain fractions."""

import math

import pytest
import torch

from clp_train.algorithm import characteristics as c

LOGITS = torch.tensor([[2.0, 1.0, 1.0], [4.0, 1.0, 3.0]]).log()  # S(u) = 1/2 1/4 1/4 and 1/2 1/8 3/8
VIEW = c.View(
    logits=LOGITS,
    features=torch.tensor([[3.0, 4.0], [1.0, 0.0]]),
    head=torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]),
    label=torch.tensor([0, 2]),
    group=torch.tensor([0, 2]),
)
CLASSES = c.ClassStats(
    proportion=torch.tensor([0.6, 0.3, 0.1]),
    mean_loss=torch.tensor([0.5, 9.0, 1.0]),
    mean_margin=torch.tensor([0.2, 9.0, -0.5]),
)
LOSS = (math.log(2), math.log(8 / 3))
MARGIN = (0.5 - 0.25, 3 / 8 - 1 / 2)
BY_HAND = {
    "sample_loss": LOSS,
    "sample_margin": MARGIN,
    "gradient_norm": (math.sqrt(1 / 4 + 1 / 16 + 1 / 16), math.sqrt(1 / 4 + 1 / 64 + 25 / 64)),
    "cosine": (3 / 5, 1 / math.sqrt(2)),
    "entropy": (1.5, 0.5 * 1 + 0.125 * 3 + 0.375 * math.log2(8 / 3)),
    "class_proportion": (0.6, 0.1),
    "class_mean_loss": (0.5, 1.0),
    "class_weight_norm": (1.0, 2.0),
    "relative_loss": (LOSS[0] - 0.5, LOSS[1] - 1.0),
    "relative_margin": (MARGIN[0] - 0.2, MARGIN[1] + 0.5),
}


@pytest.mark.parametrize(("index", "name"), list(enumerate(BY_HAND)), ids=list(BY_HAND))
def test_row_of_table_1(index, name):
    assert c.CHARACTERISTICS[index].__name__ == name
    expected = torch.tensor(BY_HAND[name])
    torch.testing.assert_close(c.CHARACTERISTICS[index](VIEW, CLASSES), expected)
    torch.testing.assert_close(c.characteristics(VIEW, CLASSES)[:, index], expected)


def test_a_constant_on_all_logits_changes_no_row():
    shifted = VIEW._replace(logits=VIEW.logits + 7)
    torch.testing.assert_close(c.characteristics(shifted, CLASSES), c.characteristics(VIEW, CLASSES))


def test_rows_stay_finite_for_a_certain_classifier():
    view = VIEW._replace(logits=torch.tensor([[1e4, 0.0, 0.0], [0.0, 1e4, -1e4]]), features=torch.zeros(2, 2))
    assert c.characteristics(view, CLASSES).isfinite().all()


def test_class_means_start_undecided_and_follow_the_batch():
    start = c.ClassStats.start(torch.tensor([6.0, 3.0, 1.0]))
    torch.testing.assert_close(start.proportion, CLASSES.proportion)
    torch.testing.assert_close(start.mean_loss, torch.full((3,), math.log(3)))
    view = c.View(LOGITS[[0, 1, 0]], torch.ones(3, 2), VIEW.head, torch.tensor([0, 0, 2]), torch.tensor([0, 0, 2]))
    after = start.updated(view, decay=0.75)
    # class 0: losses log 2, log 2; class 1: absent; class 2: log 4
    new = torch.tensor([math.log(2), math.log(3), math.log(4)])
    torch.testing.assert_close(after.mean_loss, 0.75 * math.log(3) + 0.25 * new)
    # class 0: margins 1/4 and 1/8; class 2: 1/4 - 1/2
    torch.testing.assert_close(after.mean_margin, 0.25 * torch.tensor([3 / 16, 0.0, -1 / 4]))


def test_standardised_columns_and_a_constant_one():
    g = torch.tensor([[1.0, 5.0], [3.0, 5.0], [5.0, 5.0]])
    root = math.sqrt(1.5)
    torch.testing.assert_close(c.standardise(g), torch.tensor([[-root, 0.0], [0.0, 0.0], [root, 0.0]]))
