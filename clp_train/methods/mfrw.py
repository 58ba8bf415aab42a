"""Meta feature re-weighting with a meta equalisation softmax (Ricci et al. 2023): an advisor that training alone hears.

From features and loss of a picture the advisor makes a factor for each feature (their MFRW) and for each class that is
not the picture's own. Of the second part, MES, the published abstract says that it equalises the gradients of classes;
that it scales exp(z_j) of the others, as equalisation softmaxes do, is our reading. The meta loss and predictions are
of the plain network.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clp_aug.contract.errors import UsageError
from clp_aug.contract.schema import ORIGINAL
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.method import Learner, Method
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.table import TrainTable
from clp_train.methods.parts.checks import require_learning_body
from clp_train.models.parts import start_linear

HIDDEN = 100


@dataclass(frozen=True)
class Options:
    """equalise: MES beside MFRW, in our reading."""

    equalise: bool = True


class Advisor(nn.Module):
    """Features (n, A) and losses (n,) -> gate (n, A) in (0, 1) and log omega (n, C) <= 0, of every class.

    A hidden layer of 100 for either input; source: their MFRW. The last layer of log omega is ours.
    """

    def __init__(self, features: int, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.of_features, self.of_loss = nn.Linear(features, HIDDEN), nn.Linear(1, HIDDEN)
        self.gate, self.omega = nn.Linear(2 * HIDDEN, features), nn.Linear(2 * HIDDEN, classes)
        for layer in (self.of_features, self.of_loss, self.gate, self.omega):
            start_linear(layer, generator)

    def forward(self, features: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
        seen = torch.cat([self.of_features(features), self.of_loss(losses[:, None])], 1).relu()
        return self.gate(seen).sigmoid(), nn.functional.logsigmoid(self.omega(seen))


class Mfrw(Learner):
    """L_i = -log e^{z_y} / sum_j omega_ij e^{z_j}, omega_iy = 1, with z = head(gate_i * features_i)."""

    meta_kinds = (ORIGINAL,)

    def __init__(self, options: Options, lr: float, classes: int, generator: torch.Generator) -> None:
        Method.__init__(self)  # the advisor is made once the width of the features is known
        self.options, self.lr, self.classes, self.generator = options, lr, classes, generator

    def enter(self, stage: int, network: nn.Module) -> None:
        if not self.learned:
            self.make_advisor(network.head.in_features)

    def make_advisor(self, features: int) -> None:
        """Make the advisor and its Adam."""
        Learner.__init__(self, Advisor(features, self.classes, self.generator), self.lr)

    def terms(self, view: View) -> Terms:
        if view.row is None:  # meta pictures are seen without the advisor
            return Terms()
        gate, omega = self.network(view.features, cross_entropy(view.logits, view.label))
        return Terms(omega.scatter(1, view.label[:, None], 0.0) if self.options.equalise else None, gate=gate)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.make_advisor(len(state["network.gate.bias"]))
        super().load_state_dict(state)


def build(config: TrainConfig, table: TrainTable, generator: torch.Generator) -> Mfrw:
    """Return the method. Raises UsageError for a head alone, and for a meta step behind the step."""
    require_learning_body(config.method, config.trainable, "acts on features that learn")
    if config.meta_step == "lagged":
        raise UsageError(
            f"--set meta_step=lagged: method {config.method} needs the head as it was; take --set meta_step=exact"
        )
    return Mfrw(make_options(config.method, config.options), config.omega_lr, table.classes, generator)
