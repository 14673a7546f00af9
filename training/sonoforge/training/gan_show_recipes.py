"""``sonoforge gan recipes``: the table of recipes, each number with its source."""

from __future__ import annotations

import dataclasses
import logging

from rich import box
from rich.console import Console
from rich.table import Table

from sonoforge.runtime.commandline import Outcome, option
from sonoforge.training.gan.recipes import RECIPES, Recipe, find_recipe
from sonoforge.training.progress import quiet

log = logging.getLogger(__name__)

EXAMPLES = """
sonoforge gan recipes
sonoforge gan recipes wgan-gp        where each of its numbers is from
sonoforge gan recipes --json
"""


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge gan recipes``."""

    recipes: tuple[str, ...] = option((), help="recipes to explain; none: the table of all", positional=True)


def main(config: Config) -> Outcome:
    """Show the table, or the sources of some rows, on stderr, and hand out the same as data."""
    chosen = {name: find_recipe(name) for name in config.recipes} or RECIPES
    if not quiet():
        console = Console(stderr=True)
        if config.recipes:
            for name, recipe in chosen.items():
                console.print(f"[bold]{name}[/bold]: {recipe.title}.\n{recipe.source}\n", highlight=False)
        else:
            console.print(_table())
    rows = {name: dataclasses.asdict(recipe) for name, recipe in chosen.items()}
    first = next(iter(chosen))
    command = f"sonoforge gan train --recipe {first} --class-name malignant"
    return Outcome({"recipes": rows}, command if config.recipes else f"sonoforge gan recipes {first}")


def _table() -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for heading in ("recipe", "loss", "regularisers", "critic", "optimisers", "z", "px", "epochs x batch"):
        table.add_column(heading, no_wrap=heading in ("recipe", "epochs x batch"), overflow="fold")
    for name, recipe in RECIPES.items():
        table.add_row(name, *_cells(recipe))
    return table


def _cells(recipe: Recipe) -> tuple[str, ...]:
    budgets = {**recipe.class_budgets, "other": recipe.budget}
    extras = [f"{name} {strength.weight:g}" for name, strength in recipe.regularisers.items()]
    extras += [f"perceptual {recipe.perceptual_weight:g}"] * (recipe.perceptual_weight > 0)
    extras += ["growing"] * recipe.growing
    optimisers = dict.fromkeys(
        f"{own.name} {own.learning_rate:g} {own.betas[0]:g} {own.betas[1]:g}"
        for own in (recipe.generator_optimiser, recipe.discriminator_optimiser)
    )
    return (
        recipe.loss,
        "\n".join(extras),
        str(recipe.n_critic),
        "\n".join(optimisers),
        str(recipe.latent_size),
        str(recipe.image_size),
        "\n".join(f"{name} {budget.epochs:g}x{budget.batch}" for name, budget in budgets.items()),
    )
