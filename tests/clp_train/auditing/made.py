"""Made audit sets and answers, without pictures: what a model of known reliance on backgrounds would answer.

    audit_set, answers = made_audit(120, 3, 2, reliance=0.5, accuracy=0.9, rng=np.random.default_rng(0))

Row numbers go through the views in the order of VIEWS: originals first, then each view picture by picture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from click.testing import CliRunner

from clp_aug.cli import augment
from clp_aug.contract.schema import OK
from clp_train.auditing.answers import Answers
from clp_train.auditing.views import BACKGROUND, MIX_OTHER, MIX_OWN, MIX_SAME, NONE, OBJECT, ORIGINALS, AuditSet

ALONE = (f"{OBJECT}grey", f"{OBJECT}random", f"{BACKGROUND}grey", f"{BACKGROUND}tile", f"{BACKGROUND}cagan")
VIEWS = (ORIGINALS, *ALONE, MIX_OWN, MIX_SAME, MIX_OTHER)
FIRST_DONOR = 10_000  # sample id of the first donor
SIZE = 32  # pixels of the side that boxes are in
SHARP, DULL = 0.9, 0.6  # probability of the class that is predicted, at its most and at its least


def made_audit(
    pictures: int,
    classes: int,
    draws: int,
    reliance: float,
    accuracy: float,
    rng: np.random.Generator,
    groups: bool = False,
    agree: float = 0.9,
    donors: int = 20,
    donor_spread: float = 0.0,
) -> tuple[AuditSet, Answers]:
    """Return an audit set of P = `pictures` and the answers of a model to it.

    An answer follows the background with probability `reliance` (the class is that of the background's kind), and the
    object otherwise (right with probability `accuracy`, else any other class). It is drawn once a picture which of the
    two it is, so all views of a picture share it. Kinds of backgrounds are named like classes: a picture's, and a
    donor's, is that of its own class with probability `agree`, else any other. Without the object a model that would
    follow it guesses; the object alone never shows a background, so there the background is a guess.

    classes >= 2; draws >= 1; donors: how many a class gives backgrounds; donor_spread: standard deviation, in log odds,
    of how much harder each donor's background makes the object to recognise, whichever class it is of: it is shared by
    all pictures before it. groups: whether group = 2 label + (background is of another class's kind) is known, else -1
    throughout and no names. Source: ours.
    """
    label = np.arange(pictures) % classes
    place = kinds_of(label, agree, classes, rng)
    donor_label = np.repeat(np.arange(classes), donors)
    donor_place, donor_harder = (
        kinds_of(donor_label, agree, classes, rng),
        donor_spread * rng.normal(size=len(donor_label)),
    )
    chosen = {
        MIX_SAME: label[:, None] * donors + rng.integers(donors, size=(pictures, draws)),
        MIX_OTHER: other_of(np.repeat(label[:, None], draws, 1), classes, rng) * donors
        + rng.integers(donors, size=(pictures, draws)),
    }
    follows, own_luck = rng.random(pictures) < reliance, rng.random(pictures)
    rows, donor, answered, count = {}, {}, [], 0
    for view in VIEWS:
        shape = (pictures, draws if view in chosen else 1)
        kind = donor_place[chosen[view]] if view in chosen else place[:, None]
        harder = donor_harder[chosen[view]] if view in chosen else np.zeros(shape)
        guess = rng.integers(classes, size=shape)
        right = own_luck[:, None] < lowered(accuracy, harder)
        seen = np.where(right, label[:, None], other_of(np.repeat(label[:, None], shape[1], 1), classes, rng))
        by_object = guess if view.startswith(BACKGROUND) else seen
        by_background = guess if view.startswith(OBJECT) else kind
        answered.append(np.where(follows[:, None], by_background, by_object).ravel())
        rows[view] = count + np.arange(shape[0] * shape[1]).reshape(shape)
        donor[view] = FIRST_DONOR + chosen[view] if view in chosen else np.full(shape, NONE)
        count += shape[0] * shape[1]
    names = tuple(f"class {c}" for c in range(classes))
    group_names = tuple(f"{name}, {how}" for name in names for how in ("agrees", "against")) if groups else ()
    audit_set = AuditSet(
        class_names=names,
        group_names=group_names,
        settings={
            "split": "test", "backgrounds": "train", "draws": draws, "pool": donors, "paste": "matte",
            "remove": "cagan",
        },
        label=label,
        group=2 * label + (place != label) if groups else np.full(pictures, NONE),
        sample_id=np.arange(pictures),
        box=np.tile(np.array([8, 8, 24, 24], np.int32), (pictures, 1)),
        outcome=np.full(pictures, OK, np.uint8),
        rows=rows,
        donor=donor,
    )  # fmt: skip
    return audit_set, answers_of(np.concatenate(answered), audit_set, rng)


def kinds_of(label: np.ndarray, agree: float, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Return the kind of background of each picture: that of its class with probability `agree`, else another."""
    return np.where(rng.random(len(label)) < agree, label, other_of(label, classes, rng))


def other_of(label: np.ndarray, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Return another class for each label, all alike likely."""
    return (label + rng.integers(1, classes, size=label.shape)) % classes


def lowered(accuracy: float, harder: np.ndarray) -> np.ndarray:
    """Return accuracies in [0, 1] whose log odds are lowered by `harder`."""
    odds = accuracy / max(1 - accuracy, 1e-12) * np.exp(-harder)
    return odds / (1 + odds)


def answers_of(predicted: np.ndarray, audit_set: AuditSet, rng: np.random.Generator) -> Answers:
    """Return answers with these predicted classes, int64 (N,), rows of all views; confidences are made to fit them."""
    label = np.empty(len(predicted), np.int64)
    for rows in audit_set.rows.values():
        label[rows[rows >= 0]] = np.repeat(audit_set.label[:, None], rows.shape[1], 1)[rows >= 0]
    sure = rng.uniform(DULL, SHARP, len(predicted)).astype(np.float32)
    rest = (1 - sure) / max(1, len(audit_set.class_names) - 1)
    return Answers(predicted.astype(np.int64), sure, np.where(predicted == label, sure, rest).astype(np.float32))


def make_demo_audit(out: Path, pictures: int, size: int = 16) -> Path:
    """Make an audit shard of the demo set with clp-augment, in about two seconds; return its path."""
    words = (
        f"--audit --dataset demo --size {size} --limit {pictures} --draws 2 --pool 8 --remove tile --quiet --workers 1"
    )
    done = CliRunner().invoke(augment, [*words.split(), "--out", str(out)])
    assert done.exit_code == 0, done.output
    return out
