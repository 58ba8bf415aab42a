"""Learning to reweight (Ren et al. 2018): a picture's weight is the decrease of the meta loss by a step on it alone.

The weights eps_i start at 0, so the virtual step is no step and -dL_meta/deps_i is the learning rate times the product
of the picture's gradient with the meta gradient. Negative weights become 0, and the rest is scaled to a sum of 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from clp_aug.contract.schema import ORIGINAL
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.objective import Terms
from clp_train.methods import NoOptions
from clp_train.methods.parts.checks import require_exact_meta_step

DIFFERENCES = (
    "l2rw: {} differences in float32 give its weights, which are cut at zero, to two or three digits;"
    " hypergradient = forward gives all"
)


class L2rw(Method):
    """learned: eps of this step's pictures, zeros; weight: their weights after the meta step, (n,), mean 1 or all 0.

    If no picture of a batch lowers the meta loss, all its weights are 0. Without a meta step all weights are 1.
    """

    meta_kinds = (ORIGINAL,)

    def __init__(self, interval: int, remark: str = "") -> None:
        self.interval, self.steps, self.remark = interval, 0, remark
        self.learned: Sequence[Tensor] = (torch.zeros(1),)
        self.weight: Tensor | None = None

    def observe(self, view: View) -> None:
        due = self.steps % self.interval == 0  # as the loop counts
        self.steps += 1
        start = torch.zeros_like(view.logits[:, 0])
        self.learned = (start.requires_grad_(),)
        self.weight = None if due else torch.ones_like(start)

    def terms(self, view: View) -> Terms:
        if view.row is None:  # meta pictures have no weights
            return Terms()
        return Terms(weight=self.learned[0] if self.weight is None else self.weight)

    def update(self, gradients: Sequence[Tensor]) -> None:
        useful = (-gradients[0]).clamp(min=0)
        total = useful.sum()
        self.weight = torch.where(total > 0, useful * (len(useful) / total), useful)

    def state_dict(self) -> dict[str, Tensor]:
        return {"steps": torch.tensor(self.steps)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.steps = int(state["steps"])


def build(options: NoOptions, context: Context) -> L2rw:
    """Return the method. Raises SettingError for a lagged meta step: its weights would come too late."""
    require_exact_meta_step(context, "weighs the pictures of the step itself")
    kind = context.meta_step.hypergradient
    remark = DIFFERENCES.format(kind) if kind in ("central", "one-sided") else ""
    return L2rw(context.meta_step.meta_interval, remark)
