"""Show the table of recipes, each number with its source."""

from sonoforge.training.gan.recipes import RECIPES, Budget, Recipe
from sonoforge.training.reports.terminal import plain_table


def explained(name: str, recipe: Recipe) -> str:
    """Describe a recipe: its source, lengths and presets."""
    budgets = {**recipe.class_budgets, "other classes": recipe.budget}
    lengths = (f"{kind} {budget}, batch {budget.batch}" for kind, budget in budgets.items())
    lines = [f"{name}: {recipe.title}.", recipe.source, f"Length: {'; '.join(lengths)}."]
    lines += [f"--preset {preset}: {own.why}" for preset, own in recipe.presets.items()]
    return "\n".join([*lines, ""])


def recipe_table() -> str:
    """Tabulate all recipes, as text."""
    head = ("recipe", "loss and more", "optimiser", "px", "epochs")
    return plain_table(head, [(name, *_cells(recipe)) for name, recipe in RECIPES.items()])


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
