"""What every page shares: the template environment and the writing of one file that loads nothing else.

A page is a template in ``templates/`` that extends ``base.html.j2``; ``blocks.html.j2`` prints its `blocks`,
``style.css`` of `sonoforge.runtime.pages` gives its look, and `statistics.wording` says how figures are printed.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import cast

import jinja2

from sonoforge.runtime import atomic
from sonoforge.runtime.pages import STYLE
from sonoforge.training.statistics import wording

log = logging.getLogger(__name__)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("sonoforge.training.pages"), jinja2.FileSystemLoader(STYLE.parent)]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["counted"] = wording.counted
    return environment


def macros(template: str) -> ModuleType:
    """Return what a template defines."""
    return cast("ModuleType", _environment().get_template(template).module)


def render(template: str, context: Mapping[str, object]) -> str:
    """Render a page; everything that is not marked as safe is escaped."""
    return _environment().get_template(template).render(context)


def write_page(path: Path, template: str, context: Mapping[str, object]) -> Path:
    """Render a page into one self-contained file, and return its path."""
    atomic.write_text(path, render(template, context))
    log.info("report: %s in one self-contained page", wording.size(path.stat().st_size))
    return path
