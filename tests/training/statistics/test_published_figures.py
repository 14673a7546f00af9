"""Figures that papers claim, as printed and as quoted, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from gan_trainings import options_of
from golden import printed
from places import CHECKOUT
from sonoforge.training.data.layouts import BUSI_CLASSES
from sonoforge.training.gan.networks import outline_networks
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.recipes import RECIPES
from sonoforge.training.gan.settings import compose
from sonoforge.training.segmentation.options import BUDGETS
from sonoforge.training.segmentation.options import SIX as ALL_SIX
from sonoforge.training.settings.gan import SEARCHES, GanCompareConfig, GanSearchConfig
from sonoforge.training.statistics.published import (
    BUSI_COUNTS,
    GPU_GB,
    PAPERS,
    PUBLISHED,
    PUBLISHED_SEGMENTATION,
    PublishedGan,
    accuracy_by_sensitivity,
)
from sonoforge.training.statistics.results import Interval

THESIS, STYLEGAN, LOSSES, SIX = map(printed, ("thesis", "stylegan", "dgan-wp-tl", "six-gans"))
GA_GAN = printed("ga-gan")
ROWS = {row.name.split(" (")[0]: row for row in PUBLISHED}
FIGURES = [name for name, kind in PublishedGan.__annotations__.items() if "float" in str(kind)]
NETWORKS = {"": "Real data", "dcgan": "DCGAN", "lsgan": "LSGAN", "wgan": "WGAN", "biggan": "BigGAN", "spade": "SPADE"}
NETWORKS |= {"stylegan1": "StyleGAN"}


def told(row: PublishedGan) -> dict[str, float]:
    """The figures that a row of ours has."""
    return {name: getattr(row, name) for name in FIGURES if getattr(row, name) is not None}


def figures(columns: dict[str, str]) -> dict[str, float]:
    return {name: float(value) for name, value in columns.items() if name in FIGURES}


@pytest.mark.parametrize("system", THESIS["1"])
def test_systems_of_the_thesis_have_the_figures_of_its_table_1(system: str) -> None:
    row, columns = ROWS[system], {name: float(value) for name, value in THESIS["1"][system].items()}
    assert row.sensitivity is not None and row.specificity is not None and row.train_accuracy is not None
    for name, sensitivity, specificity in zip(BUSI_CLASSES, row.sensitivity, row.specificity, strict=True):
        assert (sensitivity, specificity) == (columns[f"sensitivity, {name}"], columns[f"specificity, {name}"])
    assert 100 * row.accuracy == pytest.approx(columns["accuracy, test"])
    assert 100 * row.train_accuracy == pytest.approx(columns["accuracy, train"])


def test_what_the_thesis_says_beside_its_table_1() -> None:
    in_text = THESIS["section 4"]["System 2"]
    assert ROWS["System 2"].specificity_in_text == [float(in_text[f"specificity, {name}"]) for name in BUSI_CLASSES]
    again = THESIS["section 3.3"]["Existing app, made again"]
    assert 100 * ROWS["Existing app, made again"].accuracy == pytest.approx(float(again["accuracy, test"]))
    for name, columns in THESIS["section 2.1"].items():
        assert 100 * ROWS[name].accuracy == pytest.approx(float(columns["accuracy, test"]))
    matrix = [
        [int(THESIS["figure 12c"][f"predicted {answer}"][f"actual {name}"]) for answer in BUSI_CLASSES]
        for name in BUSI_CLASSES
    ]
    assert ROWS["Existing app"].confusion == matrix
    images = THESIS["section 3.1"]["images"]
    assert list(BUSI_COUNTS) == [int(images[name]) for name in BUSI_CLASSES]
    made = THESIS["section 3.4"]["generated"]
    lacks = {name: max(BUSI_COUNTS) - count for name, count in zip(BUSI_CLASSES, BUSI_COUNTS, strict=True)}
    assert {name: int(count) for name, count in made.items()} == {name: lack for name, lack in lacks.items() if lack}


def test_the_thesiss_generators_are_trained_as_printed() -> None:
    recipe, section = RECIPES["dcgan-thesis"], THESIS["section 3.4"]
    for name in ("malignant", "normal"):
        own = recipe.budget_for(name)
        assert (own.length, own.batch) == (int(section[name]["epochs"]), int(section[name]["batch"]))
    assert recipe.generator_optimiser == recipe.discriminator_optimiser
    assert recipe.generator_optimiser.learning_rate == float(section["both networks"]["learning rate"])
    assert recipe.latent_size == int(section["generator"]["noise"])
    assert recipe.image_size == int(THESIS["section 3.1"]["images"]["side"])


def test_stylegans_as_they_train_have_the_figures_of_tables_1_to_3() -> None:
    rows = PAPERS["stylegan"].rows
    assert len(rows) == len(STYLEGAN["1"]) + len(STYLEGAN["2"])
    for row in rows:
        when = f"{row.network}, epoch {row.epoch}"
        quality = figures(STYLEGAN["1" if row.data == "BUSI" else "2"][when])
        costs = figures(STYLEGAN["3"][f"{row.data}, {row.network}"] | STYLEGAN["3"][f"{row.data}, {when}"])
        assert told(row) == quality | costs, row
        assert row.table == f"tables {'1' if row.data == 'BUSI' else '2'} and 3"


def test_others_beside_the_stylegans_have_the_figures_of_tables_4_and_5() -> None:
    others = PAPERS["stylegan"].others
    theirs = {(number, name) for number in "45" for name in STYLEGAN[number]} - {
        (n, f"StyleGAN{k}") for n in "45" for k in "23"
    }
    assert {(row.table.removeprefix("table "), row.network) for row in others if row.table} == theirs
    for row in others:
        number = row.table.removeprefix("table ")
        if not number:  # quoted from the paper on loss functions
            assert told(row) == figures(LOSSES["abstract"]["WGAN-GP, lambda 5"])
            continue
        columns = STYLEGAN[number][row.network]
        assert (row.data, told(row)) == (columns["data"], figures(columns))
        if row.epoch is not None:
            assert row.epoch == int(STYLEGAN["introduction"][row.network]["epochs"])


def test_the_stylegans_were_trained_as_the_paper_says() -> None:
    said = STYLEGAN["methodology"]["training"]
    assert int(said["GPU memory, GB"]) == GPU_GB
    for name in ("stylegan2", "stylegan3-t"):
        recipe = RECIPES[name]
        assert recipe.generator_optimiser == recipe.discriminator_optimiser
        assert recipe.generator_optimiser.betas == (float(said["beta1"]), float(said["beta2"]))
        assert recipe.generator_optimiser.learning_rate == float(said["learning rate"])
        assert (recipe.budget.length, recipe.budget.batch) == (int(said["epochs"]), int(said["batch"]))
        assert recipe.image_size == int(said["side, BUSI"])
    assert [share * int(said["epochs"]) for share in GanCompareConfig().milestones] == [100, 500, 1000]


def test_the_loss_functions_have_the_figures_of_the_abstract() -> None:
    (row,) = PAPERS["dgan-wp-tl"].rows
    assert told(row) == figures(LOSSES["abstract"]["WGAN-GP, lambda 5"])
    assert (
        str(RECIPES["dgan-wp-tl-wgangp"].perceptual_weight) in LOSSES["abstract"]["perceptual loss"]["lambda"].split()
    )


def test_the_six_gans_have_the_figures_of_table_4_and_no_others() -> None:
    ours = {
        (NETWORKS[row.recipe], f"{what}, {row.data}"): getattr(row, what)
        for row in PUBLISHED_SEGMENTATION
        for what in ("fid", "dice")
        if getattr(row, what) is not None
    }
    theirs = {
        (network, column): float(value) for network, columns in SIX["4"].items() for column, value in columns.items()
    }
    assert ours == theirs


@pytest.mark.parametrize("network", ["StyleGAN", "BigGAN"])
def test_the_six_gans_at_full_budget_have_the_sizes_of_section_5_1(network: str) -> None:
    said = SIX["section 5.1"][network]
    (name,) = (name for name in ALL_SIX["full"] if NETWORKS[name.partition(":")[0]] == network)
    recipe, _, preset = name.partition(":")
    composed = compose(GanSettings(recipe=recipe, preset=preset, class_name="one"))
    assert composed.image_size == int(said["side"])
    options = options_of(composed, composed.image_size, 1, 2)
    count = sum(weights.numel() for weights in outline_networks(composed, options)[0].parameters()) / 1e6
    # 30 million are StyleGAN2's at this size; StyleGAN's generator has 26.2 million (Karras et al. 2019, section 2).
    assert count == pytest.approx({"StyleGAN": 26.2, "BigGAN": float(said["million parameters"])}[network], abs=0.5)
    assert BUDGETS["full"]["generator"]["epochs"] == float(SIX["section 4.3"]["training"]["epochs"])


def test_all_six_gans_are_those_of_table_4() -> None:
    for names in ALL_SIX.values():
        assert [NETWORKS[name.partition(":")[0]] for name in names] == [
            name for name in SIX["4"] if name != "Real data"
        ]
    assert all(RECIPES[name.partition(":")[0]].growing for name in ALL_SIX["full"] if "stylegan" in name), "section 4.3"


def test_each_row_of_ga_gan_has_the_printed_figures_and_no_others() -> None:
    told = {
        (row.network, name): getattr(row, name)
        for row in PAPERS["ga-gan"].rows
        for name in FIGURES
        if getattr(row, name) is not None
    }
    networks = {network for network, _ in told}
    found = {
        (network, name): float(value)
        for rows in GA_GAN.values()
        for network, columns in rows.items()
        for name, value in columns.items()
        if network in networks
    }
    assert told == found


def test_training_and_search_of_ga_gan_are_as_printed() -> None:
    own, figures = RECIPES["ga-gan"], {name: float(value) for name, value in GA_GAN["section 4"]["search"].items()}
    generator, discriminator = own.generator_optimiser, own.discriminator_optimiser
    assert generator.betas == discriminator.betas == (figures["beta1"], figures["beta2"])
    assert generator.learning_rate == figures["learning rate of the generator"]
    assert discriminator.learning_rate == figures["learning rate of the discriminator"]
    assert own.budget.unit == "iterations" and own.budget.length == figures["iterations of the final training"]
    assert (own.budget.batch, own.image_size) == (figures["batch"], figures["image side"])
    preset = SEARCHES["cells-paper"]
    for name in ("population", "children", "sample"):
        assert preset[name] == figures[{"children": "cycles"}.get(name, name)]
    assert GanSearchConfig().mutation == figures["mutation"]
    assert (preset["gan"]["epochs"], preset["gan"]["image_size"]) == (figures["epochs"], figures["image side"])


def by_specificity(specificities: Sequence[float], counts: Sequence[int]) -> Interval:
    """Every wrong answer is a false alarm of exactly one class; the bounds are from before rounding to two digits."""
    rest = sum(counts) - np.array(counts)
    ends = (np.clip(np.array(specificities) + change, 0, 1) for change in (0, -0.005, 0.005))
    value, low, high = (float(1 - ((1 - shares) * rest).sum() / sum(counts)) for shares in ends)
    return Interval(value=value, low=low, high=high)


def ends(implied: Interval) -> str:
    return f"{100 * implied['low']:.1f} to {100 * implied['high']:.1f} %"


@pytest.mark.parametrize("seed", range(40))
def test_any_answers_that_round_to_the_published_figures_have_an_accuracy_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(3, 500, int(rng.integers(2, 6)))
    quality = rng.dirichlet(np.ones(len(counts)), len(counts)) + rng.uniform(0, 8) * np.eye(len(counts))
    confusion = np.stack([rng.multinomial(n, row / row.sum()) for n, row in zip(counts, quality, strict=True)])
    accuracy = float(np.trace(confusion) / confusion.sum())
    rest = confusion.sum() - counts
    sensitivities = np.round(np.diag(confusion) / counts, 2).tolist()
    specificities = np.round(1 - (confusion.sum(axis=0) - np.diag(confusion)) / rest, 2).tolist()
    for implied in (
        accuracy_by_sensitivity(sensitivities, counts.tolist()),
        by_specificity(specificities, counts.tolist()),
    ):
        assert implied["low"] - 1e-12 <= accuracy <= implied["high"] + 1e-12
        assert implied["low"] <= implied["value"] <= implied["high"]
        assert implied["high"] - implied["low"] < 0.01 * len(counts)


def test_the_thesis_contradicts_itself() -> None:
    first, second = ROWS["System 1"], ROWS["System 2"]
    assert first.by_sensitivity is not None and second.by_sensitivity is not None
    # By hand: 0.89 of 437 + 0.90 of 210 + 0.93 of 133 are 701.62 of 780 images.
    assert first.by_sensitivity["value"] == pytest.approx(701.62 / 780)
    assert second.by_sensitivity["value"] == pytest.approx((0.96 * 437 + 0.94 * 210 + 0.96 * 133) / 780)
    assert second.specificity is not None and second.specificity_in_text is not None
    assert by_specificity(second.specificity_in_text, BUSI_COUNTS)["value"] == pytest.approx(0.94)
    malignant_alone = (*second.specificity[:2], second.specificity_in_text[2])
    assert round(by_specificity(malignant_alone, BUSI_COUNTS)["value"], 3) == 0.948


def test_a_confusion_matrix_goes_before_rounded_sensitivities() -> None:
    app = ROWS["Existing app"]
    assert app.by_sensitivity is not None and app.by_sensitivity["value"] == pytest.approx(130 / 156)
    assert app.contradiction.endswith("has 130 right answers of 156: 83.3 %")
    # Independently of the matrix: its sensitivities, with classes in the proportions of BUSI.
    assert app.sensitivity is not None
    implied = accuracy_by_sensitivity(app.sensitivity, BUSI_COUNTS)
    assert implied["low"] <= 130 / 156 <= implied["high"]


def test_what_is_said_of_contradictions_follows_from_the_figures() -> None:
    assert sum(bool(row.contradiction) for row in PUBLISHED) == 3
    for row in PUBLISHED:
        implied = row.by_sensitivity
        fits = implied is None or implied["low"] <= row.accuracy <= implied["high"]
        assert fits != bool(row.contradiction)
        if fits or row.confusion:
            continue
        assert implied is not None and row.specificity is not None
        expected = f"{row.name}: the paper states {100 * row.accuracy:.1f} %, but its sensitivities (table 1) give "
        expected += f"{ends(implied)}, its specificities {ends(by_specificity(row.specificity, BUSI_COUNTS))}"
        if row.specificity_in_text:
            expected += ", and those of its text (section 4), which are not the table's, "
            expected += ends(by_specificity(row.specificity_in_text, BUSI_COUNTS))
        assert row.contradiction == expected


def test_readme_and_evidence_print_what_is_computed() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    evidence = (CHECKOUT / "training" / "docs" / "evidence.md").read_text(encoding="utf-8")
    for name in ("Existing app", "System 1", "System 2"):
        row = ROWS[name]
        implied = row.by_sensitivity
        assert implied is not None
        if name != "Existing app":
            (line,) = (s for s in readme.splitlines() if s.startswith(f"| {row.name}, "))
            assert f"| {row.accuracy:.3f}, implied {implied['value']:.3f} |" in line
        (line,) = (s for s in evidence.splitlines() if s.startswith(f"| {row.name} |"))
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        bounds = "" if row.confusion else f" [{implied['low']:.3f}, {implied['high']:.3f}]"
        assert cells[1:3] == [f"{row.accuracy:.3f}", f"{implied['value']:.3f}{bounds}"]
        tested = [sum(own) for own in row.confusion] if row.confusion else BUSI_COUNTS
        others = by_specificity(row.specificity, tested) if row.specificity else None
        assert cells[3] == (
            "-" if others is None else f"{others['value']:.3f} [{others['low']:.3f}, {others['high']:.3f}]"
        )
