"""Read the table of GAN recipes: each row is data, and a new recipe is a new row of ``recipes.json``.

A recipe has one part of each kind: architecture x loss x regularisers x perceptual term x augmentation x EMA x
conditioning x optimisers x schedule. The training loop knows none of them by name.

A row in the file has the fields of `Recipe`; missing ones come from the row that it is ``like``, or are the defaults. A
regulariser is its weight and, if lazy, the steps between uses; a preset may also be ``like`` another one in its row.
Prose is a list of lines, with ``$NAME`` for a text shared by several rows.

A user's own recipe is a Python file, or a module of an installed package, with classes ``Generator`` and
``Discriminator``, a row ``RECIPE`` and perhaps ``LOSS``, see `own_networks`.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from sonoforge.runtime.errors import SonoforgeError, check_known, did_you_mean, refusing
from sonoforge.training import own_code

# Optimisers with the betas that they bring to a recipe of another optimiser: Adam's of Radford et al. 2016, RMSprop's
# smoothing of WGAN's authors' code.
OPTIMISERS: dict[str, tuple[float, float]] = {"adam": (0.5, 0.999), "rmsprop": (0.0, 0.99)}


class OptimiserSettings(NamedTuple):
    """A recipe's optimiser for one network."""

    name: str  # of `OPTIMISERS`
    learning_rate: float  # before any schedule
    # Of Adam; the first is unused by RMSprop, whose smoothing constant is the second.
    betas: tuple[float, float] = (0.5, 0.999)


class Budget(NamedTuple):
    """Length of a training run, and images per step."""

    length: float
    batch: int
    # Of the length: passes over the images of the class (epochs), or generator updates (iterations).
    unit: Literal["epochs", "iterations"] = "epochs"

    def __str__(self) -> str:
        """Return the length in words, such as ``200 epochs`` or ``100 000 iterations``."""
        return f"{self.length:,g} {self.unit}".replace(",", " " if self.length >= 10_000 else "")


class Strength(NamedTuple):
    """A regulariser's weight, and the steps between uses (more than 1: lazily, Karras 2020)."""

    weight: float
    interval: int = 1


class Preset(NamedTuple):
    """A row's numbers for a purpose other than the published one."""

    changes: Mapping[str, Any]  # of the row, by field
    why: str  # the reason for each


@dataclass(frozen=True)
class Recipe:
    """One GAN as published: names of parts and their numbers, some of which its presets change."""

    title: str  # one line for the table
    source: str  # paper, section; and where each number that it leaves open is from
    architecture: str  # name in `networks.ARCHITECTURES`, of both networks
    image_size: int  # side in pixels that it is published at, or the usual one
    latent_size: int  # length of the latent vector
    loss: str  # name in `losses.LOSSES`
    generator_optimiser: OptimiserSettings  # of the generator
    discriminator_optimiser: OptimiserSettings  # of the discriminator; other rates make it a two time-scale update rule
    budget: Budget  # length of training for a class without its own
    class_budgets: Mapping[str, Budget] = field(default_factory=dict)  # length of training by class, in lower case
    discriminator_architecture: str = ""  # of the discriminator, where it is another's
    n_critic: int = 1  # discriminator updates for each generator update
    # Strengths by name in `regularisers.REGULARISERS`.
    regularisers: Mapping[str, Strength] = field(default_factory=dict)
    perceptual_weight: float = 0.0  # of the perceptual term (`perceptual`); 0 for none
    perceptual_network: str = ""  # that the paper names for it, of `evaluation.networks.json`; empty: none
    feature_matching: float = 0.0  # weight of `feature_matching`; 0 for none
    mirror: bool = False  # whether the images are doubled by left-right flips
    augmentation: str = "none"  # name in `augmentations.AUGMENTATIONS`; seen by the discriminator only
    conditioning: str = "none"  # name in `losses.CONDITIONINGS`
    schedule: str = "constant"  # name in `schedules.SCHEDULES`, of both learning rates
    draws_into_maps: bool = False  # whether the generator draws images into label maps, so that it needs masks
    polished: bool = False  # whether only the decoder of a flow's autoencoder learns, which changes no masks
    growing: bool = False  # whether the networks grow while they train (`schedules.growing_stage`)
    # Whether both networks' gradients are computed before either steps; otherwise the generator meets the updated
    # discriminator.
    simultaneous: bool = False
    # Images after which a weight's share in the averaged generator has halved; 0: the generator of the last step.
    ema_half_life: float = 0.0
    guidance: float = 0.0  # of flow matching: how far beyond its earlier average the velocity is taught; 0: not
    # Options of the generator beyond the defaults of its class.
    generator: Mapping[str, Any] = field(default_factory=dict)
    # Options of the discriminator beyond the defaults of its class.
    discriminator: Mapping[str, Any] = field(default_factory=dict)
    # Other numbers by name; without one the row is as published.
    presets: Mapping[str, Preset] = field(default_factory=dict)
    # Images over which a blur of all that the discriminator sees fades, from `blurring.START` pixels; 0: none.
    blur: int = 0
    r1_by_size: bool = False  # whether R1's gamma follows the size and the batch that are asked for

    def budget_for(self, class_name: str) -> Budget:
        """Return the published length of training for this class."""
        return self.class_budgets.get(class_name.lower(), self.budget)

    def through(self, features: str) -> str:
        """Name a feature network, such as ``vgg16 (sha256 ...)``, and the paper's where it is only a stand-in."""
        own = self.perceptual_network
        return features if features.startswith(own) else f"{features}, not {own}"


def _read_fields(row: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """Read fields of `Recipe` from JSON."""

    def prose(lines: str | list[str]) -> str:
        return lines if isinstance(lines, str) else Template(" ".join(lines)).substitute(texts)

    def presets(rows: dict[str, Any]) -> dict[str, Preset]:
        found: dict[str, Preset] = {}
        for name, own in rows.items():
            shared = found[own["like"]].changes if "like" in own else {}
            found[name] = Preset({**shared, **_read_fields(own["changes"], texts)}, prose(own["why"]))
        return found

    def optimiser(own: dict[str, Any]) -> OptimiserSettings:
        return OptimiserSettings(**{**own, "betas": tuple(own["betas"])})

    readers: dict[str, Callable[[Any], Any]] = {
        "source": prose,
        "presets": presets,
        "generator_optimiser": optimiser,
        "discriminator_optimiser": optimiser,
        "budget": lambda own: Budget(**own),
        "class_budgets": lambda rows: {name: Budget(**own) for name, own in rows.items()},
        "regularisers": lambda rows: {name: Strength(*numbers) for name, numbers in rows.items()},
    }
    return {name: readers[name](value) if name in readers else value for name, value in row.items()}


def _read_recipes(path: Path) -> dict[str, Recipe]:
    content = json.loads(path.read_text(encoding="utf-8"))
    texts: dict[str, str] = {}
    for name, lines in content["texts"].items():
        texts[name] = Template(" ".join(lines)).substitute(texts)
    found: dict[str, Recipe] = {}
    for name, row in content["recipes"].items():
        like = row.pop("like", None)
        own = _read_fields(row, texts)
        found[name] = replace(found[like], **own) if like else Recipe(**own)
    return found


RECIPES = _read_recipes(Path(__file__).with_suffix(".json"))
ENTRY_POINTS = "sonoforge.recipes"  # entry points by which packages offer recipes, as package.module:RECIPE
# Of own recipes: what they do not take from the row that they are like, because it is of its networks.
_OF_NETWORKS: Mapping[str, Any] = MappingProxyType(
    {"generator": {}, "discriminator": {}, "presets": {}, "class_budgets": {}, "source": "own code"}
)
_NOT_OWN = {"architecture", "discriminator_architecture", "growing", "draws_into_maps"}  # need networks of ours


def installed_recipes() -> dict[str, str]:
    """Return the recipes of installed packages as ``package.module:RECIPE`` by name, without importing any."""
    return {entry.name: entry.value for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def give_recipe(name: str, *, from_file: bool = False) -> str:
    """Allow a recipe that the user names if it is own code, see `own_code.give`; preset names are no code."""
    spec = name if split_preset(name)[0] in RECIPES else installed_recipes().get(name, name)
    return "" if split_preset(spec)[0] in RECIPES else own_code.give(spec, from_file=from_file)


def split_preset(name: str) -> tuple[str, str]:
    """Split RECIPE or RECIPE:PRESET; own code has no preset here."""
    recipe, _, preset = name.partition(":")
    return (recipe, preset) if recipe in RECIPES or not own_code.is_own(name) else (name, "")


def short_name(recipe: str) -> str:
    """Return a recipe's name for tables and folders, such as ``mine`` of ``work/mine.py#0123456789abcdef``."""
    name = Path(recipe.partition("#")[0]).name.replace(".py", "", 1)
    return recipe if recipe in RECIPES else name.rpartition(".")[2].replace(":", "-")


def find_recipe(name: str) -> Recipe:
    """Return the row of this name, or of the user's own code.

    Raises:
        SonoforgeError: There is none; the message gives the closest. Or own code is not allowed, fails, or has no row.
    """
    if name in RECIPES:
        return RECIPES[name]
    if not own_code.is_own(name):
        check_known("recipe", name, [*RECIPES, *installed_recipes()])
    found = own_code.load(name)
    own, module = own_code.run(name)
    row = found if own.attribute else getattr(module, "RECIPE", None)
    if not isinstance(row, dict):
        raise SonoforgeError(f'{own.file}: defines no dict {own.attribute or "RECIPE"}, such as {{"like": "dcgan"}}')
    row = {"architecture": own.recorded, "title": short_name(name), **row}
    row |= {"loss": own.recorded} if hasattr(module, "LOSS") and "loss" not in row else {}
    like = row.pop("like", None)
    known = [field.name for field in fields(Recipe) if field.name not in _NOT_OWN]
    for wrong in row.keys() - {*known, "architecture"}:
        raise SonoforgeError(f"{own.file}: {wrong!r} cannot be set in a recipe{did_you_mean(wrong, known)}")
    with refusing(f"{own.file}: its recipe cannot be read"):
        read = {**_OF_NETWORKS, **_read_fields(row, {})}
        return Recipe(**read) if like is None else replace(find_recipe(like), **read)


# From the finished share of the training, in [0, 1), to a factor of the learning rates.  Linear decay: the full rate in
# the first half, then down to 0 in a line (Zhu et al., CycleGAN, ICCV 2017, section 4).
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear-decay": lambda progress: min(1.0, 2.0 * (1.0 - progress)),
}


FADES = 64  # steps in which the weight of new layers rises from 0 to 1


def growing_stage(progress: float, image_size: int, start: int) -> tuple[int, float]:
    """Return the side in pixels of the newest layers, and their weight, 0 to 1, in progressive growing.

    In Karras et al., ICLR 2018 (section 2, appendix A), each resolution is trained with 800 000 images, then the next
    fades in over as many.  Here the phases are equal shares of the training, so that short ones reach full resolution:
    start, fade, steady, fade, steady ...

    ``progress`` is the finished share of the training, in [0, 1); ``start`` is doubled until ``image_size``.
    """
    doublings = round(math.log2(image_size / start))
    position = progress * (2 * doublings + 1)
    phase = min(int(position), 2 * doublings)
    fading = phase % 2 == 1
    # In few steps: the stage is a constant of a compiled network.
    alpha = math.floor((position - phase) * FADES) / FADES if fading else 1.0
    return start * 2 ** ((phase + 1) // 2), alpha
