"""Many heads on one frozen body, audited on one shard: the features of its pictures are computed once and kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from clp_aug.common.files import written_beside
from clp_aug.contract.shards import ShardReader
from clp_train.auditing.answers import Answers, answers_of
from clp_train.evaluating.outputs import outputs
from clp_train.models.parts import Classifier, Output
from clp_train.predicting.trained import TrainedClassifier

AT_ONCE = 50  # pictures


def features(reader: ShardReader, network: Classifier, rows: np.ndarray, kept: Path) -> Tensor:
    """Return the features of some rows of a shard, int64 (n,): float32 (n, A). kept: file that holds them then."""
    if kept.exists():
        return load_file(kept)["features"]

    def pictures() -> Iterator[Tensor]:
        for part in np.array_split(rows, -(-len(rows) // AT_ONCE)):
            images = np.stack([reader.image(int(row)) for row in part])
            yield torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    found = torch.cat([out.features for out in outputs(network, pictures())])
    with written_beside(kept) as temporary:
        save_file({"features": found.contiguous()}, temporary)
    return found


@torch.no_grad()
def answers_by_head(classifier: TrainedClassifier, of_rows: Tensor, label: np.ndarray) -> Answers:
    """Return what a trained classifier with the frozen body answers for rows with these features, (N, A)."""
    logits = classifier.judge(Output(of_rows, classifier.network.head(of_rows)))
    return answers(classifier.scale * logits, label)


def answers(logits: Tensor, label: np.ndarray) -> Answers:
    """Return logits, (N, C), of the shard's own classes as answers. label: int64 (N,)."""
    return answers_of(logits, torch.arange(logits.shape[1]), label, "head", 0)
