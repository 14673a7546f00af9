"""The table of GAN recipes: each row is data, and a new recipe is a new row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sonoforge.runtime.commandline import closest
from sonoforge.runtime.errors import SonoforgeError


class Budget(NamedTuple):
    """How long to train: passes over the images of the class, and images a step."""

    epochs: float
    batch: int


@dataclass(frozen=True)
class Recipe:
    """One published GAN: names of parts and their numbers.

    Attributes:
        title: One line for the table.
        source: Paper, section; and where each number that it leaves open is from.
        architecture: Name in ``networks.ARCHITECTURES``.
        loss: Name in ``losses.LOSSES``.
        augmentation: Name in ``augmentations.AUGMENTATIONS``; seen by the discriminator only.
        latent_size: Length of the latent vector.
        learning_rate: Of Adam, in both networks.
        betas: Of Adam, in both networks.
        ema_half_life: Images after which a weight's share in the averaged generator has halved.
        budget: Length of training for a class without its own.
        class_budgets: Length of training by class, in lower case.
    """

    title: str
    source: str
    architecture: str
    loss: str
    latent_size: int
    learning_rate: float
    betas: tuple[float, float]
    ema_half_life: float
    budget: Budget
    class_budgets: Mapping[str, Budget] = field(default_factory=dict)
    augmentation: str = "none"

    def budget_for(self, class_name: str) -> Budget:
        """Return the published length of training for this class."""
        return self.class_budgets.get(class_name.lower(), self.budget)


RECIPES: dict[str, Recipe] = {
    "dcgan-thesis": Recipe(
        title="DCGAN that balances BUSI, one generator for each class",
        source=(
            "S. H., MSc thesis, Middlesex University, 2024: layers, BCE, Adam 0.001, epochs and batch of "
            "malignant and normal. Left open there: kernel, slope, initial weights and Adam's betas are those "
            "of Radford, Metz, Chintala, ICLR 2016; a class other than these two gets the shorter of its two "
            "budgets; the averaged generator (EMA) is an addition, half-life 10 000 images as in Karras 2020 "
            "(StyleGAN2)."
        ),
        architecture="dcgan",
        loss="bce",
        latent_size=100,
        learning_rate=0.001,
        betas=(0.5, 0.999),
        ema_half_life=10_000,
        budget=Budget(epochs=2500, batch=100),
        class_budgets={"malignant": Budget(epochs=4200, batch=150), "normal": Budget(epochs=2500, batch=100)},
    ),
}


def find_recipe(name: str) -> Recipe:
    """Return the row of this name.

    Raises:
        SonoforgeError: There is none; the message names the closest.
    """
    if name not in RECIPES:
        hint = closest(name, list(RECIPES))
        raise SonoforgeError(f"recipe: found {name!r}, expected one of {', '.join(RECIPES)}{hint}")
    return RECIPES[name]
