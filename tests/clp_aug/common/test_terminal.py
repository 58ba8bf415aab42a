"""What a user can mend ends as one line and an honest exit code; all else is an error of ours and shows itself."""

import errno

import click
import pytest
from click.testing import CliRunner

from clp_aug.common.terminal import one_line_errors
from clp_aug.contract.errors import InputError, SettingError, TooManyFallbacks, UsageError


def outcome_of(error, **settings):
    @click.command()
    @one_line_errors("what is done is kept", **settings)
    def command():
        raise error

    return CliRunner().invoke(command)


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (UsageError("a\n b"), "a b", 2),
        (SettingError("img_max", 3, "expected more", {"pad": 1}), "--img-max 3: expected more; take --pad 1", 2),
        (InputError("no file"), "no file", 3),
        (TooManyFallbacks("too many"), "too many", 4),
        (KeyboardInterrupt(), "interrupted; what is done is kept", 130),
        (OSError(errno.ENOSPC, "full", "x.h5"), "cannot write x.h5 (full); free some space", 3),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_one_line_and_the_exit_code(error, line, code):
    done = outcome_of(error)
    assert (done.stderr, done.exit_code) == (f"error: {line}\n", code)


def test_a_tool_may_spell_settings_its_own_way():
    done = outcome_of(
        SettingError("lr", -1, "expected a number > 0"), spell=lambda name, value: f"--set {name}={value}"
    )
    assert done.stderr == "error: --set lr=-1: expected a number > 0\n"


@pytest.mark.parametrize("error", [OSError(errno.ENOENT, "gone"), ValueError("ours")], ids=["file", "value"])
def test_errors_of_ours_are_not_hidden(error):
    assert outcome_of(error).exception is error
