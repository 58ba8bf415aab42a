"""What a method may fill in; the loop asks for nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from clp_train.characteristics import View


class Method:
    """The slots of one training step, all empty: plain cross entropy.

    saliency_weight: lambda of eq. (6), 0 for none; learned: what the meta step trains, empty for none.
    """

    saliency_weight: float = 0.0
    learned: Sequence[Tensor] = ()

    def observe(self, view: View) -> None:
        """Take note of a training batch, before `perturb`; called once a step."""

    def perturb(self, view: View) -> Tensor | None:
        """Return delta (n, C) for the pictures of a view, with a graph to `learned`; None adds nothing."""
        return None

    def update(self, gradients: Sequence[Tensor]) -> None:
        """Move `learned` along the hypergradient, one tensor each; called once a step where there is any."""
        raise NotImplementedError(f"{type(self).__name__} has learned tensors and no update")
