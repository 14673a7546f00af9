"""``sonoforge gan recipes``: the table of recipes, each number with its source."""

from __future__ import annotations

import dataclasses
import logging

from rich import box
from rich.console import Console
from rich.table import Table

from sonoforge.runtime.commandline import Outcome
from sonoforge.training.gan.recipes import RECIPES, Recipe
from sonoforge.training.progress import quiet

log = logging.getLogger(__name__)

EXAMPLES = """
sonoforge gan recipes
sonoforge gan recipes --json
"""


@dataclasses.dataclass(frozen=True)
class Config:
    """``sonoforge gan recipes`` takes no settings."""


def main(config: Config) -> Outcome:
    """Show the table on stderr, and hand out the same as data."""
    del config
    if not quiet():
        table = Table(box=box.SIMPLE, pad_edge=False)
        for heading in ("recipe", "net", "loss", "aug", "z", "Adam", "EMA", "epochs x batch"):
            table.add_column(heading, no_wrap=heading in ("recipe", "epochs x batch"), overflow="fold")
        for name, recipe in RECIPES.items():
            table.add_row(name, *_numbers(recipe))
        console = Console(stderr=True)
        console.print(table)
        for name, recipe in RECIPES.items():
            console.print(f"{name}: {recipe.title}. {recipe.source}", highlight=False)
    rows = {name: dataclasses.asdict(recipe) for name, recipe in RECIPES.items()}
    return Outcome({"recipes": rows}, f"sonoforge gan train --recipe {next(iter(RECIPES))} --class-name malignant")


def _numbers(recipe: Recipe) -> tuple[str, ...]:
    budgets = {**recipe.class_budgets, "other": recipe.budget}
    return (
        recipe.architecture,
        recipe.loss,
        recipe.augmentation,
        str(recipe.latent_size),
        f"{recipe.learning_rate:g} {recipe.betas[0]:g} {recipe.betas[1]:g}",
        f"{recipe.ema_half_life:g}",
        "\n".join(f"{name} {budget.epochs:g}x{budget.batch}" for name, budget in budgets.items()),
    )
