"""AUDIT: one model on one audit shard, from its answers to the verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clp_aug.common.progress import Watch, unwatched
from clp_aug.contract.shards import ShardReader
from clp_train.auditing.answers import Answers, ask
from clp_train.auditing.bootstrap import RESAMPLES
from clp_train.auditing.classes import OTHER, ClassMap
from clp_train.auditing.estimates import Estimate
from clp_train.auditing.figures import Comparison, Figures, measure
from clp_train.auditing.looking import NOT_ASKED, attention_in_boxes, fitted_accuracy, without_maps
from clp_train.auditing.subject import Subject
from clp_train.auditing.verdict import Verdict, verdict_of
from clp_train.auditing.views import AuditSet, read_audit_set


@dataclass(frozen=True)
class Audit:
    """How much one model relies on backgrounds, with all answers and figures.

    subject_name: as the user wrote it; subject_kind, remarks: of the Subject; class_map: which of its classes are
    classes of the shard; attention: the result of `looking.attention_in_boxes`; fitted: accuracy of a classifier fitted
    to backgrounds, in [0, 1], None where there is none.
    """

    subject_name: str
    subject_kind: str
    remarks: tuple[str, ...]
    audit_set: AuditSet
    class_map: ClassMap
    answers: Answers
    figures: Figures
    verdict: Verdict
    attention: Mapping[str, Any]
    fitted: float | None


def audit(
    reader: ShardReader,
    subject: Subject,
    class_map: ClassMap,
    *,
    maps: bool = True,
    seed: int = 0,
    resamples: int = RESAMPLES,
    watch: Watch = unwatched,
) -> Audit:
    """Ask a model about all pictures of an audit shard, and return the figures and the verdict.

    maps: whether to compute Grad-CAM maps too; seed: of resamples and folds; watch: shows the progress. Raises
    InputError for a shard that is not an audit set, a damaged picture, or logits that are NaN. Source: ours.
    """
    audit_set = read_audit_set(reader)
    answers = ask(subject, class_map, reader, watch)
    figures = measure(audit_set, answers, class_map.known, seed, resamples)
    looked = attention_in_boxes(subject, class_map, reader, audit_set) if maps else without_maps(NOT_ASKED)
    return Audit(
        subject_name=subject.name,
        subject_kind=subject.kind,
        remarks=(*subject.remarks, *class_map.remarks),
        audit_set=audit_set,
        class_map=class_map,
        answers=answers,
        figures=figures,
        verdict=verdict_of(figures, audit_set),
        attention=looked,
        fitted=fitted_accuracy(subject, reader, audit_set, class_map.known, seed),
    )


def as_json(audit: Audit) -> dict[str, Any]:
    """Return an audit as plain JSON, without the answers to single pictures. Shares are in [0, 1]."""
    audit_set, figures = audit.audit_set, audit.figures
    names, group_names = audit_set.class_names, audit_set.group_names
    by_class = zip(names, figures.by_class.tolist(), figures.gap_by_class, figures.others_by_class, strict=True)
    by_group = zip(group_names, figures.by_group, figures.gap_by_group, strict=True)
    plain = dataclasses.asdict
    return {
        "model": audit.subject_name,
        "kind": audit.subject_kind,
        "remarks": list(audit.remarks),
        "verdict": audit.verdict.word,
        "evidence": list(audit.verdict.evidence),
        "settings": dict(audit_set.settings),
        "pictures": len(audit_set),
        "usable": int(figures.usable.sum()),
        "left_out": dict(figures.left_out),
        "classes_of_model": {"known": int(audit.class_map.known.sum()), "other": other_logits(audit.class_map)},
        "gap": plain(figures.gap),
        "accuracy": {view: plain(each) for view, each in figures.by_view.items()},
        "guessing": {"uniform": figures.guessing, "fitted": audit.fitted},
        "lowest_class_before_others": plain(figures.lowest_before_others),
        "cutting": plain(figures.cutting),
        "flips": plain(figures.flips),
        "flips_anyway": plain(figures.flips_anyway),
        "confidence_shift": plain(figures.confidence_shift),
        "classes": [
            {"name": name, "usable": n, "gap": plain(gap), "before_others": plain(others)}
            for name, n, gap, others in by_class
        ],
        "groups": [{"name": name, "accuracy": plain(right), "gap": plain(gap)} for name, right, gap in by_group],
        "worst_group": None if figures.worst_group is None else group_names[figures.worst_group],
        "attention": dict(audit.attention),
    }


def other_logits(class_map: ClassMap) -> int:
    """Return how many logits of a model belong to no class of the shard."""
    return int((class_map.index == OTHER).sum())


def comparison_as_json(comparison: Comparison) -> dict[str, Any]:
    """Return how two models differ as plain JSON, the second minus the first."""

    def plain(estimate: Estimate, p: float) -> dict[str, Any]:
        return {**dataclasses.asdict(estimate), "p": p}

    return {
        "gap": plain(comparison.gap, comparison.gap_p),
        "original": plain(comparison.original, comparison.original_p),
    }
