"""Connecting to Ray: what was started here is stopped, what was there stays, and nobody waits for long."""

import re
import signal
import socket
import sys

import pytest

from clp_aug.common import ray_cluster
from clp_aug.common.ray_cluster import connect, parts_of, require_ray, unusable
from clp_aug.contract.errors import InputError, SettingError, UsageError


@pytest.fixture
def ray(monkeypatch):
    """The module, in a process that asks for no token and knows no cluster."""
    module = pytest.importorskip("ray", reason="the extra [ray] is not installed")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield module
    module.shutdown()


@pytest.fixture(scope="module")
def head():
    """Return the address of a cluster of one node, which others started."""
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        yield cluster.address
        cluster.shutdown()


def test_one_is_started_where_no_address_is_given_and_stopped_again(ray):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with connect(None, 1) as module:
            assert module is ray
            assert ray.cluster_resources()["CPU"] == 1
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN, "Ray takes it unasked"
        assert not ray.is_initialized()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_one_that_runs_is_used_and_stays(ray, head):
    for _ in range(2):
        with connect(head):
            assert ray.get(ray.remote(lambda: 7).remote()) == 7
        assert not ray.is_initialized()


@pytest.mark.parametrize("address", ["auto", "of the program"])
def test_it_is_found_by_the_variable_or_by_the_callers_own_connection(ray, head, monkeypatch, address):
    if address == "auto":
        monkeypatch.setenv("RAY_ADDRESS", head)
        with connect("auto"):
            assert ray.get_runtime_context().gcs_address == head
        return
    ray.init(head, log_to_driver=False, logging_level="ERROR")
    with connect(None):
        assert ray.get_runtime_context().gcs_address == head
    assert ray.is_initialized(), "who connected takes leave"


def test_another_version_is_one_line(ray, head, monkeypatch):
    monkeypatch.setattr(ray_cluster, "check_answers", lambda *_: None)
    monkeypatch.setattr(ray, "__version__", "0.1")
    with pytest.raises(InputError, match=r"has another version \(Version mismatch: .*0\.1.*\); install") as seen:
        connect(head).__enter__()
    assert "\n" not in str(seen.value)
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("127.0.0.1", "Connection refused"), ("no.such.host.invalid", ".+")],
    ids=["closed port", "unknown host"],
)
def test_where_nobody_listens_it_is_told_at_once(ray, name, reason):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        place = f"{name}:{unused.getsockname()[1]}"
        with pytest.raises(InputError, match=rf"^no Ray cluster answers at {place} \({reason}\); give host:port"):
            connect(place).__enter__()


def test_where_something_else_listens_it_is_told_within_seconds(ray, monkeypatch):
    monkeypatch.setattr(ray_cluster, "LONGEST", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(InputError, match=rf"^the Ray cluster at {place} cannot be used \(no answer in the"):
            connect(place).__enter__()


def test_where_there_is_none_auto_says_so(ray, monkeypatch):
    def nothing(address):
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr("ray._private.services.canonicalize_bootstrap_address_or_die", nothing)
    with pytest.raises(InputError, match=r"^address auto: no Ray cluster runs on this machine and RAY_ADD"):
        connect("auto").__enter__()


@pytest.mark.parametrize("address", ["", "head", "head:", ":1", "head:x", "head:0", "head:65536", "ray://head:10001"])
def test_an_address_of_another_form_is_refused(ray, address):
    with pytest.raises(SettingError, match=re.escape(f"address = {address}: expected auto, or host:port")):
        connect(address).__enter__()


def test_parts_of_an_address():
    assert parts_of("10.0.0.1:6379") == ("10.0.0.1", 6379)
    assert parts_of("[::1]:1") == ("::1", 1)


def test_a_missing_token_is_told_as_such():
    assert str(unusable("a:1", "x Unauthenticated y")) == (
        "the Ray cluster at a:1 asks for a token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
    )


def test_without_ray_the_line_that_installs_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"^engine ray needs Ray: pip install 'causal-logit-perturbation\[ray\]'$"):
        require_ray()
