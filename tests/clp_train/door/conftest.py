"""What tests of the door share."""

import pytest

from clp_train import cli


@pytest.fixture
def told(monkeypatch):
    """Return the configurations that clp-train was about to run."""
    configs = []

    def note(config, quiet, resume, ranks):
        configs.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", note)
    return configs
