"""EfficientNet-Lite0 as a classifier: its own preprocessing, ImageNet weights, a new head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clp_aug.nets.efficientnet_lite import EfficientNetLite0, imagenet_file, imagenet_weights
from clp_train.models.parts import Classifier, Output, start_linear


class EfficientNetClassifier(EfficientNetLite0, Classifier):
    """EfficientNet-Lite0: float (N, 3, H, W) in [0, 1] -> Output, features (N, 1280)."""

    tail = ("blocks.15.", "top.", "top_bn.", "head.")

    def forward(self, x: Tensor) -> Output:  # type: ignore[override]  # the bare network gives logits only
        features = self.features(x)
        return Output(features, self.head(features))


def check(pretrained: bool) -> None:
    """Raise UsageError when the package with the weights is not installed."""
    imagenet_file()


def build(
    pretrained: bool, classes: int, mean: Sequence[float], std: Sequence[float], generator: torch.Generator
) -> EfficientNetClassifier:
    """Return the network with a new head; weights that are not pretrained are drawn only from `generator`.

    mean, std: not used; the network has its own.
    """
    network = EfficientNetClassifier(classes)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", generator=generator)
    start_linear(network.head, generator)
    if pretrained:
        head = {name: value for name, value in network.state_dict().items() if name.startswith("head.")}
        network.load_state_dict(imagenet_weights() | head)
    return network
