"""The settings of ``sonoforge gan recipes``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import argument

EXAMPLES = """
sonoforge gan recipes
sonoforge gan recipes wgan-gp        where each of its numbers is from
sonoforge gan recipes --json
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge gan recipes``."""

    recipes: tuple[str, ...] = argument((), help="recipes to explain; none: the table of all")
