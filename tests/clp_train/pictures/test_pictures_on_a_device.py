"""Pictures on a second device: equal to the CPU to the last bit, and no step waits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MOST = {"rows": {"copy to the host"}, "kinds": {"nonzero", "item", "equal"}}
"""What waits, by the first word of a case: it is done once a stage, or an epoch, and never in a step."""


@pytest.fixture(scope="module")
def found():
    if not (ROOT / "tests" / "shadow" / "second_device.py").is_file():
        pytest.skip("there is no second device in tests/shadow")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.clp_train.pictures.on_second_device"]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_all_cases_are_the_same_bits_on_the_device(found):
    assert len(found) >= 90
    assert [name for name, case in found.items() if not case["same"]] == []
    assert [name for name, case in found.items() if not case["moved"]] == []


def test_no_step_waits_for_the_device(found):
    for name, case in found.items():
        assert set(case["waits"]) <= MOST.get(name.split(",")[0], set()), name
