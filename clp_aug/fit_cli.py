"""clp-fit: parse, build the settings, fit, print. Heavy imports wait until it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from clp_aug import __version__
from clp_aug.common.command import Tools
from clp_aug.common.options import CONTEXT, options_of
from clp_aug.common.terminal import one_line_errors, progress_bars, say
from clp_aug.fitting.config import Fit, InpainterFit, MatteFit


@click.group(cls=Tools, context_settings=CONTEXT)
@click.version_option(__version__)
def fit() -> None:
    """Train the networks that come with this package on your own pictures."""


@contextmanager
def fit_bar(quiet: bool, steps: int) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """Show one bar for a fit; its value is called with the steps done and the losses by name."""
    with progress_bars(quiet) as bar:
        task = bar.add_task("FIT", total=steps)

        def on_step(done: int, losses: dict[str, float]) -> None:
            text = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
            bar.update(task, completed=done, description=f"FIT {text}")

        yield on_step


@fit.command("matte", context_settings=CONTEXT)
@options_of(MatteFit)
@click.option("--resume", is_flag=True, help="Continue a killed fit, bit by bit.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@one_line_errors("go on from the last checkpoint with --resume")
def fit_matte(resume: bool, quiet: bool, **settings: Any) -> None:
    """Fit the matting network on cut-outs and pictures with masks."""
    from clp_aug.fitting.matte import fit as fit_network
    from clp_aug.fitting.sources import read_sources

    run_fit(MatteFit(**settings), read_sources, fit_network, resume, quiet)


@fit.command("inpainter", context_settings=CONTEXT)
@options_of(InpainterFit)
@click.option("--resume", is_flag=True, help="Continue a killed fit, bit by bit.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@one_line_errors("go on from the last checkpoint with --resume")
def fit_inpainter(resume: bool, quiet: bool, **settings: Any) -> None:
    """Fit the inpainting network on any pictures; holes are made on the fly."""
    from clp_aug.fitting.inpainter import fit as fit_network
    from clp_aug.fitting.pictures import read_pictures

    run_fit(InpainterFit(**settings), read_pictures, fit_network, resume, quiet)


def run_fit(
    config: Fit, read: Callable[[Path], Any], fit_network: Callable[..., Any], resume: bool, quiet: bool
) -> None:
    """Read the pictures of a fit, fit the network with a progress bar, and say where its weights and its curve are."""
    from clp_aug.common.memory import keep_freed_memory
    from clp_aug.fitting.loop import device_for, prepared, remark_on
    from clp_aug.nets.devices import CPU, describe

    keep_freed_memory()
    device = device_for(config)
    with prepared(config, resume):  # what would refuse the fit does so before pictures are read, which may take minutes
        remark = remark_on(config, device.type) if resume else ""
    if device.type != CPU:
        say(f"on {device} ({describe(device)}), {config.precision}", err=True)
    if remark:
        say(remark, err=True)
    with fit_bar(quiet, config.steps) as on_step:
        fit_network(config, read(config.data), on_step, resume)
    say(f"{config.out}; its curve on held-out pictures is {config.out.with_suffix('.jsonl')}")
