"""What only a network at hand can tell: Grad-CAM in the boxes beside one map at a time, and a fit to backgrounds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clp_aug.contract.schema import FALLBACK
from clp_aug.contract.shards import ShardReader
from clp_train.auditing.audit import audit
from clp_train.auditing.classes import ClassMap
from clp_train.auditing.looking import NOT_ASKED, attention_in_boxes, fitted_accuracy, some_of
from clp_train.auditing.opened import resized
from clp_train.auditing.subject import Subject
from clp_train.auditing.views import BACKGROUND, NONE
from clp_train.evaluating.attention import inside_share
from clp_train.evaluating.gradcam import gradcam
from clp_train.models import build_model
from clp_train.models.parts import Classifier, Output
from clp_train.pictures.types import masks
from tests.clp_train.auditing.made import SIZE, made_audit, make_demo_audit


class Pictures:
    """A shard in memory: random pictures, or what `pictures` has, uint8 (N, 32, 32, 3)."""

    def __init__(self, count, pictures=None):
        rng = np.random.default_rng(0)
        self.pictures = rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8) if pictures is None else pictures
        self.shape = self.pictures.shape

    def image(self, i):
        return self.pictures[i]


def subject_of(network, size=None):
    """A subject that is this network."""

    @torch.no_grad()
    def logits(pictures):
        return network.eval()(resized(pictures.float() / 255, size)).logits

    return Subject("mine", "factory", (("a",), ("b",)), size, None, logits, network)


def resnet(classes):
    """A network without training."""
    return build_model("resnet8", classes, [0.5] * 3, [0.5] * 3, torch.Generator().manual_seed(0)).eval()


@pytest.fixture(scope="module")
def audit_set():
    """14 pictures of 2 classes, boxes of the quarter in the middle."""
    return made_audit(14, 2, 1, 0.5, 0.9, np.random.default_rng(0))[0]


TWO = ClassMap(np.array([0, 1]), np.ones(2, bool))
MANY = ClassMap(np.array([1, 0, -1, 1, 0]), np.ones(2, bool))


@pytest.mark.parametrize("size", [None, 48])
@pytest.mark.parametrize("class_map", [TWO, MANY], ids=["a logit a class", "several"])
def test_attention_is_that_of_single_maps(audit_set, class_map, size):
    network, reader = resnet(len(class_map.index)), Pictures(200)
    subject = subject_of(network, size)
    shares = []
    for i in range(len(audit_set)):
        picture = torch.from_numpy(reader.image(audit_set.rows["original"][i, 0])).permute(2, 0, 1)[None]
        logits = subject.logits(picture)[0]
        own = [k for k, c in enumerate(class_map.index) if c == audit_set.label[i]]
        best = max(own, key=lambda k: logits[k])
        cam = gradcam(network, resized(picture / 255, size), torch.tensor([best]))
        cam = torch.nn.functional.interpolate(cam[:, None], (SIZE, SIZE), mode="bilinear")[:, 0]
        shares.append(inside_share(cam, masks(torch.from_numpy(audit_set.box[i : i + 1]), SIZE, SIZE)).item())
    found = attention_in_boxes(subject, class_map, reader, audit_set)
    assert found["inside"] == pytest.approx(np.nanmean(shares), rel=1e-4)
    assert (found["maps"], found["area"], found["no_map"]) == (14, 0.25, None)


def test_maps_are_of_pictures_whose_box_and_class_are_known(audit_set):
    outcome = audit_set.outcome.copy()
    outcome[[0, 3]] = FALLBACK
    unsure = replace(audit_set, outcome=outcome)
    only_first = ClassMap(np.array([0, -1]), np.array([True, False]))
    found = attention_in_boxes(subject_of(resnet(2)), only_first, Pictures(200), unsure)
    assert found["maps"] == 6  # 7 of class 0, without picture 0
    none = attention_in_boxes(
        subject_of(resnet(2)), TWO, Pictures(200), replace(audit_set, outcome=np.full(14, FALLBACK, np.uint8))
    )
    assert (none["inside"], none["no_map"]) == (None, "no picture has a certain box")


def test_a_program_has_no_maps_and_no_features(audit_set):
    program = replace(subject_of(resnet(2)), kind="onnx", network=None)
    found = attention_in_boxes(program, TWO, Pictures(200), audit_set)
    assert (found["inside"], found["maps"]) == (None, 0)
    assert found["no_map"] == "a model of kind onnx is a program, and its inner maps cannot be read"
    assert fitted_accuracy(program, Pictures(200), audit_set, np.ones(2, bool)) is None


def test_a_network_without_a_last_map_says_so(audit_set):
    found = attention_in_boxes(subject_of(Colours()), TWO, Pictures(200), audit_set)
    assert found["inside"] is None
    assert found["no_map"]


@pytest.mark.parametrize("case", range(8))
def test_pictures_are_spread_over_classes(case):
    rng = np.random.default_rng(case)
    label, chosen, most = rng.integers(4, size=40), rng.random(40) < 0.7, rng.integers(1, 45)
    found = some_of(label, chosen, most)
    queues = [[i for i in range(40) if chosen[i] and label[i] == c] for c in range(4)]
    taken = [[i for i in found.tolist() if label[i] == c] for c in range(4)]
    assert len(found) == min(most, sum(map(len, queues)))
    assert found.tolist() == sorted(found.tolist())
    for queue, own in zip(queues, taken, strict=True):
        assert own == queue[: len(own)], "the first of each class come first"
        assert len(own) == len(queue) or len(own) >= max(map(len, taken)) - 1, "no class gives two before another one"


class Colours(Classifier):
    """Its features are the mean colour."""

    def __init__(self):
        super().__init__()
        self.head, self.tail = torch.nn.Linear(3, 2), ("head",)

    def forward(self, x):
        features = x.mean((2, 3))
        return Output(features, self.head(features))


@pytest.mark.parametrize(("share", "low", "high"), [(1.0, 0.98, 1.0), (0.5, 0.35, 0.65)])
def test_a_fit_to_backgrounds_finds_what_they_say(share, low, high):
    rng = np.random.default_rng(1)
    audit_set, answers = made_audit(120, 2, 1, 0.5, 0.9, rng)
    pictures = rng.integers(0, 60, (len(answers.predicted), 8, 8, 3), dtype=np.uint8)
    rows = audit_set.rows[f"{BACKGROUND}grey"][:, 0]
    tells = np.where(rng.random(120) < share, audit_set.label, 1 - audit_set.label)
    pictures[rows] += (100 * tells).astype(np.uint8)[:, None, None, None]
    found = fitted_accuracy(subject_of(Colours()), Pictures(0, pictures), audit_set, np.ones(2, bool))
    assert low <= found <= high


def test_a_fit_needs_two_classes_of_five_backgrounds(audit_set):
    subject, both = subject_of(Colours()), np.ones(2, bool)
    assert fitted_accuracy(subject, Pictures(200), audit_set, both) is not None
    assert fitted_accuracy(subject, Pictures(200), audit_set, np.array([True, False])) is None
    rows = audit_set.rows[f"{BACKGROUND}grey"].copy()
    rows[2:] = NONE
    few = replace(audit_set, rows={**audit_set.rows, f"{BACKGROUND}grey": rows})
    assert fitted_accuracy(subject, Pictures(200), few, both) is None


def test_an_audit_joins_all_and_asks_for_maps_only_where_it_shall(tmp_path):
    demo_audit = ShardReader(make_demo_audit(tmp_path / "audit.h5", 20))
    whole = audit(demo_audit, subject_of(resnet(2)), TWO, resamples=20)
    less = audit(demo_audit, subject_of(resnet(2)), TWO, resamples=20, maps=False)
    assert whole.attention["maps"] == len(whole.audit_set) == 20
    assert (less.attention["maps"], less.attention["no_map"]) == (0, NOT_ASKED)
    assert (whole.subject_name, whole.subject_kind) == ("mine", "factory")
    assert whole.figures.by_view == less.figures.by_view
    assert 0 <= whole.fitted <= 1
    assert len(whole.answers.predicted) == len(demo_audit)
