"""What so many minutes have room for: chosen by the pace where it was left open, refused where nothing is learned."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from gan_trainings import draw_discs
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.gan import minutes
from sonoforge.training.gan.minutes import Offer, Pace, choose, list_offers, with_recipe
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.training import Pretrained
from sonoforge.training.gan.training_set import TrainingSet, make_training_set

OPEN = GanSettings(recipe="dcgan", preset="", class_name="malignant")
STYLED = dataclasses.replace(OPEN, recipe="stylegan2")


def _images(count: int = 200) -> TrainingSet:
    return make_training_set(draw_discs(count), None, ("malignant",), 32, channels="1")


def _offers(settings: GanSettings, count: int = 200) -> list[Offer]:
    return list_offers(settings, _images(count), Pretrained())


def _chosen(offers: list[Offer], cheapest: float, length: float) -> Offer:
    """Choose for so many minutes on a machine that does the cheapest offer's step in so many seconds."""
    return choose(length, offers, lambda offer, _: cheapest * offer.cost / offers[0].cost, lambda: 0.0)


def test_offers_are_of_the_recipes_sizes_and_of_batches_that_the_images_fill() -> None:
    offers = _offers(OPEN)
    assert {offer.settings.image_size for offer in offers} == {32, 64}
    assert {offer.settings.preset for offer in offers} == {"few-cores", "paper"}
    assert {offer.settings.batch for offer in offers} == {16, 32, 64}
    assert [offer.cost for offer in offers] == sorted(offer.cost for offer in offers)
    assert {offer.settings.batch for offer in _offers(OPEN, 11)} == {4}
    assert (
        max(offer.settings.image_size or 0 for offer in _offers(dataclasses.replace(STYLED, preset="small-data")))
        == 256
    )


@pytest.mark.parametrize(
    "named",
    [{"image_size": 128}, {"preset": "paper"}, {"batch": 10}, {"image_size": 64, "preset": "paper", "batch": 9}],
)
def test_what_was_named_is_never_overridden(named: dict[str, object]) -> None:
    offers = _offers(dataclasses.replace(OPEN, **named))  # type: ignore[arg-type]
    for offer, (name, value) in itertools.product(offers, named.items()):
        assert getattr(offer.settings, name) == value
    if len(named) == 3:
        assert len(offers) == 1


def test_a_recipe_that_is_not_named_has_the_preset_and_needs_no_more_than_was_given() -> None:
    def recipe(**given: str) -> str:
        return with_recipe(GanSettings(**{"recipe": "", "preset": "", **given})).recipe  # type: ignore[arg-type]

    assert recipe() == "dcgan"
    assert recipe(preset="small-data") == "stylegan2"
    assert recipe(features="squeezenet1_1") == "projected"
    assert recipe(recipe="biggan") == "biggan"


def test_a_faster_machine_and_more_minutes_give_a_larger_training() -> None:
    offers = _offers(STYLED)
    costs = [_chosen(offers, pace, 3).cost for pace in (0.4, 0.02, 0.001, 1e-6)]
    assert costs == sorted(costs) and costs[0] == offers[0].cost and len(set(costs)) > 2
    assert _chosen(offers, 0.02, 3).cost < _chosen(offers, 0.02, 600).cost
    for length in (1, 5, 30):
        found = _chosen(offers, 0.01, length)
        steps = 60 * length / (0.01 * found.cost / offers[0].cost)
        assert found == offers[0] or steps >= found.enough


def test_a_gpu_whose_small_steps_are_all_as_slow_still_gets_a_large_training() -> None:
    offers = _offers(OPEN)
    assert choose(2, offers, lambda *_: 0.01, lambda: 0.0) == offers[-1]


def test_few_offers_are_measured_and_none_once_the_measuring_took_its_share() -> None:
    offers, asked = _offers(STYLED), []

    def pace(offer: Offer, limit: float) -> float:
        asked.append(offer)
        assert limit == pytest.approx(minutes.PROBE_SHARE * 60)
        return 0.01

    choose(1, offers, pace, lambda: 0.0)
    assert 1 < len(asked) <= minutes.PROBES
    asked.clear()
    assert choose(1, offers, pace, lambda: 59.0) == offers[0] and len(asked) == 1


@pytest.mark.parametrize("fixed", [{}, {"image_size": 64, "preset": "paper", "batch": 100}])
def test_the_border_is_the_least_that_a_generator_needs(fixed: dict[str, object]) -> None:
    offers = _offers(dataclasses.replace(OPEN, **fixed))  # type: ignore[arg-type]
    border = 60 / offers[0].least
    assert _chosen(offers, 0.99 * border, 1) == offers[0]
    with pytest.raises(
        SonoforgeError, match=rf"at least {offers[0].least} steps.*give --minutes 1\.1 or more"
    ) as error:
        _chosen(offers, 1.01 * border, 1)
    assert "\n" not in str(error.value)
    assert ("gan.batch" in str(error.value)) == bool(fixed)
    assert offers[0].least * offers[0].shown >= minutes.LEAST_IMAGES and offers[0].least >= minutes.LEAST_STEPS


@pytest.mark.parametrize("pace", [Pace(0.02, 3.0), Pace(0.2, 0.1), Pace(1.0, 40.0)])
def test_steps_and_ticks_fit_the_seconds(pace: Pace) -> None:
    plan = pace.fit(180, OPEN)
    ticks = -(-plan["steps"] // plan["tick_steps"])
    assert plan["steps"] * pace.step >= 0.7 * 180
    assert plan["steps"] * pace.step + ticks * min(pace.tick, 45) <= 1.05 * 180
    assert pace.fit(180, dataclasses.replace(OPEN, tick_steps=7))["tick_steps"] == 7
