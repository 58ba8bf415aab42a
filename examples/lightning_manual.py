"""The meta step in a LightningModule with manual optimisation: the loss comes from `Bilevel`, all else is Lightning's.

python examples/lightning_manual.py
"""

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from clp_train import Bilevel, Omega

CLASSES = 3


def loader_of(count: int, seed: int, batch_size: int) -> DataLoader:
    """Return pictures whose brightness tells their class."""
    draw = torch.Generator().manual_seed(seed)
    label = torch.arange(count) % CLASSES
    x = 0.3 * label[:, None, None, None] + 0.2 * torch.randn(count, 3, 8, 8, generator=draw)
    return DataLoader(TensorDataset(x, label), batch_size, shuffle=True)


class Perturbed(lightning.LightningModule):
    """A classifier that learns from perturbed logits."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.Linear(288, CLASSES)
        )
        self.omega = Omega(torch.full((CLASSES,), 100.0))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser of the classifier; Omega has one of its own."""
        return torch.optim.AdamW(self.network.parameters(), 3e-3)

    def on_fit_start(self) -> None:
        """Tie the meta step to the optimiser, which Lightning has made by now."""
        self.bilevel = Bilevel(self.network, self.optimizers(), self.omega, loader_of(60, 1, 30))

    def training_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Take the meta step, then a plain one."""
        loss, optimiser = self.bilevel.loss(*batch), self.optimizers()
        optimiser.zero_grad()
        self.manual_backward(loss)
        optimiser.step()
        self.log_dict({"loss": loss, "meta_loss": self.bilevel.meta_loss}, prog_bar=True)


def main(epochs: int = 3, precision: str = "32-true") -> float:
    """Train, and return the last meta loss."""
    lightning.seed_everything(0, verbose=False)
    module = Perturbed()
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=epochs, precision=precision, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, loader_of(300, 0, 30))
    return module.bilevel.meta_loss.item()


if __name__ == "__main__":
    print(f"meta loss after training: {main():.3f}")
