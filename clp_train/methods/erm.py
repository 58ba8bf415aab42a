"""Empirical risk minimisation: the baseline, plain cross entropy. The meta set is not used."""

from __future__ import annotations

from clp_train.algorithm.method import Context, Method
from clp_train.methods import NoOptions


def build(options: NoOptions, context: Context) -> Method:
    """Return the method with all defaults."""
    return Method()
