"""Export forms of a classifier for other programs, by name, and what each needs. No torch here."""

from __future__ import annotations

from importlib.util import find_spec

from clp_aug.contract.errors import SettingError, UsageError, suggestion

NONE, PT2, ONNX = "none", "pt2", "onnx"
FILES = {PT2: "classifier.pt2", ONNX: "classifier.onnx"}
"""Form -> its file in a run's folder: a program exported by torch, and an ONNX model."""
NEEDS: dict[str, tuple[str, ...]] = {PT2: (), ONNX: ("onnx", "onnxscript", "onnxruntime")}
"""Form -> the modules that writing it needs besides torch."""
HELP = (
    "Also write the classifier as a program: pt2 (of torch, for clp-augment --f fgsm), onnx, or both with a comma;"
    " without a value pt2."
)


def forms_of(text: str) -> tuple[str, ...]:
    """Return the forms in a comma list, each once, in the order of FILES; () for "none"."""
    asked = [part.strip() for part in text.split(",")]
    return tuple(form for form in FILES if form in asked)


def check_forms(text: str) -> None:
    """Raise SettingError for an unknown form, UsageError for a form that needs a missing package."""
    for part in text.split(","):
        if part.strip() not in FILES and text != NONE:
            expected = f"expected {', '.join(FILES)}, some of them with commas, or {NONE}"
            raise SettingError("export", text, f"{suggestion(FILES, part.strip())}{expected}")
    for form in forms_of(text):
        missing = [module for module in NEEDS[form] if find_spec(module) is None]
        if missing:
            extra = f"pip install 'causal-logit-perturbation[{form}]'"
            raise UsageError(f"export = {text}: {form} needs {', '.join(missing)}: {extra}")


def as_recorded(text: str) -> bool | str:
    """Return a comma list of forms as results record it: False for none, True for only pt2, else the text."""
    return {NONE: False, PT2: True}.get(text, text)


def from_recorded(value: object) -> object:
    """Return the comma list for a value from results, presets or programs: True is pt2, False is none."""
    return {True: PT2, False: NONE}[value] if isinstance(value, bool) else value
