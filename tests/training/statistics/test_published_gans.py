"""Figures that the code says a paper prints, against what was copied from the paper: ``tests/golden/papers``."""

from __future__ import annotations

import re

import pytest

from papers import printed
from places import CHECKOUT
from sonoforge.training.gan.recipes import RECIPES
from sonoforge.training.statistics.published_gans import PAPERS, PublishedGan
from sonoforge.training.verbs.settings.gan import SEARCH_PRESETS, SearchConfig

GA_GAN = printed("ga-gan")
FIGURES = [name for name, kind in PublishedGan.__annotations__.items() if "float" in str(kind)]


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


def test_the_hours_of_the_parts_are_those_of_the_whole() -> None:
    hours = {row: float(columns["hours"]) for row, columns in GA_GAN["section 4"].items() if "hours" in columns}
    assert sum(hours.values()) == pytest.approx(2 * hours["in all"])


def test_training_and_search_of_ga_gan_are_as_printed() -> None:
    own, figures = RECIPES["ga-gan"], {name: float(value) for name, value in GA_GAN["section 4"]["search"].items()}
    generator, discriminator = own.generator_optimiser, own.discriminator_optimiser
    assert generator.betas == discriminator.betas == (figures["beta1"], figures["beta2"])
    assert generator.learning_rate == figures["learning rate of the generator"]
    assert discriminator.learning_rate == figures["learning rate of the discriminator"]
    assert own.budget.unit == "iterations" and own.budget.length == figures["iterations of the final training"]
    assert (own.budget.batch, own.image_size) == (figures["batch"], figures["image side"])
    preset = SEARCH_PRESETS["paper"]
    for name in ("population", "children", "sample"):
        assert preset[name] == figures[{"children": "cycles"}.get(name, name)]
    assert SearchConfig().mutation == figures["mutation"]
    assert (preset["gan"]["epochs"], preset["gan"]["image_size"]) == (figures["epochs"], figures["image side"])


def test_docs_quote_ga_gan_as_printed() -> None:
    """Every number with a decimal in what the pages say of the paper; 25.9 hours are those of both searches."""
    pages = [(CHECKOUT / "training" / "docs" / name).read_text("utf-8") for name in ("papers.md", "ga-gan.md")]
    section = pages[0].partition("\n## GA-GAN ")[2].partition("\n## ")[0]
    hours = re.search(r"Its [\d.]+\s+GPU hours \([^)]+\)", pages[1])
    assert section and hours is not None
    quoted = set(re.findall(r"\d+\.\d+", re.sub(r"```.*?```|`[^`]*`", "", section + hours[0], flags=re.DOTALL)))
    known = {value for rows in GA_GAN.values() for columns in rows.values() for value in columns.values()}
    assert quoted - known == {"25.9"} and quoted > {"3.39", "3.95", "39.5", "15.6", "10.3", "13.6"}
    assert pytest.approx(25.9) == 15.6 + 10.3
