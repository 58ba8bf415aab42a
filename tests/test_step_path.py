"""What no step may do: wait for its device, or make a tensor where it does not say. Found in the source, by its form.

A name in the source has no type, so what looks like a wait and is none, of an array for instance, is named in ALLOWED
with its reason, and so is the code beside the steps that stands in the same files.
"""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "clp_train"
FILES = sorted(
    path
    for pattern in ("algorithm/*.py", "methods/**/*.py", "pictures/**/*.py", "models/*.py", "running/epoch_steps.py",
                    "running/loop.py", "running/meta_batches.py", "running/part.py", "evaluating/gradcam.py")
    for path in ROOT.glob(pattern)
)  # fmt: skip
WAITING = {
    "item",
    "tolist",
    "nonzero",
    "cpu",
    "numpy",
    "unique",
    "bincount",
    "masked_select",
    "argwhere",
    "synchronize",
}
TRUTHS = {"any", "all", "isinf", "isnan", "isfinite", "equal", "allclose"}
"""Of tensors: in a condition the host has to know them."""
REDUCTIONS = TRUTHS | {"min", "max", "sum", "mean", "norm", "amin", "amax", "argmax"}
NUMBERS = {"bool", "int", "float"}
MADE = {"arange", "zeros", "ones", "full", "tensor", "eye", "empty", "linspace", "rand", "randn", "randint", "randperm"}
BESIDE = {
    "__init__", "build", "enter", "begin_stage", "begin_epoch", "additions", "pictures", "batches", "numbers",
    "state_dict", "load_state_dict",
}  # fmt: skip
"""What is called before the first step, or once a stage, an epoch or a state on disk: see `algorithm/method.py`."""
NOT_STEPS = {
    "algorithm/table.py": "the table of training pictures, on the CPU, before the first step",
    "methods/listing.py": "what --list-methods prints",
    "models/from_torchvision.py": "makes networks",
    "models/efficientnet.py": "makes networks",
    "pictures/samplers.py": "orders of an epoch, arrays",
    "pictures/transforms/rand_augment.py": "the form of the CPU; what it draws are arrays",
}
ARRAY = "of an array, or of a tensor that stays on the CPU"
ON_THE_CPU = "the form of the CPU alone, where a look costs nothing"
BEFORE = "once a run, a stage or an epoch"
LATER = "when the loop asks for losses, every so many steps"
SENT = "drawn on the CPU and sent"
ALLOWED = {
    "algorithm/optimiser.py:expected_state": (BEFORE, "torch.zeros"),
    "algorithm/losses.py:FiniteLosses.settle": (LATER, "condition, mask, mask, tolist"),
    "algorithm/losses.py:ExistingLoss.settle": (LATER, "condition"),
    "algorithm/losses.py:settle": (LATER, "condition"),
    "algorithm/step.py:read_losses": (LATER, "tolist"),
    "algorithm/second_order.py:is_too_small": (ON_THE_CPU, "bool"),
    "methods/ace.py:AceLite.certain": (BEFORE, "numpy"),
    "methods/afr.py:reweighted": (BEFORE, "bincount"),
    "methods/dac.py:DecomposeAndCompose.mixed": (ARRAY, "nonzero, numpy"),
    "methods/dac.py:draw_partners": (ARRAY, "unique"),
    "methods/dac.py:weights_of": (SENT, "torch.full, torch.full"),
    "methods/dfr.py:Sample.balanced": (BEFORE, "unique"),
    "methods/dfr.py:Sample.halves": (BEFORE, "unique"),
    "methods/dfr.py:sample_of": (BEFORE, "numpy, numpy, numpy"),
    "methods/dfr.py:worst_group": (BEFORE, "float, mask, unique"),
    "methods/mixup.py:Mixup.mixed": (SENT, "torch.full"),
    "methods/parts/attributions.py:quantiles": (SENT, "torch.tensor"),
    "methods/parts/clusters.py:best_clusters": (BEFORE, "unique"),
    "methods/parts/clusters.py:silhouette": (BEFORE, "unique"),
    "methods/parts/contrast.py:ContrastSets.firsts_in_turn": (ARRAY, "mask, unique"),
    "methods/self_last_layer.py:drawn_by_class": (BEFORE, "unique"),
    "methods/self_last_layer.py:most_disputed": (BEFORE, "mask, nonzero, torch.zeros, unique"),
    "methods/spare.py:Spare.weights_of": (BEFORE, "bincount, nonzero, numpy, tolist, torch.ones, unique"),
    "methods/csa.py:Csa.keep": (ON_THE_CPU, "nonzero"),
    "methods/dmi.py:covering_batches": (ARRAY, "mask, unique"),
    "methods/ifl.py:environment_weights": (BEFORE, "nonzero, torch.tensor"),
    "methods/lpl.py:moves_of": (BEFORE, "torch.arange, int"),
    "methods/mentornet.py:DataDriven.fit": (BEFORE, "cpu"),
    "methods/parts/contexts.py:added": (ON_THE_CPU, "nonzero"),
    "methods/parts/contrast.py:exclude": (ARRAY, "mask"),
    "methods/parts/divided.py:Parts.rows": (ON_THE_CPU, "mask"),
    "methods/parts/divided.py:Parts.variance_over": (ON_THE_CPU, "mask"),
    "methods/parts/divided.py:parts_of": (ON_THE_CPU, "unique"),
    "methods/parts/graded.py:pairs_of": (BEFORE, "nonzero, nonzero"),
    "methods/parts/moments.py:Moments.spread_over_present": (ON_THE_CPU, "tolist, tolist"),
    "methods/parts/moments.py:class_means": (BEFORE, "bincount"),
    "methods/parts/noisy_losses.py:estimate_transition": (BEFORE, "bincount"),
    "methods/selective_mixing.py:DomainMix.cells": (ARRAY, "numpy"),
    "methods/selective_mixing.py:DomainMix.draw_partners": (ARRAY, "numpy"),
    "models/parts.py:start_linear": (BEFORE, "torch.empty"),
    "models/wrapped.py:FoundClassifier.check_end": (BEFORE, "condition"),
    "models/wrapped.py:is_linear": (BEFORE, "torch.linspace"),
    "pictures/batching.py:epoch_rows": (BEFORE, "cpu, cpu, numpy, numpy"),
    "pictures/moving.py:can_pin": (BEFORE, "torch.empty"),
    "pictures/sending.py:pinned": (SENT, "torch.empty"),
    "pictures/transforms/joint.py:centres": (SENT, "torch.arange"),
    "pictures/transforms/joint.py:pad_crop_flip": (SENT, "torch.arange, torch.arange"),
    "pictures/transforms/rand_augment_tensors.py:cutout": (ARRAY, "tolist"),
    "pictures/transforms/rand_augment_tensors.py:operated": (ARRAY, "unique"),
    "pictures/transforms/rand_augment_tensors.py:posterize": (ARRAY, "tolist"),
    "pictures/transforms/rand_augment_tensors.py:rotate": (ARRAY, "tolist"),
    "pictures/transforms/rand_augment_tensors.py:shear": (ARRAY, "tolist"),
    "pictures/transforms/rand_augment_tensors.py:solarize": (ARRAY, "tolist"),
    "pictures/types.py:kind_counts": (BEFORE, "bincount, tolist"),
    "pictures/types.py:rows_of_kinds": (BEFORE, "nonzero"),
    "pictures/types.py:slice_of": (BEFORE, "condition, item, item"),
    "running/meta_batches.py:MetaStream.batch": (ARRAY, "numpy"),
    "running/meta_batches.py:online_factuals": (ARRAY, "condition, nonzero, torch.ones"),
}
"""File and function -> why it may, and every site of it."""


class Finder(ast.NodeVisitor):
    """Goes through a module. found: what looks like a wait or a tensor without a place, by the function's dotted name.

    beside: names of functions that are not looked into.
    """

    def __init__(self, text, beside=frozenset()):
        self.names, self.beside, self.found = [], beside, defaultdict(list)
        self.visit(ast.parse(text))

    def note(self, what):
        if not self.beside & set(self.names):
            self.found[".".join(self.names)].append(what)

    def within(self, node):
        self.names.append(node.name)
        self.generic_visit(node)
        self.names.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = within

    def visit_Call(self, node):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = {keyword.arg for keyword in node.keywords}
        if isinstance(node.func, ast.Attribute) and name in WAITING:
            self.note(name)
        if isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "torch":
            if name in MADE and not given & {"device", "generator", "out"}:
                self.note(f"torch.{name}")
            if name == "where" and len(node.args) == 1:
                self.note("mask")
        if name in NUMBERS and isinstance(node.func, ast.Name) and any(map(reduces, ast.walk(node))):
            self.note(name)
        self.generic_visit(node)

    def visit_Subscript(self, node):
        if isinstance(node.ctx, ast.Load) and is_mask(node.slice):
            self.note("mask")
        self.generic_visit(node)

    def condition(self, node):
        if any(is_truth(part) for part in parts_of(node.test)):
            self.note("condition")
        self.generic_visit(node)

    visit_If = visit_While = visit_IfExp = visit_Assert = condition


def reduces(node):
    """Tell whether an expression is a method's call that makes a scalar of a tensor."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in REDUCTIONS


def is_truth(node):
    """Tell whether a condition, or a side of a comparison, is a result of a tensor."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in TRUTHS


def parts_of(test):
    """Yield what a condition is made of."""
    if isinstance(test, ast.BoolOp):
        for value in test.values:
            yield from parts_of(value)
    elif isinstance(test, ast.UnaryOp):
        yield from parts_of(test.operand)
    else:
        yield test


def is_mask(index):
    """Tell whether an index is written as a condition."""
    if isinstance(index, ast.UnaryOp):
        return isinstance(index.op, ast.Invert)
    if isinstance(index, ast.BinOp):
        return isinstance(index.op, (ast.BitAnd, ast.BitOr)) and (is_mask(index.left) or is_mask(index.right))
    return isinstance(index, ast.Compare)


def sites():
    """Return every site of the step's path, as ALLOWED has them."""
    names = {path: path.relative_to(ROOT).as_posix() for path in FILES}
    return {
        f"{name}:{function}": sorted(what)
        for path, name in names.items()
        if name not in NOT_STEPS
        for function, what in Finder(
            path.read_text(), BESIDE if name.startswith(("methods/", "models/")) else frozenset()
        ).found.items()
    }


def test_no_step_waits_or_makes_a_tensor_anywhere_but_on_its_device():
    found, allowed = sites(), {where: sorted(what.split(", ")) for where, (_, what) in ALLOWED.items()}
    assert {where: what for where, what in found.items() if what != allowed.get(where)} == {}
    assert allowed.keys() - found.keys() == set(), "what is allowed is no longer there; take it off the list"


def test_the_files_are_there():
    assert len(FILES) > 60
    assert {path.relative_to(ROOT).as_posix() for path in FILES} >= NOT_STEPS.keys()


CAUGHT = {
    "x.item()": "item", "x.tolist()": "tolist", "x.nonzero()": "nonzero", "x.cpu()": "cpu", "x.numpy()": "numpy",
    "x[y > 0]": "mask", "x[~y]": "mask", "x[(y > 0) & ~z]": "mask", "torch.where(x > 0)": "mask",
    "x.unique()": "unique", "torch.bincount(x)": "bincount", "float(x.sum())": "float", "bool((x > 0).any())": "bool",
    "1 if x.isinf() else 2": "condition", "1 if y and not x.any() else 2": "condition", "int(2 * x.max()) + 1": "int",
    "torch.arange(3)": "torch.arange", "torch.zeros(2, 3)": "torch.zeros", "torch.full((2,), 1.0)": "torch.full",
    "torch.tensor(1.0)": "torch.tensor", "torch.eye(3, dtype=x.dtype)": "torch.eye",
}  # fmt: skip
PASSED = (
    "torch.arange(3, device=x.device)", "torch.rand(3, generator=g)", "x.new_zeros(3)", "torch.zeros_like(x)",
    "x[rows]", "x[:, None]", "torch.where(x > 0, x, 0)", "int(rng.integers(3))", "1 if y is None else 2", "x.any()",
)  # fmt: skip


@pytest.mark.parametrize("line", CAUGHT)
def test_caught(line):
    assert Finder(f"def f(x, y, z):\n    return {line}").found == {"f": [CAUGHT[line]]}


@pytest.mark.parametrize("line", PASSED)
def test_passed(line):
    assert not Finder(f"def f(x, y, g):\n    return {line}").found


def test_a_condition_of_a_statement_and_a_mask_that_is_set():
    assert Finder("def f(x):\n    if x.isinf():\n        x[x > 0] = 1").found == {"f": ["condition"]}
    assert not Finder("class A:\n    def build(self):\n        x.item()", {"build"}).found
