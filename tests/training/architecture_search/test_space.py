"""What is searched of a recipe, how a user narrows it, and what a trial's values make of the settings."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.architecture_search.space import (
    NAMES,
    PARAMETERS,
    REGULARISER_NAMES,
    Parameter,
    read_search,
    recipe_space,
    with_values,
)
from sonoforge.training.gan.networks import ARCHITECTURES
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.recipes import RECIPES, Strength
from sonoforge.training.gan.settings import compose


def names(recipe: str, **changes: Any) -> list[str]:
    settings = GanSettings(recipe=recipe, class_name="malignant", features="vgg16", **changes)
    return [parameter.name for parameter in recipe_space(compose(settings), settings, ())]


def test_the_table_names_what_there_is() -> None:
    options = {field.name for field in dataclasses.fields(GanSettings)}
    assert {parameter.field for parameter in PARAMETERS} <= options
    assert {name for recipe in RECIPES.values() for name in recipe.regularisers} <= set(REGULARISER_NAMES)
    free = {name for name, architecture in ARCHITECTURES.items() if "norm" in architecture.free_hidden}
    norm = next(parameter for parameter in PARAMETERS if parameter.name == "norm")
    assert {recipe.architecture for recipe in RECIPES.values() if norm.applies(recipe)} == free


def test_each_recipe_is_searched_for_what_it_has() -> None:
    both = ["optimiser", "learning-rate", "discriminator-learning-rate", "beta1", "batch"]
    assert names("dcgan") == [*both, "norm", "width"]
    assert names("wgan-gp") == [*both, "n-critic", "norm", "width", "gradient-penalty"]
    assert names("wgan") == [*both, "n-critic", "norm", "width", "weight-clipping"]
    assert names("dgan-wp-tl-bce") == [*both, "norm", "width", "perceptual-weight"]
    assert names("stylegan2") == [*both, "width", "r1", "path-length"]
    assert names("dcgan-thesis") == [*both, "norm"], "its networks have one width"
    assert names("flow") == [*both[:2], *both[3:]], "it has no discriminator"


def test_what_is_given_is_not_searched() -> None:
    assert names("wgan-gp", batch=8, regularisers="gradient-penalty=5", width=16, norm="batch", learning_rate=1e-3) == [
        *("optimiser", "discriminator-learning-rate", "beta1", "n-critic")
    ]
    assert "beta1" not in names("dcgan", optimiser="rmsprop"), "which has none"
    assert "beta1" in names("dcgan", optimiser="adam")


def test_ranges_are_around_the_recipes_own_numbers() -> None:
    settings = GanSettings(recipe="wgan-gp", class_name="malignant")
    space = {parameter.name: parameter for parameter in recipe_space(compose(settings), settings, ())}
    assert (space["gradient-penalty"].low, space["gradient-penalty"].high) == (1.0, 100.0)  # published: 10
    assert space["learning-rate"].low == pytest.approx(1e-5) and space["learning-rate"].high == pytest.approx(1e-3)


def test_a_trials_values_become_settings_of_a_training() -> None:
    settings = GanSettings(recipe="stylegan2", class_name="malignant", image_size=64, seed=3)
    values = {"optimiser": "adam", "learning-rate": 0.001, "beta1": 0.25, "batch": 8, "r1": 1.5, "width": 64}
    changed = with_values(settings, compose(settings), values)
    assert changed.regularisers == "r1=1.5:16,path-length=2:4", "the intervals and the other weight are its own"
    recipe = compose(changed)
    assert recipe.regularisers == {"r1": Strength(1.5, 16), "path-length": Strength(2.0, 4)}
    assert recipe.generator_optimiser.betas == (0.25, 0.99)
    assert (changed.batch, changed.width, changed.learning_rate, changed.seed) == (8, 64, 0.001, 3)


def test_a_range_and_a_list_take_the_place_of_the_usual() -> None:
    settings = GanSettings(recipe="wgan-gp", class_name="malignant")
    texts = ("learning-rate=0.0001:0.001", "batch=8,12", "n_critic=2:3", "--gradient-penalty=5:20", "beta1=0,0.5")
    read = read_search(texts, settings, [compose(settings)])
    space = {parameter.name: parameter for parameter in recipe_space(compose(settings), settings, read)}
    assert space["learning-rate"] == Parameter("learning-rate", (), 0.0001, 0.001, log=True)
    assert space["batch"] == Parameter("batch", (8, 12))
    assert space["n-critic"] == Parameter("n-critic", (), 2, 3, whole=True)
    assert space["gradient-penalty"] == Parameter("gradient-penalty", (), 5.0, 20.0, log=True)
    assert space["beta1"] == Parameter("beta1", (0.0, 0.5), optimiser="adam"), "still of Adam alone"
    assert list(space) == names("wgan-gp")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat=1:2", "--over: 'learning-rat' is not one of optimiser, .*did you mean learning-rate"),
        ("learning-rate", "--over learning-rate must be a number, not ''"),
        ("learning-rate=0.1:0.01", "is neither learning-rate=LOW:HIGH, with LOW below HIGH, nor two or more"),
        ("learning-rate=0.1", "neither learning-rate=LOW:HIGH"),
        ("learning-rate=a:b", "must be a number, not 'a'"),
        ("learning-rate=0:0.1", "--over learning-rate must be at least 1e-09, not 0.0"),
        ("learning-rate=0.1:nan", "must be at least 1e-09, not nan"),
        ("learning-rate=0.1:inf", "a finite number above 0, not inf"),
        ("gradient-penalty=0:3", "--over gradient-penalty must be a finite number above 0, not 0"),
        ("gradient-penalty=x:3", "--over gradient-penalty: 'x' is not a number"),
        ("batch=1:8", "--over batch must be at least 2, not 1"),
        ("batch=8.5,16", "must be a whole number, not '8.5'"),
        ("beta1=0:1", "--over beta1 must be at most 0.9999, not 1.0"),
        ("optimiser=adam,sgd", "--over optimiser must be one of adam, rmsprop, not 'sgd'"),
        ("optimiser=adam:rmsprop", "neither optimiser=LOW:HIGH, with LOW below HIGH, nor two or more values"),
        ("r1=1:10", "none of the recipes has r1"),
        ("width=8,16", "width is fixed by gan.width; leave one of the two out"),
    ],
)
def test_a_search_that_cannot_be_is_refused(text: str, message: str) -> None:
    settings = GanSettings(recipe="wgan-gp", class_name="malignant", width=8)
    with pytest.raises(SonoforgeError, match=message) as error:
        read_search((text,), settings, [compose(settings)])
    assert "\n" not in str(error.value)


def test_a_parameter_given_twice_is_refused() -> None:
    with pytest.raises(SonoforgeError, match="batch is given twice"):
        read_search(("batch=4,8", "batch=8,16"), GanSettings(recipe="dcgan"), [RECIPES["dcgan"]])


def test_nothing_left_to_search_is_refused() -> None:
    settings = GanSettings(
        recipe="dcgan", class_name="malignant", optimiser="rmsprop", learning_rate=1e-3, batch=8, norm="batch", width=8,
        discriminator_learning_rate=1e-3,
    )  # fmt: skip
    with pytest.raises(SonoforgeError, match="dcgan: nothing is left to search, as every setting is fixed"):
        recipe_space(compose(settings), settings, ())
    assert "beta1" in NAMES
