"""Settings of a training: recipes and presets, budgets, plans, and refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from gan_trainings import draw_discs, train
from sonoforge.models.layers import BatchRenorm2d
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.gan.checkpoint import describe, load_state
from sonoforge.training.gan.generator import load_generator, sample
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.recipes import RECIPES, Budget, OptimiserSettings, Recipe
from sonoforge.training.gan.settings import compose, make_plan, parse_regularisers


def test_published_budgets_of_the_thesis() -> None:
    """Figure 7 of the thesis trains one batch an epoch; the preset reads epochs as passes over the images."""
    for name, images, epochs, batch in (("malignant", 210, 4200, 150), ("normal", 133, 2500, 100)):
        plan = make_plan(GanSettings(class_name=name), images)
        assert (plan.batch, plan.steps, plan.image_size) == (batch, epochs, 224)
        passes = make_plan(GanSettings(class_name=name, preset="passes"), images)
        assert (passes.batch, passes.steps) == (batch, epochs * images // batch)
    recipe = compose(GanSettings(class_name="malignant"))
    assert {recipe.generator_optimiser.learning_rate, recipe.discriminator_optimiser.learning_rate} == {0.001}
    assert make_plan(GanSettings(epochs=2, batch=8), 21).steps == 6  # 42 images in batches of 8


@pytest.mark.parametrize("recipe", ["dgan-wp-tl-wgangp", "dgan-wp-tl-bce"])
def test_dgan_wp_tl_has_the_500_epochs_that_its_authors_later_state(recipe: str) -> None:
    plan = make_plan(GanSettings(recipe=recipe, class_name="malignant", features="vgg16"), 210)
    turns = compose(GanSettings(recipe=recipe, features="vgg16")).n_critic
    assert plan.steps == -(-500 * 210 // (64 * turns))


def test_ga_gan_has_the_iterations_that_its_authors_state_and_small_sets_have_epochs() -> None:
    assert make_plan(GanSettings(recipe="ga-gan"), 700) == make_plan(GanSettings(recipe="ga-gan"), 2800)
    assert make_plan(GanSettings(recipe="ga-gan"), 700)[:3] == (100_000, 128, 64)
    assert make_plan(GanSettings(recipe="ga-gan", epochs=2), 640).steps == 10
    assert make_plan(GanSettings(recipe="ga-gan", preset="small-data"), 320)[:2] == (10_000, 32)


def test_the_cells_of_either_network_are_chosen_by_code_or_name() -> None:
    own = compose(
        GanSettings(recipe="ga-gan", generator_cell="{3, 12-6}", discriminator_cell="fixed", activation="elu")
    )
    assert own.generator["activation"] == own.discriminator["activation"] == "elu"
    assert (own.generator["cell"], own.discriminator["cell"]) == ("{3, 12-6}", "fixed")
    for option in ("generator_cell", "discriminator_cell"):
        with pytest.raises(SonoforgeError, match=rf"^{option} cannot be 'found' with the dcgan networks, .* ga-gan"):
            compose(GanSettings(recipe="lsgan", **{option: "found"}))


def test_a_bad_code_is_refused_in_one_line_before_a_run_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(SonoforgeError, match=r"discriminator_cell: '\{3, 19-6\}' has operation 9") as error:
        train(tmp_path / "run", recipe="ga-gan", steps=1, discriminator_cell="{3, 19-6}")
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()
    with pytest.raises(SonoforgeError, match="image_size: 33 is not one of 32, 64"):
        train(tmp_path, image_size=33)


@pytest.mark.parametrize(("channels", "expected"), [("auto", 1), ("3", 3)])
def test_grey_images_give_one_channel_unless_three_are_asked_for(channels: str, expected: int, tmp_path: Path) -> None:
    checkpoint = train(tmp_path, recipe="dcgan-thesis", width=None, steps=1, channels=channels)
    assert sample(load_generator(checkpoint), 2, 0).shape == (2, 32, 32, expected)


def test_a_published_batch_is_lowered_to_a_small_set_and_one_asked_for_is_refused(tmp_path: Path) -> None:
    assert make_plan(GanSettings(class_name="normal"), 60).batch == 60
    with pytest.raises(SonoforgeError, match=r"3 training images of class malignant"):
        train(tmp_path, draw_discs(3), steps=2, batch=8)


def test_a_budget_in_images_counts_all_turns_of_the_critic() -> None:
    assert make_plan(GanSettings(recipe="wgan", kimg=6.4, batch=64), 100).steps == 20  # 20 x 5 x 64 images
    assert make_plan(GanSettings(recipe="wgan", epochs=16, batch=64), 100).steps == 5


@pytest.mark.parametrize("device", ["gpu", "cpu:1", "cuda:x", "cuda:99"])
def test_unknown_devices_are_refused(device: str, tmp_path: Path) -> None:
    with pytest.raises(SonoforgeError, match="device"):
        train(tmp_path, device=device)


def test_regularisers_are_read_from_text() -> None:
    assert parse_regularisers("none") == {}
    assert parse_regularisers("r1=5:16, weight-clipping") == {"r1": (5.0, 16), "weight-clipping": (0.01, 1)}
    for text in ("r1=x", "r1=-1", "r1=1:0", "r2=1", "r1=nan"):
        with pytest.raises(SonoforgeError, match=r"regularisers?: "):
            parse_regularisers(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "wgan", "beta1": 0.5}, "beta1 cannot be 0.5 with the optimiser rmsprop"),
        ({"recipe": "stylegan2", "norm": "batch-renorm"}, "norm cannot be 'batch-renorm' with the stylegan2 networks"),
        ({"recipe": "dcgan", "norm": "layer"}, "norm: 'layer' is not one of batch, batch-renorm, none"),
        (
            {"recipe": "flow", "regularisers": "r1=1"},
            "regularisers cannot be 'r1' with the recipe flow, which",
        ),
        (
            {"recipe": "flow", "augmentation": "diffaugment"},
            "augmentation cannot be 'diffaugment' with the recipe",
        ),
        (
            {"recipe": "flow", "perceptual_weight": 1.0, "features": "vgg16"},
            "perceptual_weight cannot be 1.0 with",
        ),
        ({"recipe": "flow", "n_critic": 2}, "n_critic cannot be 2 with the recipe flow"),
        ({"recipe": "flow", "simultaneous": True}, "simultaneous cannot be True with the recipe flow"),
        ({"recipe": "flow", "discriminator_learning_rate": 1e-3}, "discriminator_learning_rate cannot be 0.001 with "),
        ({"recipe": "flow", "loss": "bce"}, "recipe cannot be 'flow' with the loss bce, which takes scores"),
        (
            {"recipe": "dcgan", "loss": "flow-matching"},
            "with the dcgan networks, which learn no velocity; choose rec",
        ),
        (
            {"recipe": "dcgan", "guidance": 1.0},
            "guidance cannot be 1.0 with the dcgan networks, which learn no velocity",
        ),
        (
            {"recipe": "dcgan", "regularisers": "reconstruction"},
            "'reconstruction' with the dcgan networks, of which no ",
        ),
        (
            {"recipe": "flow", "preset": "polish", "start_from": "shipped"},
            "recipe cannot be 'flow' with no feature network",
        ),
        (
            {"recipe": "flow", "preset": "polish", "start_from": "x", "features": "x", "regularisers": "path-length"},
            "'path-length' with the recipe flow, whose path lengths cannot be measured; leave it out",
        ),
        ({"recipe": "dcgan-thesi"}, "did you mean dcgan-thesis"),
        ({"recipe": "dcgan", "epochs": 1.0, "steps": 3}, "epochs cannot be combined with steps"),
        ({"recipe": "dcgan", "batch": 1}, "batch must be at least 2"),
        ({"recipe": "dcgan", "loss": "began"}, "reconstruction errors"),
        ({"recipe": "began", "loss": "bce"}, "the loss bce, which does not take reconstruction errors"),
        ({"recipe": "began", "augmentation": "ada"}, "boundary at 0"),
        ({"recipe": "wgan-gp", "augmentation": "ada"}, "boundary at 0"),
        ({"recipe": "dgan-wp-tl-bce"}, "give --set gan.features=NET: a"),
        ({"recipe": "dcgan", "kimg": 1.0, "steps": 3}, "steps cannot be combined with kimg"),
        (
            {"recipe": "dcgan", "optimiser": "rmsprp"},
            "optimiser: 'rmsprp' is not one of adam, rmsprop .did you mean rmsprop",
        ),
        ({"recipe": "dcgan", "activation": "eluu"}, "'eluu' is not one of relu, leaky-relu, elu, tanh"),
        ({"recipe": "stylegan2", "activation": "elu"}, r"'elu' with the stylegan2 networks, .* any \(dcgan-thesis, "),
        ({"recipe": "began", "activation": "elu"}, "cannot be 'elu' with the began networks"),
        ({"recipe": "stylegan1", "activation": "relu"}, "cannot be 'relu' with the stylegan1 networks"),
        ({"recipe": "ga-gan", "norm": "batch"}, r"'batch' with the ga-gan networks, .* any \(dcgan-thesis, dcgan\)"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SonoforgeError, match=message) as error:
        make_plan(GanSettings(**changes), 100)
    assert "\n" not in str(error.value)


def test_another_optimiser_brings_its_own_betas_and_keeps_the_rate() -> None:
    changed = compose(GanSettings(recipe="dcgan", optimiser="rmsprop"))
    assert changed.generator_optimiser == changed.discriminator_optimiser == ("rmsprop", 0.0002, (0.0, 0.99))
    back = compose(GanSettings(recipe="wgan", optimiser="adam", learning_rate=1e-4))
    assert back.generator_optimiser == ("adam", 1e-4, (0.5, 0.999))
    # The one that the recipe has by itself changes nothing.
    assert compose(GanSettings(recipe="wgan-gp", optimiser="adam")) == compose(GanSettings(recipe="wgan-gp"))


def test_latent_size_activation_and_optimiser_are_trained_with_and_kept(tmp_path: Path) -> None:
    """The optimiser's state tells which one it was: Adam keeps two averages, RMSprop one."""
    changes: dict[str, Any] = {"latent_size": 7, "activation": "elu", "optimiser": "rmsprop"}
    checkpoint = train(tmp_path, steps=1, **changes)
    kinds = [type(layer) for layer in load_generator(checkpoint).modules()]
    assert nn.ELU in kinds and nn.ReLU not in kinds
    assert describe(checkpoint).generator_options["latent_size"] == 7
    state = load_state(checkpoint, "generator_optimiser")
    assert {name.partition(".")[2] for name in state} == {"step", "square_avg"}
    with pytest.raises(SonoforgeError, match="activation was 'elu', is 'tanh'"):
        train(tmp_path, steps=1, resume=True, **{**changes, "activation": "tanh"})


def test_a_time_scale_for_each_network() -> None:
    recipe = compose(GanSettings(recipe="dcgan", learning_rate=1e-4, discriminator_learning_rate=4e-4))
    assert recipe.generator_optimiser.learning_rate == 1e-4
    assert recipe.discriminator_optimiser.learning_rate == 4e-4
    assert compose(GanSettings(recipe="dcgan")).discriminator_optimiser.learning_rate == 0.0002
    alone = compose(GanSettings(recipe="dcgan", discriminator_learning_rate=4e-4))
    assert alone.generator_optimiser.learning_rate == 0.0002


def test_norm_and_beta1_reach_both_networks_but_a_critic_keeps_none() -> None:
    usual = compose(GanSettings(recipe="dcgan", norm="batch-renorm", beta1=0.1))
    assert (usual.generator["norm"], usual.discriminator["norm"]) == ("batch-renorm", "batch-renorm")
    assert usual.generator_optimiser.betas == usual.discriminator_optimiser.betas == (0.1, 0.999)
    critic = compose(GanSettings(recipe="wgan-gp", norm="batch-renorm", optimiser="adam", beta1=0.3))
    assert (critic.generator["norm"], critic.discriminator["norm"]) == ("batch-renorm", "none")
    assert critic.discriminator_optimiser.betas == (0.3, 0.9), "the other beta stays the recipe's"


def test_a_generator_with_batch_renormalisation_is_built_again_from_its_checkpoint(tmp_path: Path) -> None:
    checkpoint = train(tmp_path, norm="batch-renorm", steps=2)
    assert describe(checkpoint).generator_options["norm"] == "batch-renorm"
    kinds = [type(module) for module in load_generator(checkpoint).modules() if isinstance(module, nn.BatchNorm2d)]
    assert set(kinds) == {BatchRenorm2d}


def test_networks_of_one_size_refuse_a_width_before_anything_is_trained() -> None:
    with pytest.raises(SonoforgeError, match="width: the dcgan-thesis networks have one size"):
        compose(GanSettings(recipe="dcgan-thesis", width=8))
    for recipe in ("dcgan", "stylegan2", "biggan", "ga-gan", "stylegan1"):
        compose(GanSettings(recipe=recipe, width=8))


# Presets.


@pytest.mark.parametrize("recipe", [name for name in RECIPES if RECIPES[name].presets])
def test_a_preset_changes_exactly_what_it_says(recipe: str) -> None:
    # SPADE as published needs masks and features, a flow of maps a run with an autoencoder.
    settings = GanSettings(recipe=recipe, masks=True, features="vgg16", start_from="run")
    paper = compose(settings)
    for name, preset in RECIPES[recipe].presets.items():
        changed = compose(dataclasses.replace(settings, preset=name))
        fields = {field.name for field in dataclasses.fields(Recipe)}
        assert {key for key in fields if getattr(changed, key) != getattr(paper, key)} == set(preset.changes)
        assert all(getattr(changed, key) == value for key, value in preset.changes.items())


def test_the_small_data_preset_of_stylegan2() -> None:
    """The numbers that its reasons name, written out once more."""
    small = compose(GanSettings(recipe="stylegan2", preset="small-data"))
    assert (small.image_size, small.budget, small.ema_half_life) == (256, Budget(1000, 16), 5000)
    assert small.generator_optimiser == OptimiserSettings("adam", 0.0025, (0.0, 0.99))
    assert small.regularisers["r1"].weight == pytest.approx(0.0002 * 256**2 / 16, rel=0.03)
    assert small.generator["mapping_layers"] == 2
    paper = compose(GanSettings(recipe="stylegan2"))
    assert paper.regularisers["r1"].weight == pytest.approx(0.0002 * 512**2 / 2, rel=0.01)


def test_r1_follows_the_size_and_the_batch_unless_it_is_given() -> None:
    asked = compose(GanSettings(recipe="stylegan3-t", image_size=64, batch=32))
    assert asked.regularisers["r1"].weight == pytest.approx(0.0256)
    assert asked.regularisers["r1"].interval == 16
    given = compose(GanSettings(recipe="stylegan3-t", image_size=64, batch=32, regularisers="r1=2:8"))
    assert given.regularisers["r1"] == (2.0, 8)
