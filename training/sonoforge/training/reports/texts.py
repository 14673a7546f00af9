"""The texts of the pages, from ``wording/*.yaml``: fixed ones, and ones that depend on what a run is or did."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from markupsafe import Markup

WORDING = Path(__file__).parent / "wording"


def read_yaml(name: str) -> Any:
    """Return the content of ``wording/NAME.yaml``."""
    return yaml.safe_load((WORDING / f"{name}.yaml").read_text(encoding="utf-8"))


def read_texts(name: str) -> dict[str, Markup]:
    """Return the texts of ``wording/NAME.yaml`` by name, as HTML; ``{PLACES}`` are for `str.format`."""
    return {own: Markup(text) for own, text in read_yaml(name).items()}  # noqa: S704 - our own texts


class Said(NamedTuple):
    """A text that applies under conditions, such as one of ``run-statements.yaml``."""

    topic: str
    says: str  # with the names of facts, and of earlier texts, in braces
    where: str = ""  # where it can be looked up; such a text is no part of others
    needs: str = ""  # conditions that must all be met


def read_said(name: str) -> tuple[Said, ...]:
    """Read the conditional texts of ``wording/NAME.yaml``."""
    return tuple(Said(**row) for row in read_yaml(name))


def fill_in(texts: Sequence[Said], met: Collection[str], facts: Mapping[str, object]) -> dict[str, Said]:
    """Fill in one text for each topic: the last whose conditions are all met."""
    known = {own.topic: "" for own in texts if not own.where} | dict(facts)
    found = {}
    for own in texts:
        if set(own.needs.split()) <= set(met):
            found[own.topic] = own._replace(says=own.says.format_map(known), where=own.where.format_map(known))
            if not own.where:
                known[own.topic] = found[own.topic].says
    return found
