"""How the ranks of a run find each other: by the variables that torchrun and other launchers set.

RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT identify the ranks; LOCAL_RANK is the rank's number on its machine.
Without them, or with a world size of 1, a run is a single process.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from clp_aug.contract.errors import EXIT_INPUT, EXIT_INTERRUPTED, ClpError, InputError
from clp_train.ranks import SYNCHRONISED
from clp_train.ranks.team import ALONE, Ranks

NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
PATIENCE = timedelta(hours=24)  # one rank may read pictures for hours while others wait
MEETING = timedelta(seconds=60)
TOLD = "clp/told"
LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Socket closed", "Timed out", "NCCL")
"""Parts of torch's messages in a rank whose partner is gone."""


class RankLost(ClpError):
    """Another rank of the run is gone (exit code 3)."""


def ranks_of(environment: Mapping[str, str], batch_norm: str = SYNCHRONISED) -> Ranks:
    """Return this process's rank from its environment. Raises InputError for variables that do not fit together."""
    if environment.get("WORLD_SIZE", "1") == "1":
        return ALONE
    missing = [name for name in NAMES if not environment.get(name)]
    if missing:
        raise InputError(f"WORLD_SIZE is set, but not {', '.join(missing)}; start the ranks with torchrun")
    numbers = {}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        text = environment.get(name, environment["RANK"])
        if not text.isdigit():
            raise InputError(f"{name} is {text!r}; expected a whole number, as torchrun sets it")
        numbers[name] = int(text)
    rank, size = numbers["RANK"], numbers["WORLD_SIZE"]
    if rank >= size:
        raise InputError(f"RANK is {rank} and WORLD_SIZE {size}; expected ranks from 0 to {size - 1}")
    return Ranks(rank, size, numbers["LOCAL_RANK"], batch_norm)


@contextlib.contextmanager
def joined(ranks: Ranks) -> Iterator[None]:
    """Connect the ranks of a run inside this context; an error of one rank ends all, and one of them reports it.

    Raises InputError if they do not find each other, RankLost if one is gone.
    """
    if ranks.size == 1:
        yield
        return
    meet(ranks)
    try:
        with lost_ranks_told(ranks):
            yield
    except BaseException as error:
        if not is_first_to_tell(ranks):
            raise SystemExit(code_of(error)) from None
        raise
    finally:
        leave()


def meet(ranks: Ranks) -> None:
    """Wait for the other ranks. Raises InputError if they do not come."""
    import torch
    from torch import distributed as dist

    os.environ.setdefault("GLOO_LOG_LEVEL", "ERROR")
    kind = torch.accelerator.current_accelerator(check_available=True)
    own = "" if kind is None else f",{kind.type}:{dist.get_default_backend_for_device(kind.type)}"
    try:
        store, _, _ = next(dist.rendezvous("env://", ranks.rank, ranks.size, timeout=MEETING))
        dist.init_process_group(f"cpu:gloo{own}", store=store, rank=ranks.rank, world_size=ranks.size, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        at = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"rank {ranks.rank} of {ranks.size}: the ranks cannot connect at {at} ({reason}); start all of them, with"
            " the same address and port"
        ) from None


def leave() -> None:
    """Disconnect from the other ranks."""
    from torch import distributed as dist

    with contextlib.suppress(RuntimeError, ValueError):
        if dist.is_initialized():
            dist.destroy_process_group()


@contextlib.contextmanager
def lost_ranks_told(ranks: Ranks) -> Iterator[None]:
    """Turn torch's errors about a lost rank into one line inside this context. Raises RankLost."""
    try:
        yield
    except RuntimeError as error:
        if not any(words in str(error) for words in LOST):
            raise
        raise RankLost(
            f"another rank of {ranks.size} is gone, so rank {ranks.rank} cannot continue; --resume continues from"
            " the last checkpoint"
        ) from None


def is_first_to_tell(ranks: Ranks) -> bool:
    """Return whether no other rank has reported why the run ends."""
    store = store_of_run()
    if store is None:
        return True
    try:
        return bool(store.compare_set(TOLD, "", str(ranks.rank)).decode() == str(ranks.rank))
    except (RuntimeError, ValueError):  # the store has ended with its rank
        return ranks.rank == min(1, ranks.size - 1)


def store_of_run() -> Any:
    """Return the store that all ranks share, None if there is none."""
    from torch import distributed as dist

    if not dist.is_initialized():
        return None
    return dist.distributed_c10d._get_default_store()  # there is no public function for it


def code_of(error: BaseException) -> int:
    """Return the exit code that belongs to an error."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return error.exit_code if isinstance(error, ClpError) else EXIT_INPUT


def here() -> str:
    """Return the name of this machine."""
    return socket.gethostname()
