"""--engine and what belongs to it: what has no effect is refused, before anything is run."""

import contextlib
import re
import sys

import pytest
from click.testing import CliRunner

from clp_aug.contract.errors import UsageError
from clp_train.bench import on_ray
from clp_train.bench.cli import bench
from clp_train.bench.engines import Engine, given
from tests.clp_train.bench.test_bench_cli import TINY, command


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"name": "rya"}, "unknown engine 'rya': choose one of local, ray, slurm-array"),
        (
            {"name": "slurm-aray"},
            "unknown engine 'slurm-aray': did you mean slurm-array? choose one of local",
        ),
        ({"address": "auto"}, "--address auto: it has no effect with engine local; give --engine ray"),
        (
            {"name": "slurm-array", "gpus": 0.5},
            "--gpus 0.5: it has no effect with engine slurm-array; give --engine ray",
        ),
        (
            {"name": "ray", "script": "x.sh"},
            "--script x.sh: it has no effect with engine ray; give --engine slurm-array",
        ),
        ({"name": "ray", "gpus": 0.0}, "--gpus 0: expected a job's share of a GPU, in (0, 1]"),
        ({"name": "ray", "gpus": 1.5}, "--gpus 1.5: expected a job's share of a GPU, in (0, 1]"),
        ({"name": "ray", "gpus": float("nan")}, "--gpus nan: expected a job's share of a GPU, in (0, 1]"),
        (
            {"name": "ray", "device": "cuda:1"},
            "--device cuda:1: on a cluster Ray assigns the GPUs",
        ),
        (
            {"name": "ray", "gpus": 1.0, "device": "cpu"},
            "--gpus 1: runs on the CPU need no GPU; leave out",
        ),
    ],
)
def test_what_has_no_effect_is_refused(settings, line):
    with pytest.raises(UsageError, match=rf"^{re.escape(line)}"):
        Engine(**settings)


@pytest.mark.parametrize(
    "settings",
    [{}, {"name": "ray"}, {"name": "ray", "gpus": 0.5, "device": "auto"}, {"name": "slurm-array", "script": "x"}],
)
def test_what_has_an_effect_is_taken(settings):
    assert Engine(**settings).threads == 1


@pytest.mark.parametrize(
    ("gpus", "device", "told"), [(None, None, "cpu"), (None, "auto", "cpu"), (0.5, None, None), (0.5, "auto", "auto")]
)
def test_a_job_without_a_gpu_computes_on_the_cpu(monkeypatch, tmp_path, gpus, device, told):
    """Where others share its node, its first GPU is not a job's to take."""
    monkeypatch.setattr(on_ray, "cluster", lambda *words: contextlib.nullcontext(words))
    with Engine("ray", "a:1", gpus, workers=3, threads=2, device=device).place(tmp_path) as words:
        assert words == ("a:1", 3, 2, gpus or 0.0, told, tmp_path)


def test_options_that_are_given():
    assert given(scale="cpu", methods="", device=None, threads=1) == ["--scale", "cpu", "--threads", "1"]


def refused(tmp_path, *more):
    (tmp_path / "tiny.toml").write_text(TINY)
    run = CliRunner().invoke(bench, [*command(tmp_path)[1:], *more])
    assert run.stderr.count("\n") == 1
    assert not (tmp_path / "w" / "runs").exists()
    return run.exit_code, run.stderr


def test_without_ray_the_line_that_installs_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    line = "error: engine ray needs Ray: pip install 'causal-logit-perturbation[ray]'\n"
    assert refused(tmp_path, "--engine", "ray") == (2, line)


def test_an_address_nobody_answers_or_of_another_form_is_one_line(tmp_path):
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    code, line = refused(tmp_path, "--engine", "ray", "--address", "127.0.0.1:1")
    assert (code, line.startswith("error: no Ray cluster answers at 127.0.0.1:1 (Connection refused); give host:")) == (
        3,
        True,
    )
    line = "error: --address head: expected auto, or host:port of the cluster's head, 10.0.0.1:6379\n"
    assert refused(tmp_path, "--engine", "ray", "--address", "head") == (2, line)


def test_arrays_cannot_extend(tmp_path):
    line = "error: --extend: the arrays make the shards that it needs; give it when they have, with --engine local\n"
    assert refused(tmp_path, "--engine", "slurm-array", "--extend") == (2, line)


def test_a_script_that_cannot_be_written_is_one_line(tmp_path):
    place = tmp_path / "no" / "folder.sh"
    code, line = refused(tmp_path, "--engine", "slurm-array", "--script", str(place))
    assert (code, line.startswith(f"error: cannot write {place} (No such file or directory); ")) == (3, True)


@pytest.mark.parametrize("engine", ["ray", "slurm-array"])
def test_a_dry_run_starts_nothing(tmp_path, monkeypatch, engine):
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "tiny.toml").write_text(TINY)
    run = CliRunner().invoke(bench, [*command(tmp_path)[1:], "--dry-run", "--engine", engine])
    assert (run.exit_code, run.output.splitlines()[-1]) == (0, "0 of 3 done")
