"""REPORT: the templates of pages. They are beside this file and share a style and macros."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any


def rendered(name: str, values: Mapping[str, Any]) -> str:
    """Return the page of a template, "page.html", filled with values; texts are escaped.

    Raises jinja2.UndefinedError for a missing value. Source: ours.
    """
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(lambda part: resources.files(__package__).joinpath(part).read_text("utf-8")),
    )
    return environment.get_template(name).render(values)
