"""Meta feature re-weighting with a meta equalisation softmax (Ricci et al. 2023): an advisor used only in training.

From features and loss of a picture the advisor computes a factor for each feature (their MFRW) and for each class other
than the picture's own. About the second part, MES, the published abstract only says that it equalises the gradients of
classes. We read this as factors of exp(z_j) of the other classes, as in equalisation softmaxes. The meta loss and the
predictions use the plain network.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clp_aug.common.settings import setting
from clp_aug.contract.schema import ORIGINAL
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.method import Context, Learner, Method
from clp_train.algorithm.objective import Terms
from clp_train.methods.parts.checks import require_exact_meta_step, require_learning_body
from clp_train.methods.parts.omega import OmegaRate
from clp_train.models.parts import Classifier, start_linear

HIDDEN = 100


@dataclass(frozen=True)
class Options(OmegaRate):
    """The settings of meta feature re-weighting. Source: Ricci et al. 2023."""

    equalise: bool = setting(True, "Use MES together with MFRW.", source="our reading of MES")


class Advisor(nn.Module):
    """Features (n, A) and losses (n,) -> gate (n, A) in (0, 1) and log omega (n, C) <= 0, of every class.

    Each input has a hidden layer of 100; source: their MFRW. The last layer of log omega is ours.
    """

    def __init__(self, features: int, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.of_features, self.of_loss = nn.Linear(features, HIDDEN), nn.Linear(1, HIDDEN)
        self.gate, self.omega = nn.Linear(2 * HIDDEN, features), nn.Linear(2 * HIDDEN, classes)
        for layer in (self.of_features, self.of_loss, self.gate, self.omega):
            start_linear(layer, generator)

    def forward(self, features: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.cat([self.of_features(features), self.of_loss(losses[:, None])], 1).relu()
        return self.gate(hidden).sigmoid(), nn.functional.logsigmoid(self.omega(hidden))


class Mfrw(Learner):
    """L_i = -log e^{z_y} / sum_j omega_ij e^{z_j}, omega_iy = 1, with z = head(gate_i * features_i)."""

    meta_kinds = (ORIGINAL,)

    def __init__(self, options: Options, classes: int, generator: torch.Generator) -> None:
        Method.__init__(self)  # the advisor is made once the width of the features is known
        self.options, self.classes, self.generator = options, classes, generator

    def enter(self, stage: int, network: Classifier) -> None:
        if not self.learned:
            self.make_advisor(network.head.in_features)
        super().enter(stage, network)

    def make_advisor(self, features: int) -> None:
        """Make the advisor and its Adam."""
        Learner.__init__(self, Advisor(features, self.classes, self.generator), self.options.omega_lr)

    def terms(self, view: View) -> Terms:
        if view.row is None:  # the advisor does not act on meta pictures
            return Terms()
        gate, omega = self.network(view.features, cross_entropy(view.logits, view.label))
        return Terms(omega.scatter(1, view.label[:, None], 0.0) if self.options.equalise else None, gate=gate)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.make_advisor(len(state["network.gate.bias"]))
        super().load_state_dict(state)


def build(options: Options, context: Context) -> Mfrw:
    """Return the method. Raises SettingError for a run of only the last layer, and for a lagged meta step."""
    require_learning_body(context, "acts on features that learn")
    require_exact_meta_step(context, "needs the head as it was")
    return Mfrw(options, context.table.classes, context.generator)
