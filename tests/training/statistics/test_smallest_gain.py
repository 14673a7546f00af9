"""The gain that a set can show agrees with McNemar's exact power, and its simulation applies the program's own rule."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import sys
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from places import CHECKOUT
from sonoforge.training.statistics import intervals
from sonoforge.training.statistics.classification import accuracies
from sonoforge.training.statistics.smallest_gain import LARGE, TABLE, Gain, describe_gain, smallest_gain

STUDY = CHECKOUT / "training" / "studies" / "power"
ROWS = [{k: float(v or "inf") for k, v in row.items()} for row in csv.DictReader(TABLE.open(encoding="utf-8"))]


@pytest.fixture(scope="module")
def simulate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulate", STUDY / "simulate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    places = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = places
    return module


def test_simulated_rows_come_out_as_they_are() -> None:
    for row in ROWS:
        found = smallest_gain(int(row["groups"]), int(row["groups"] * row["images per group"]))
        assert found == pytest.approx(Gain(row["least"], row["typical"], row["most"]))


def test_between_rows_it_is_between_them_and_beyond_the_last_it_falls_with_the_root() -> None:
    (low,), (high,) = ([r for r in ROWS if (r["images per group"], r["groups"]) == (1, n)] for n in (350, 600))
    assert high["typical"] < smallest_gain(450, 450).typical < low["typical"]
    assert smallest_gain(8000, 8000).typical == pytest.approx(smallest_gain(2000, 2000).typical / 2)
    assert smallest_gain(1000, 50_000) == smallest_gain(1000, 2000)
    assert smallest_gain(1, 1).least == math.inf == smallest_gain(19, 400).typical


def mcnemar_power(images: int, first_only: float, second_only: float) -> float:
    """Chance that McNemar's exact test calls the second arm better at 5 %, image by image."""
    differing = np.arange(images + 1)
    chance = stats.binom.pmf(differing, images, first_only + second_only)
    found = 0.0
    for count in differing[chance > 1e-9]:
        wins = np.arange(count // 2 + 1, count + 1)
        better = wins[2 * stats.binom.sf(wins - 1, count, 0.5) < intervals.LEVEL]
        share = second_only / (first_only + second_only)
        found += chance[count] * stats.binom.pmf(better, count, share).sum()
    return float(found)


@pytest.mark.parametrize("images", [120, 350, 1000])
def test_mcnemars_exact_power_for_the_kept_answers_disagreement_is_bracketed(images: int) -> None:
    """Kept arms disagree on about 10 to 19 % of single images; a gain adds to what the second alone gets right."""
    gain = smallest_gain(images, images)
    for least, typical in ((0.10, gain.least), (0.19, gain.most)):
        assert 0.74 < mcnemar_power(images, (least - typical) / 2, (least + typical) / 2) < 0.95


def test_the_simulation_finds_mcnemars_gain_on_independent_images(simulate: ModuleType) -> None:
    rng = np.random.default_rng(5)
    apart, both, images = 0.16, 0.1, 250
    kind = rng.choice(4, 200_000, p=[apart / 2, apart / 2, both, 1 - apart - both])
    kept = simulate.Answers(np.ones(len(kind)), (kind % 3 == 0) * 1.0, (kind % 2 == 1) * 1.0)
    drawn = simulate.draw([kept], images, 1.0, rng, 500)
    turned = (gain := simulate.smallest(drawn)) / (both + apart / 2)
    power = mcnemar_power(images, apart / 2 * (1 - turned), apart / 2 + both * turned)
    assert 0.76 < power < 0.88  # the interval must also exclude zero, so it takes a little more
    assert drawn.differences(gain).mean() == pytest.approx(gain, abs=0.004)
    assert drawn.differences(0.0).mean() == pytest.approx(0.0, abs=0.004)


def test_the_simulation_applies_the_programs_test_and_interval(simulate: ModuleType) -> None:
    rng = np.random.default_rng(3)
    size = rng.integers(1, 4, 60)
    groups = np.repeat(np.arange(60), size)
    answers = rng.random((6, 2, len(groups))) < np.array([0.6, 0.75])[:, None]
    net = np.stack([np.bincount(groups, weights=b.astype(float) - a) for a, b in answers])
    p_values = simulate.p_values(net)
    lows = simulate.intervals_low(net, np.tile(size.astype(float), (6, 1)))
    truth = np.zeros(len(groups), np.int64)
    for (first, second), p, low in zip(answers, p_values, lows, strict=True):
        assert p == pytest.approx(intervals.sign_flip_test(first, second, groups)["p_value"], abs=1e-12)
        arms = (np.stack([right, ~right], axis=1).astype(float) for right in (first, second))
        assert low == pytest.approx(intervals.paired_bootstrap(accuracies, truth, *arms, groups)["low"])


def test_the_kept_gains_come_out_again_and_make_the_table(simulate: ModuleType) -> None:
    kept = [*csv.DictReader(simulate.KEPT.open(encoding="utf-8"))]
    raw = [(r["source"], float(r["images per group"]), int(r["groups"]), float(r["gain"] or "inf")) for r in kept]
    head, *rows = simulate.typical(raw)
    assert [dict(zip(head, map(str, row), strict=True)) for row in rows] == [
        *csv.DictReader(TABLE.open(encoding="utf-8"))
    ]
    (name, mean, count, gain), *_ = simulate.rows(["mammograms, two classes"], (200,), 200)
    assert gain == pytest.approx(next(own[3] for own in raw if own[:3] == (name, mean, count)), rel=0.15)


def test_the_sentence_says_what_is_shown_and_warns_of_a_small_set() -> None:
    large, small, none = (describe_gain(n, n) for n in (1000, 60, 10))
    assert large["large_enough"] and large["says"].startswith("With 1\u202f000 images in 1\u202f000 groups")
    assert f"{100 * large['typical']:.1f} points" in large["says"] and large["typical"] <= LARGE
    assert not small["large_enough"] and small["says"].startswith("Too few images to tell")
    assert none["least"] is None is none["typical"] and "too few to show any gain" in none["says"]
    assert all(json.loads(json.dumps(found, allow_nan=False)) == found for found in (large, small, none))
