"""``sonoforge settings --recipes``: show the table of recipes, each number with its source."""

import dataclasses

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.settings import SettingsConfig
from sonoforge.training.gan.recipes import RECIPES, find_recipe, give_recipe, installed_recipes
from sonoforge.training.reports.recipes import explained, recipe_table
from sonoforge.training.reports.terminal import as_text


def main(config: SettingsConfig) -> Outcome:
    """Show the table of all recipes, or the sources of those given, and return the same as data."""
    everything = config.recipes == ("all",)
    named = {name: give_recipe(name) or name for name in config.recipes}
    chosen = RECIPES if everything else {name: find_recipe(own) for name, own in named.items()}
    if everything:
        say("%s", recipe_table())
        for name, place in installed_recipes().items():
            say("%s: %s, of an installed package", name, place)
    else:
        say("%s", as_text("\n".join(explained(name, recipe) for name, recipe in chosen.items())))
    rows = {name: dataclasses.asdict(recipe) for name, recipe in chosen.items()}
    first = next(iter(chosen))
    masks = " --set gan.masks=true" * chosen[first].draws_into_maps
    command = f"sonoforge gan train --recipe {first} --class malignant{masks}"
    return Outcome({"recipes": rows}, f"sonoforge settings --recipes {first}" if everything else command)
