"""The steps of an epoch: their batches and meta batches, as the method composes them, and their losses."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.step import StepLosses, read_losses
from clp_train.pictures.batching import epoch_rows, step_batch
from clp_train.pictures.store import Store, ahead
from clp_train.pictures.types import Batch, BoxedPictures
from clp_train.ranks.agreement import check_same
from clp_train.running.assembly import Assembly
from clp_train.running.checkpoint import Position
from clp_train.running.part import Part


def epoch_steps(
    part: Part,
    epoch: int,
    assembly: Assembly,
    optimiser: torch.optim.Optimizer,
    at: Position,
    step: Callable[..., StepLosses],
) -> Iterator[bool]:
    """Take the remaining steps of an epoch (from 0), one by one; yield after each whether it is the epoch's last."""
    config, method = assembly.config, assembly.method
    seed, batch_size, progress = config.run.seed, config.batches.batch_size, epoch / config.run.epochs
    part.learner.train()
    batches = method.batches(epoch, batch_size, rng_for(seed, epoch, "method order"))
    if batches is None or part.stage.stream != "train":
        batches = epoch_rows(part.stream, epoch, seed, batch_size, part.stage.sampler)
    if assembly.ranks.size > 1:
        check_same(assembly.ranks, {f"the batches of epoch {epoch + 1}": digest_of(batches)})
    left = batches[len(at.losses) :]
    steps = range(at.step, at.step + len(left))
    due = steps[-at.step % config.meta_step.meta_interval :: config.meta_step.meta_interval]
    metas = meta_batches(part, steps, due if method.learns(progress) else ())
    with contextlib.closing(ahead(part.stream, left)) as arriving, contextlib.closing(metas):
        for rows, pictures, meta in zip(left, arriving, metas, strict=True):
            batch = compose_batch(part.stream, rows, pictures, assembly, at.step)
            at.losses.append(step(part.learner, method, optimiser, batch, meta, assembly.rule, at.step, progress))
            assembly.ranks.even_out(part.learner)
            at.step += 1
            yield len(at.losses) == len(batches)


def meta_batches(part: Part, steps: Sequence[int], due: Sequence[int]) -> Generator[Batch | None, None, None]:
    """Yield the meta batch of each step, made on request with the present learner; None if none is due."""
    if part.meta is None:
        yield from [None] * len(steps)
        return
    with contextlib.closing(part.meta.ahead(due)) as arriving:
        for step in steps:
            yield part.meta.batch(step, next(arriving), part.learner) if step in due else None


def digest_of(batches: Sequence[np.ndarray]) -> str:
    """Return sha256, in hexadecimal, over the rows of an epoch's batches."""
    digest = hashlib.sha256()
    for rows in batches:
        digest.update(np.ascontiguousarray(rows, np.int64).data)
    return digest.hexdigest()


def read_new(losses: list[StepLosses]) -> None:
    """Read the losses of steps that are not read yet, in place. Raises DivergedError for a loss that is not finite."""
    read = next((k for k, one in enumerate(reversed(losses)) if isinstance(one.train, float)), len(losses))
    losses[len(losses) - read :] = read_losses(losses[len(losses) - read :])


def compose_batch(stream: Store, rows: np.ndarray, pictures: BoxedPictures, assembly: Assembly, step: int) -> Batch:
    """Return the batch of a step as the method composes it: with partners from the stream, mixed. pictures: its own."""
    method, seed, transform = assembly.method, assembly.config.run.seed, assembly.config.batches.transform
    batch, rng = step_batch(pictures, rows, step, seed, transform), rng_for(seed, step, "mix")
    partners = method.partners(batch, rng)
    if partners is not None:
        second = step_batch(stream.take(partners), partners, step, seed, transform, "partner")
        batch = replace(batch, second=second)
    return method.mixed(batch, rng)
