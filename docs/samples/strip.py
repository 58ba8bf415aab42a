"""Draw the picture at the top of README: the same objects in front of other backgrounds, two models, right and wrong.

    python docs/samples/strip.py AUDIT-SHARD RUN RUN --out docs/images/before-and-after.png [--page PAGE --rows 8]

With --page it also writes the page of the audit, with few single pictures, so that the file is small.

The pictures are chosen by a rule, not by hand: of each class the picture that the background moved most under the
first run, among those that the second run gets right in the original.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from clp_aug.contract.shards import ShardReader
from clp_train.auditing.audit import Audit, audit
from clp_train.auditing.classes import match_classes
from clp_train.auditing.figures import compare
from clp_train.auditing.subject import open_subject
from clp_train.auditing.views import MIX_OTHER, MIX_SAME, ORIGINALS, AuditSet
from clp_train.report.audit_page import write_audit_page

SIDE, GAP, LINE = 132, 10, 24  # pixels: of a picture, between two pictures, of a line of text
LEFT, TOP = 150, 64  # room for the names of the rows and columns
INK, GREY, RIGHT, WRONG = (28, 30, 33), (95, 99, 104), (22, 110, 72), (190, 38, 22)
DRAWS = 2
COLUMNS = (("original", ORIGINALS, 1), ("backgrounds of its own class", MIX_SAME, DRAWS),
           ("backgrounds of the other class", MIX_OTHER, DRAWS))  # fmt: skip


def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which matplotlib brings with it."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


def ask(shard: Path, runs: list[Path]) -> tuple[ShardReader, list[Audit]]:
    """Audit each run on a shard, with Grad-CAM."""
    reader = ShardReader(shard)
    audits = []
    for run in runs:
        subject = open_subject(str(run), classes=None, size=reader.shape[1], device="cpu")
        audits.append(audit(reader, subject, match_classes(subject.class_names, reader.header.class_names)))
    return reader, audits


def shown_rows(views: AuditSet, i: int) -> list[list[int]]:
    """Return for each column the rows of the shard that show picture i."""
    return [views.rows[view][i, :draws].tolist() for _, view, draws in COLUMNS]


def choose(first: Audit, second: Audit) -> list[int]:
    """Return one picture of each class, by the rule at the top of this file."""
    views = first.audit_set
    original = views.rows[ORIGINALS][:, 0]
    fine = (first.answers.predicted[original] == views.label) & (second.answers.predicted[original] == views.label)
    complete = np.array([all(row >= 0 for part in shown_rows(views, i) for row in part) for i in range(len(views))])
    moved = np.where(fine & complete, np.nan_to_num(first.figures.moved, nan=-1), -1)
    return [int(np.argmax(np.where(views.label == c, moved, -1))) for c in range(len(views.class_names))]


def draw(reader: ShardReader, audits: list[Audit], titles: list[str]) -> Image.Image:
    """Draw the strips of the chosen pictures with each model's answers below them."""
    views = audits[0].audit_set
    chosen = choose(*audits)
    width = LEFT + (1 + 2 * DRAWS) * (SIDE + GAP) + 2 * 2 * GAP
    height = TOP + len(chosen) * (SIDE + len(audits) * LINE + 3 * GAP) + (len(audits) + 1) * LINE
    page = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(page)
    top = TOP
    for place, i in enumerate(chosen):
        x, label = LEFT, int(views.label[i])
        pen.text((12, top + SIDE // 2 - 10), views.class_names[label], INK, font(19, bold=True))
        for m, title in enumerate(titles):
            pen.text((12, top + SIDE + 6 + m * LINE), title, GREY, font(14))
        for (heading, *_), rows in zip(COLUMNS, shown_rows(views, i), strict=True):
            if place == 0:
                pen.text((x, TOP - 30), heading, INK, font(15, bold=True))
            for row in rows:
                picture = Image.fromarray(reader.image(row)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
                page.paste(picture, (x, top))
                for m, each in enumerate(audits):
                    answer(pen, (x, top + SIDE + 6 + m * LINE), each, views, row, label)
                x += SIDE + GAP
            x += 2 * GAP
        top += SIDE + len(audits) * LINE + 3 * GAP
    for title, each in zip(titles, audits, strict=True):
        pen.text((12, top + 4), title, GREY, font(14))
        pen.text((LEFT, top + 4), summary(each), INK, font(14))
        top += LINE
    return page


def answer(pen: ImageDraw.ImageDraw, at: tuple[int, int], each: Audit, views: AuditSet, row: int, label: int) -> None:
    """Write what one model says of one row: a tick or a cross, the class, its probability."""
    said, sure = int(each.answers.predicted[row]), float(each.answers.of_predicted[row])
    name = views.class_names[said] if said >= 0 else "other"
    right = said == label
    text = f"{'✓' if right else '✗'} {name} {100 * sure:.0f} %"
    pen.text(at, text, RIGHT if right else WRONG, font(14, bold=not right))


def summary(each: Audit) -> str:
    """Say the gap of one model over all pictures of the audit, with its interval and the verdict."""
    low, high = (f"{100 * value:.0f}" for value in (each.figures.gap.low, each.figures.gap.high))
    gap = f"{100 * each.figures.gap.value:.0f} points ({low} to {high})"
    return f"background gap over {len(each.audit_set)} test pictures: {gap}, verdict: {each.verdict.word}"


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shard", type=Path)
    parser.add_argument("runs", type=Path, nargs=2)
    parser.add_argument("--titles", nargs=2, default=["plain training", "CLP"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--rows", type=int, default=8, help="Single pictures on the page.")
    arguments = parser.parse_args()
    reader, audits = ask(arguments.shard, arguments.runs)
    page = draw(reader, audits, arguments.titles)
    if arguments.page is not None:
        first, second = audits
        both = first.class_map.known & second.class_map.known
        comparison = compare(first.audit_set, first.answers, second.answers, both)
        write_audit_page(arguments.page, audits, reader, comparison, arguments.rows)
    page.quantize(128, dither=Image.Dither.NONE).save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
