import numpy as np
import pytest

from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets.base import Dataset, Samples
from clp_aug.protocol.label_noise import noisy_labels, random_pairs, similar_pairs, transition, wrong_share
from clp_aug.protocol.specs import parse_noise
from tests.clp_aug.datasets.tiny_sets import Table


def test_pair_table_of_the_reference_code():
    # what Meta-Weight-Net's "flip2" draws for ten and a hundred classes with its fixed seed 1
    ten = [(9, 3), (4, 8), (1, 8), (8, 4), (2, 5), (7, 4), (9, 2), (8, 5), (6, 5), (5, 4)]
    np.testing.assert_array_equal(random_pairs(10, 1), ten)
    np.testing.assert_array_equal(random_pairs(100, 1)[:4], [(93, 84), (45, 70), (57, 60), (41, 11)])


@pytest.mark.parametrize("classes", [3, 4, 11])
def test_pairs_are_two_distinct_other_classes(classes):
    for seed in range(20):
        pairs = random_pairs(classes, seed)
        assert (pairs[:, 0] != pairs[:, 1]).all()
        assert (pairs != np.arange(classes)[:, None]).all()


def test_pair_table_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    random_pairs(10, 1)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_transition_by_hand():
    uniform = transition(parse_noise("uniform:0.4"), 4, None)
    np.testing.assert_allclose(uniform, np.full((4, 4), 0.1) + 0.6 * np.eye(4))
    flip = transition(parse_noise("flip:0.4"), 3, np.array([[1, 2], [0, 2], [1, 0]]))
    np.testing.assert_allclose(flip, [[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]])
    flip = transition(parse_noise("flip:0.5"), 4, np.array([[3, 1], [0, 2], [1, 0], [2, 0]]))
    np.testing.assert_allclose(flip[0], [0.5, 0.25, 0, 0.25])
    np.testing.assert_allclose(transition(parse_noise("flip:0.4"), 2, None), [[0.6, 0.4], [0.4, 0.6]])


def oracle(dataset, row, matrix, noise_seed):
    """One label: walk along the row of the matrix until the draw is used up."""
    draw = rng_for(noise_seed, int(dataset.samples.sample_id[row]), "label-noise").random()
    for label, share in enumerate(matrix[dataset.samples.label[row]]):
        if draw < share:
            return label
        draw -= share
    raise AssertionError("the row does not sum to 1")


@pytest.mark.parametrize("spec", ["uniform:0.4", "flip:0.4", "uniform:0.9", "flip:0.999"])
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_labels_follow_the_matrix(spec, classes):
    dataset = Table([40] * classes)
    rows = np.arange(40 * classes)
    pairs = random_pairs(classes, 5) if classes > 2 else None
    matrix = transition(parse_noise(spec), classes, pairs)
    expected = [oracle(dataset, row, matrix, 5) for row in rows]
    np.testing.assert_array_equal(noisy_labels(dataset, rows, spec, 5), expected)


@pytest.mark.parametrize(("spec", "share"), [("uniform:0.4", 0.36), ("flip:0.4", 0.4), ("uniform:0", 0), ("flip:0", 0)])
def test_share_of_wrong_labels(spec, share):
    dataset = Table([600] * 10)
    labels = noisy_labels(dataset, np.arange(6000), spec, 1)
    wrong = labels != dataset.samples.label
    assert abs(wrong.mean() - share) < 4 * np.sqrt(share * (1 - share) / 6000) + 1e-12
    if spec == "flip:0.4":
        allowed = np.c_[random_pairs(10, 1), np.arange(10)]
        assert (labels[:, None] == allowed[dataset.samples.label]).any(axis=1).all()


def test_a_label_depends_on_its_picture_alone():
    dataset = Table([30, 30, 30])
    rows = np.random.default_rng(0).permutation(90)
    labels = noisy_labels(dataset, rows, "uniform:0.6", 1)
    np.testing.assert_array_equal(noisy_labels(dataset, rows[20:50], "uniform:0.6", 1), labels[20:50])
    np.testing.assert_array_equal(noisy_labels(dataset, rows[::-1], "uniform:0.6", 1), labels[::-1])
    assert (noisy_labels(dataset, rows, "uniform:0.6", 2) != labels).any()
    assert (dataset.samples.label[:30] == 0).all()  # the clean labels stay


class Colours(Dataset):
    """Classes of plain noisy colours: 0 and 1 nearly red, 2 and 3 nearly blue, 4 between blue and green."""

    MEANS = ((200, 20, 20), (190, 25, 20), (20, 20, 200), (20, 25, 190), (20, 70, 150))

    def __init__(self, counts):
        label = np.repeat(np.arange(len(counts)), counts)
        super().__init__(
            "colours", [f"c{i}" for i in range(len(counts))], Samples.of(label, 0 * label, list("x" * len(label)))
        )

    def image(self, row, size=None, fit="crop"):
        noise = rng_for(0, row, "colours").normal(0, 25, (1, 1, 3)) + rng_for(1, row, "colours").normal(
            0, 5, (size, size, 3)
        )
        return np.clip(noise + self.MEANS[self.samples.label[row]], 0, 255).astype(np.uint8)


def test_similar_pairs_are_the_classes_that_look_alike():
    pairs = similar_pairs(Colours([40] * 5))
    assert pairs[:4, 0].tolist() == [1, 0, 3, 2]
    assert set(pairs[4]) == {2, 3}
    np.testing.assert_array_equal(pairs, similar_pairs(Colours([40] * 5)))


def test_flip_similar_uses_them():
    dataset = Colours([40] * 5)
    labels = noisy_labels(dataset, np.arange(200), "flip-similar:0.6", 1)
    allowed = np.c_[similar_pairs(dataset), np.arange(5)]
    assert (labels[:, None] == allowed[dataset.samples.label]).any(axis=1).all()
    assert 0.4 < (labels != dataset.samples.label).mean() < 0.8


def test_flip_similar_needs_three_pictures_a_class():
    assert similar_pairs(Colours([3, 9, 9])).shape == (3, 2)
    with pytest.raises(
        UsageError, match=r"noise flip-similar: class 'c0' has 2 training pictures, expected >= 3; use flip"
    ):
        similar_pairs(Colours([2, 9, 9]))


def test_flipping_needs_two_classes():
    assert noisy_labels(Table([5]), np.arange(5), "uniform:0.5", 1).tolist() == [0] * 5
    with pytest.raises(UsageError, match=r"noise flip:0.5: flipping needs two classes, data set table has 1"):
        noisy_labels(Table([5]), np.arange(5), "flip:0.5", 1)


@pytest.mark.parametrize(
    "spec",
    ["", "uniform", "uniform:", "uniform:1", "uniform:-0.1", "uniform:nan", "flip:x", "pair:0.4", "0.4", "flip:0.4:1"],
)
def test_wrong_specs(spec):
    message = rf"noise '{spec}': expected one of uniform, flip, flip-similar and a ratio in \[0, 1\), such as flip:0.4"
    with pytest.raises(UsageError, match=message):
        parse_noise(spec)


@pytest.mark.parametrize("spec", ["uniform:0.4", "flip:0.4", "uniform:0", "flip:0", "uniform:0.999", "flip:0.999"])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_expected_share_of_wrong_labels_is_what_the_matrix_keeps_off_its_diagonal(spec, classes):
    parsed = parse_noise(spec)
    matrix = transition(parsed, classes, random_pairs(classes, 1) if classes > 2 else None)
    assert wrong_share(parsed, classes) == pytest.approx(1 - np.trace(matrix) / classes)
