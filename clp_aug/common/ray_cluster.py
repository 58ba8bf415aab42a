"""A Ray cluster to work on: one that runs already, or one on this machine for as long as the work takes.

Ray is an optional package, so nothing here imports it before it is asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clp_aug.contract.errors import ClpError, InputError, SettingError, UsageError

AUTO = "auto"  # the cluster of RAY_ADDRESS, or the one that was started last on this machine
ADDRESS_VARIABLE = "RAY_ADDRESS"
REFUSED = "Unauthenticated"  # how Ray speaks of a missing or wrong token
SECONDS = 5.0  # that a port has to answer
LONGEST = 20.0  # seconds that a cluster has to take a program in, which begins with the import of Ray
QUIET = {"log_to_driver": False, "logging_level": "ERROR"}
TRIAL = """
import sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
except Exception as error:
    print(" ".join(f"{error}: {error.__cause__}".split() if error.__cause__ else str(error).split()))
    sys.exit(1)
"""
"""A program that only connects: Ray waits for minutes where something is wrong, and nothing but its end stops it."""


def require_ray() -> Any:
    """Return the module ray. Raises UsageError where it is not installed."""
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UsageError("engine ray needs Ray: pip install 'causal-logit-perturbation[ray]'") from None


@contextmanager
def connect(address: str | None, cpus: int | None = None) -> Iterator[Any]:
    """Connect to a cluster and yield the module ray; at the end take leave, and stop what was started here.

    address: "host:port" of the cluster's head, "auto" for the one of RAY_ADDRESS or of this machine, None for one that
    is started here and lives as long as the block. cpus: what the started one may use, None for all cores. A connection
    that the caller's own program has is used as it is, and stays.

    Raises UsageError without Ray, SettingError for an address of another form, InputError when nobody answers there or
    the cluster cannot be used, ClpError when none can be started here.
    """
    ray = require_ray()
    if ray.is_initialized():
        yield ray
        return
    if address is not None:
        check_answers(ray, address)
    try:
        with signals_kept():
            if address is None:
                os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
                ray.init(address="local", num_cpus=cpus, include_dashboard=False, **QUIET)
            else:
                ray.init(address=address, **QUIET)
    except (Exception, SystemExit) as error:  # Ray leaves by SystemExit where it has waited for too long
        ray.shutdown()
        said = " ".join(str(error).split())
        if address is not None:
            raise unusable(address, said) from None
        raise ClpError(
            f"no Ray cluster could be started on this machine ({said}); give the address of one that runs"
        ) from None
    try:
        with quietly(ray):
            yield ray
    finally:
        ray.shutdown()


@contextmanager
def quietly(ray: Any) -> Iterator[None]:
    """Keep Ray from printing what it does again, and the logs of a node that died, on our standard output."""
    module = ray._private.worker  # nothing public does it: log_to_driver is of what workers print
    printing = getattr(module, "print_to_stdstream", None)
    module.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        module.print_to_stdstream = printing


def check_answers(ray: Any, address: str) -> None:
    """Check within seconds that a program can work on the cluster at an address.

    Raises SettingError for an address of another form, InputError when no cluster answers or it cannot be used.
    """
    place = find(ray, address)
    host, port = parts_of(place)
    try:
        socket.create_connection((host, port), timeout=SECONDS).close()
    except OSError as error:
        reason = error.strerror or "no answer in time"
        raise InputError(
            f"no Ray cluster answers at {place} ({reason}); give host:port as ray start --head prints it"
        ) from None
    command = [sys.executable, "-c", TRIAL, address]
    try:
        trial = subprocess.run(command, capture_output=True, encoding="locale", errors="replace", timeout=LONGEST)
    except subprocess.TimeoutExpired as error:
        said = (error.stderr or b"").decode(errors="replace") if isinstance(error.stderr, bytes) else error.stderr or ""
        raise unusable(place, said if REFUSED in said else "no answer in the words of Ray") from None
    if trial.returncode:
        raise unusable(place, trial.stdout.strip() + (REFUSED if REFUSED in trial.stderr else ""))


def find(ray: Any, address: str) -> str:
    """Return "host:port" of the cluster that an address means. Raises InputError where "auto" finds none."""
    place = os.environ.get(ADDRESS_VARIABLE, "") or AUTO if address == AUTO else address
    if place != AUTO:
        return place
    try:
        return str(ray._private.services.canonicalize_bootstrap_address_or_die(AUTO))  # nothing public tells it
    except ConnectionError:
        raise InputError(
            f"address {AUTO}: no Ray cluster runs on this machine and {ADDRESS_VARIABLE} is not set; start one with"
            " ray start --head, or give host:port"
        ) from None


def parts_of(address: str) -> tuple[str, int]:
    """Return host and port of "host:port". Raises SettingError for another form."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
        raise SettingError("address", address, f"expected {AUTO}, or host:port of the cluster's head, 10.0.0.1:6379")
    return host.strip("[]"), int(port)


def unusable(place: str, said: str) -> InputError:
    """Return the one line for a cluster that takes no work of this program. said: Ray's reason, in one line."""
    if REFUSED in said:
        return InputError(f"the Ray cluster at {place} asks for a token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN")
    if "ersion mismatch" in said:
        return InputError(f"the Ray cluster at {place} has another version ({said}); install the same here and there")
    return InputError(
        f"the Ray cluster at {place} cannot be used ({said}); give the port of its head, from a machine that is a node"
    )


@contextmanager
def signals_kept() -> Iterator[None]:
    """Give SIGTERM back to who had it: Ray takes it for itself when it starts."""
    if threading.current_thread() is not threading.main_thread():  # no other thread may say what a signal does
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with contextlib.suppress(TypeError):  # a handler that was not set by Python cannot be set again
            signal.signal(signal.SIGTERM, before)
