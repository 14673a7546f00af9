"""Runs beside each other, as a user compares them; figures against scikit-learn's."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from program import refused, sonoforge, succeed
from sonoforge.runtime.atomic import write_text
from sonoforge.runtime.cli.answer import SCREEN
from sonoforge.training.statistics.predictions import Predictions, write_predictions

CLASSES = ("normal", "benign", "malignant")
COUNT = 60
LABELS = np.arange(COUNT) % 3


def answers(skill: float, seed: int, order: int = 0) -> Predictions:
    """Sixty images of two collections, in pairs that are one group; ``order`` shuffles them."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(size=(COUNT, 3)) + skill * np.eye(3)[LABELS]
    probabilities = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    part = Predictions(
        arm="real",
        protocol="sealed",
        seed=seed,
        files=tuple(f"scan{i}.png" for i in range(COUNT)),
        groups=np.arange(COUNT) // 2,
        folds=np.arange(COUNT) // 30,
        labels=LABELS,
        probabilities=probabilities,
        collections=("here",) * 30 + ("there",) * 30,
    )
    return part.reordered(np.random.default_rng(order).permutation(COUNT)) if order else part


def run(folder: Path, parts: list[Predictions], **settings: object) -> str:
    folder.mkdir()
    write_predictions(folder / "predictions.csv", parts, CLASSES)
    write_text(folder / "config.yaml", "".join(f"{name}: {value}\n" for name, value in settings.items()))
    return str(folder)


@pytest.fixture
def two(tmp_path: Path) -> tuple[str, str]:
    first = run(tmp_path / "first", [answers(0.5, 0), answers(0.5, 1)], lesion_crops=0.0, out="a", epochs=5)
    second = run(tmp_path / "second", [answers(1.5, 1, order=7), answers(1.5, 2)], lesion_crops=0.7, out="b", epochs=5)
    return first, second


def test_changes_are_between_the_same_images_of_the_seeds_in_common(two: tuple[str, str]) -> None:
    found = succeed("compare", f"plain:{two[0]}", f"windows:{two[1]}").json
    first, second = found["runs"]
    assert (first["name"], second["name"], second["seeds"]) == ("plain", "windows", [1])
    assert list(found["doubts"]) == ["plain", "windows"]
    assert all(doubt.startswith("UNVERIFIED: ") for doubt in found["doubts"].values())  # nothing beside the answers
    assert second["settings"] == {"lesion_crops": [0.0, 0.7]}
    before, after = answers(0.5, 1), answers(1.5, 1)
    figures = {(row["figure"], row["collection"]): row for row in second["figures"]}
    assert all(row["change"] is None for row in first["figures"])

    accuracy = figures["accuracy", ""]["change"]
    right = [accuracy_score(LABELS, part.predicted) for part in (before, after)]
    assert accuracy["value"] == pytest.approx(right[1] - right[0])
    assert 0 < accuracy["low"] < accuracy["value"] < accuracy["high"]

    chosen = np.flatnonzero((LABELS > 0) & (np.arange(COUNT) >= 30))
    areas = []
    for part in (before, after):
        pair = part.probabilities[chosen][:, 1:]
        areas.append(roc_auc_score(LABELS[chosen] == 2, pair[:, 1] / pair.sum(axis=1)))
    found = figures["AUC malignant against benign", "there"]
    assert found["images"] == len(chosen)
    assert found["value"]["value"] == pytest.approx(areas[1])
    assert found["change"]["value"] == pytest.approx(areas[1] - areas[0])
    healthy = roc_auc_score(LABELS[:30] == 0, after.probabilities[:30, 0])
    assert figures["AUC normal against the rest", "here"]["value"]["value"] == pytest.approx(healthy)


def test_what_a_budget_filled_in_is_named_with_its_value(two: tuple[str, str]) -> None:
    for path, value in zip(two, (4, 11), strict=True):
        write_text(Path(path) / "config.yaml", "frozen_blocks: null\nwindows: 0.0\n")
        write_text(Path(path) / "results.json", f'{{"classifier": {{"frozen_blocks": {value}, "lesion_crops": 0.0}}}}')
    assert succeed("compare", *two).json["runs"][1]["settings"] == {"frozen_blocks": [4, 11]}


def test_a_run_against_itself_changes_nothing_and_means_are_over_seeds(two: tuple[str, str]) -> None:
    rows = succeed("compare", f"one:{two[0]}", f"two:{two[0]}/predictions.csv").json["runs"]
    for once, again in zip(rows[0]["figures"], rows[1]["figures"], strict=True):
        assert again["change"] == {"value": 0, "low": 0, "high": 0} and once["value"] == again["value"]
    expected = np.mean([accuracy_score(LABELS, answers(0.5, seed).predicted) for seed in (0, 1)])
    assert rows[0]["figures"][0]["value"]["value"] == pytest.approx(expected)
    assert rows[1]["settings"] == {}


def test_arms_of_one_run_are_compared_with_each_other(tmp_path: Path) -> None:
    others = [dataclasses.replace(answers(1.5, seed), arm="gan") for seed in (0, 1)]
    both = run(tmp_path / "both", [answers(0.5, 0), answers(0.5, 1), *others], epochs=5)
    done = succeed("compare", both, "--arms", "real,gan")
    real, gan = done.json["runs"]
    assert (real["name"], gan["name"], gan["seeds"]) == ("real", "gan", [0, 1])
    expected = [
        np.mean([accuracy_score(LABELS, answers(skill, seed).predicted) for seed in (0, 1)]) for skill in (0.5, 1.5)
    ]
    assert gan["figures"][0]["change"]["value"] == pytest.approx(expected[1] - expected[0])
    assert "setting" not in done.said


def test_the_table_names_runs_settings_and_changes(two: tuple[str, str]) -> None:
    names = "a-run-of-a-rather-long-name-first", "of-another-name-that-is-not-short-second"
    assert succeed("compare", *map(":".join, zip(names, two, strict=True))).widest <= SCREEN
    said = sonoforge("compare", *two).said
    assert said.startswith("first: UNVERIFIED: ")
    assert "lesion_crops 0.0 -> 0.7" in said and "out a" not in said
    assert re.search(r"AUC malignant against benign, +20 images *\n there ", said)
    seeds = "means over the seeds that a run has in common with first: first 0, 1; second 1"
    assert seeds in said.replace("\n", " ")


def test_runs_are_chosen_for_a_collection_by_the_others(tmp_path: Path) -> None:
    good = answers(1.5, 1)
    bad = dataclasses.replace(answers(0.1, 2), seed=1)
    here = np.arange(COUNT) < 30
    parts = {"this": (good, bad), "that": (bad, good)}  # one is good here, the other there
    runs = []
    for name, (own, other) in parts.items():
        mixed = np.where(here[:, None], own.probabilities, other.probabilities)
        part = dataclasses.replace(good, probabilities=mixed, protocol="leave-one-collection-out")
        runs.append(run(tmp_path / name, [part], epochs=5))
    done = succeed("compare", *runs)
    areas = {
        row["collection"]: row for row in done.json["chosen_by_others"] if row["figure"].endswith("against benign")
    }
    area = areas["here"]
    assert area["run"] == "that"  # the best there, which is bad here
    chosen = here & (LABELS > 0)
    pair = bad.probabilities[chosen][:, 1:]
    expected = roc_auc_score(LABELS[chosen] == 2, pair[:, 1] / pair.sum(axis=1))
    assert area["value"]["value"] == pytest.approx(expected)
    assert f"AUC malignant against benign, here: that {expected:.3f}" in done.said and done.widest <= SCREEN
    sealed = succeed("compare", run(tmp_path / "a", [good], epochs=5), run(tmp_path / "b", [bad], epochs=5)).json
    assert "chosen_by_others" not in sealed


def test_runs_that_cannot_be_compared_are_refused(two: tuple[str, str], tmp_path: Path) -> None:
    fewer = run(tmp_path / "fewer", [answers(1, 0).reordered(np.arange(50))], epochs=5)
    assert "10 images are in only one" in refused("compare", two[0], fewer)
    other = run(tmp_path / "other", [answers(1, 9)], epochs=5)
    assert "no seed in common: 9 here, 0, 1" in refused("compare", two[0], other)
    assert "one run with one arm" in refused("compare", two[0])
    assert "several runs have the same name" in refused("compare", two[0], two[0])
    assert "has no arm" in refused("compare", *two, "--arms", "gan")
    assert "no such file; give a finished run" in refused("compare", two[0], str(tmp_path / "none"))


def test_the_order_of_the_rows_changes_no_figure(tmp_path: Path) -> None:
    def parts(*orders: int) -> list[Predictions]:
        first = [answers(0.5, seed, order) for seed, order in enumerate(orders)]
        second = [answers(1.5, seed, 2 * order) for seed, order in enumerate(orders)]
        return [*first, *(dataclasses.replace(part, arm="gan") for part in second)]

    kept, shuffled = (run(tmp_path / str(orders[1]), parts(*orders), epochs=5) for orders in ((0, 0, 0), (0, 7, 3)))
    figures = [
        [row["figures"] for row in succeed("compare", path, "--arms", "real,gan").json["runs"]]
        for path in (kept, shuffled)
    ]
    assert figures[0] == figures[1]
