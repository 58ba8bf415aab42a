"""Curves over the epochs as numbers that an SVG template can draw: axes, ticks, points."""

from __future__ import annotations

from typing import Any

from clp_train.evaluating.raised_losses import RIGHT_UP, WRONG_UP

WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 34  # margins
WIDEST = 1e300  # of an axis: matplotlib overflows beyond it
PANELS = (
    ("Loss", (("train", "train_loss"), ("meta", "meta_loss")), False),
    ("Saliency, eq. (6) times lambda", (("training pictures", "saliency_loss"),), False),
    ("Accuracy on val", (("average", "val_average"), ("worst", "val_worst")), True),
    ("Losses raised by the perturbation", (("right labels", RIGHT_UP), ("wrong labels", WRONG_UP)), True),
    ("Share of the background in delta", (("share", "background_share"),), False),
)
"""Title, series as (name, key of a history line), and whether values are shares in [0, 1]."""


def panels(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels with numbers in the history, in pixels of a WIDTH x HEIGHT drawing.

    result: what `runs.result_of` returns. Each panel has its series with points (x, y, text), the two axes' ticks as
    (position, text), and the position of the selected epoch or None.
    """
    history, selected = result["history"], result["selected"]
    plots = []
    for title, series, share in PANELS:
        curves = {}
        for name, key in series:
            values = [(line["epoch"], line[key]) for line in history if line.get(key) is not None]
            if values:
                curves[name] = values
        if curves:
            plots.append(panel(title, curves, share, len(history), selected and selected["epoch"]))
    return plots


def panel(
    title: str, series: dict[str, list[tuple[int, float]]], share: bool, epochs: int, selected: int | None
) -> dict[str, Any]:
    """Lay out one panel. series: name -> [(epoch, value)]; the axis of values includes 0, and ends at 1 for shares."""
    numbers = [value for values in series.values() for _, value in values]
    levels = [0, 0.25, 0.5, 0.75, 1] if share else ticks(min(numbers), max(numbers))

    def text(value: float) -> str:
        return f"{100 * value:.1f} %" if share else f"{value:.4g}"

    def x(epoch: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * ((epoch - 1) / (epochs - 1) if epochs > 1 else 0.5), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - levels[0]) / (levels[-1] - levels[0]), 1)

    return {
        "title": title,
        "series": [
            {
                "name": name,
                "last": text(values[-1][1]),
                "points": [(x(e), y(v), f"{name}, epoch {e}: {text(v)}") for e, v in values],
            }
            for name, values in series.items()
        ],
        "levels": [(y(v), f"{100 * v:g} %" if share else f"{v:g}") for v in levels],
        "epochs": [(x(e), f"{e:g}") for e in epoch_ticks(epochs)],
        "selected": selected and x(selected),
        "frame": {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP,
                  "bottom": HEIGHT - BOTTOM},
    }  # fmt: skip


def ticks(lowest: float, highest: float) -> list[float]:
    """Return round values, 0 among them, from the last not above `lowest` to the first not below `highest`.

    Raises ValueError for values that are not numbers, or further apart than WIDEST.
    """
    from matplotlib.ticker import MaxNLocator

    low, high = min(lowest, 0), max(highest, 0)
    if not high - low <= WIDEST:
        raise ValueError(f"no axis goes from {low:g} to {high:g}")
    values = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high if low < high else 1)
    return [float(value) for value in values]


def epoch_ticks(epochs: int) -> list[int]:
    """Return round epochs in [1, epochs] and the first, none of them closer to it than half a step."""
    from matplotlib.ticker import MaxNLocator

    epochs_at = [int(value) for value in MaxNLocator(5, integer=True).tick_values(1, epochs)]
    return [1, *(e for e in epochs_at if 1 + (epochs_at[1] - epochs_at[0]) / 2 < e <= epochs)]
