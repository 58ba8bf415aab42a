"""How tests call clp-train."""

from click.testing import CliRunner

from clp_train import cli
from clp_train.config import option_names, spelt_as_options


def call(*arguments):
    """Call clp-train; return what it did."""
    return CliRunner().invoke(cli.train, [str(argument) for argument in arguments])


def config_called(*arguments):
    """Return the configuration that the command line describes. Raises UsageError."""
    params = cli.train.make_context("clp-train", [str(argument) for argument in arguments]).params
    given = {name: params[name] for name in option_names() if params[name] is not None}
    with spelt_as_options():
        return cli.config_of(given, params["texts"])
