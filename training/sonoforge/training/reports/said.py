"""Texts that depend on what a run is or did: by topic and condition, from a file."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sonoforge.training.reports.blocks import read_yaml


class Said(NamedTuple):
    """A text of a file such as ``run/statements.yaml``."""

    topic: str
    says: str  # with the names of facts, and of earlier texts, in braces
    where: str = ""  # where it can be looked up; such a text is no part of others
    needs: str = ""  # conditions that must all be met


def read_said(name: str) -> tuple[Said, ...]:
    """Read the texts of a file that lies beside the modules."""
    return tuple(Said(**row) for row in read_yaml(name))


def fill_in(texts: Sequence[Said], met: Collection[str], facts: Mapping[str, object]) -> dict[str, Said]:
    """Fill in the text that counts of each topic: the last of those whose conditions are met."""
    known = {own.topic: "" for own in texts if not own.where} | dict(facts)
    found = {}
    for own in texts:
        if set(own.needs.split()) <= set(met):
            found[own.topic] = own._replace(says=own.says.format_map(known), where=own.where.format_map(known))
            if not own.where:
                known[own.topic] = found[own.topic].says
    return found
