"""``sonoforge settings --recipes``: show the table of recipes, each number with its source."""

import dataclasses

from rich import box
from rich.table import Table

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.settings import SettingsConfig
from sonoforge.training.gan.recipes import RECIPES, Budget, Recipe, find_recipe, give_recipe, installed_recipes
from sonoforge.training.reports.terminal import as_text


def main(config: SettingsConfig) -> Outcome:
    """Show the table of all recipes, or the sources of those given, and return the same as data."""
    everything = config.recipes == ("all",)
    named = {name: give_recipe(name) or name for name in config.recipes}
    chosen = RECIPES if everything else {name: find_recipe(own) for name, own in named.items()}
    if everything:
        say("%s", as_text(_table()))
        for name, place in installed_recipes().items():
            say("%s: %s, of an installed package", name, place)
    else:
        say("%s", as_text(*(_explain(name, recipe) for name, recipe in chosen.items())))
    rows = {name: dataclasses.asdict(recipe) for name, recipe in chosen.items()}
    first = next(iter(chosen))
    masks = " --set gan.masks=true" * chosen[first].draws_into_maps
    command = f"sonoforge gan train --recipe {first} --class malignant{masks}"
    return Outcome({"recipes": rows}, f"sonoforge settings --recipes {first}" if everything else command)


def _explain(name: str, recipe: Recipe) -> str:
    budgets = {**recipe.class_budgets, "other classes": recipe.budget}
    lengths = (f"{kind} {budget}, batch {budget.batch}" for kind, budget in budgets.items())
    lines = [f"{name}: {recipe.title}.", recipe.source, f"Length: {'; '.join(lengths)}."]
    lines += [f"--preset {preset}: {own.why}" for preset, own in recipe.presets.items()]
    return "\n".join([*lines, ""])


def _table() -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1))
    for heading in ("recipe", "loss and more", "optimiser", "px", "epochs"):
        table.add_column(heading, no_wrap=True)
    for name, recipe in RECIPES.items():
        table.add_row(name, *_cells(recipe))
    return table


def _cells(recipe: Recipe) -> tuple[str, ...]:
    parts = [recipe.loss]
    parts += [f"{recipe.n_critic} critic updates"] * (recipe.n_critic > 1)
    parts += [f"{name} {strength.weight:.3g}" for name, strength in recipe.regularisers.items()]
    parts += [f"perceptual {recipe.perceptual_weight:g}"] * (recipe.perceptual_weight > 0)
    parts += [f"feature matching {recipe.feature_matching:g}"] * (recipe.feature_matching > 0)
    parts += ["growing"] * recipe.growing
    parts += [recipe.augmentation] * (recipe.augmentation != "none")
    optimisers = dict.fromkeys(
        f"{own.name} {own.learning_rate:g}" for own in (recipe.generator_optimiser, recipe.discriminator_optimiser)
    )
    budgets = dict.fromkeys(map(_budget, (*recipe.class_budgets.values(), recipe.budget)))
    return "\n".join(parts), "\n".join(optimisers), str(recipe.image_size), "\n".join(budgets)


def _budget(own: Budget) -> str:
    return f"{own.length:g}x{own.batch}" + "\niterations" * (own.unit == "iterations")
