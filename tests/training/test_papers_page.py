"""Measured figures of the page on the papers' tables follow from the answers that are kept beside it."""

from __future__ import annotations

import csv
import shlex
from collections import Counter

import pytest

from kept_answers import CLASSES, accuracies
from places import CHECKOUT
from program import succeed
from sonoforge.training.statistics.published_gans import PUBLISHED_CYTOLOGY

DOCS = CHECKOUT / "training" / "docs"
LINES = (DOCS / "papers.md").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
PAGE = " ".join(" ".join(LINES).split())
ANSWERS = DOCS / "predictions" / "system-1-thesis.csv"
# How the table of losses writes a figure and its ratio to the floor.
FORMS = {
    "kid": (".3f", ".1f"),
    "fid": (".0f", ".2f"),
    "lpips_pairs": (".3f", ".2f"),
    "ms_ssim": (".3f", ".2f"),
    "laplacian_swd": (".0f", ".2f"),
}


def test_the_plain_training_of_the_thesis_has_the_accuracy_stated() -> None:
    with ANSWERS.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    answers = Counter(
        (row["seed"], row["label"], max(CLASSES, key=lambda name: float(row[f"p_{name}"]))) for row in rows
    )
    images = Counter(row["label"] for row in rows if row["seed"] == "0")
    assert images == {"normal": 133, "benign": 437, "malignant": 210} and len(rows) == 3 * 780
    accuracies = [sum(answers[seed, name, name] for name in CLASSES) / 780 for seed in "012"]
    mean = sum(accuracies) / 3
    first, second, third = (f"{accuracy:.3f}" for accuracy in accuracies)
    assert f"accuracy {first}, {second} and {third}, mean **{mean:.3f}**" in PAGE
    sensitivities = "{:.2f}, {:.2f} and {:.2f}".format(*(answers["0", name, name] / images[name] for name in CLASSES))
    assert f"sensitivities {sensitivities} (normal, benign," in PAGE
    implied, claimed = (f"{100 * (published - mean):.1f}" for published in (0.900, 0.934))
    assert f"which lies {implied} points higher" in PAGE and f"{claimed} points higher, although" in PAGE


def test_its_tables_come_from_the_answers_again() -> None:
    done = succeed("crossval", "--from", ANSWERS)
    found = done.json["arms"]["real"]
    accuracy, area = found["accuracy"], found["macro_auc"]
    stated = f"{accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}]"
    assert f"Of seed 0: {stated}, macro-AUC {area['value']:.3f}, sensitivities" in PAGE
    assert "accuracy with seeds 0, 1, 2: 0.823, 0.827, 0.836" in done.said


def test_the_table_of_stylegan_is_that_of_its_run() -> None:
    names = {"stylegan2": "StyleGAN2", "stylegan3-t": "StyleGAN3-T"}
    with (DOCS / "measured" / "stylegan-busi-64.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "ours"]
    assert len(rows) == 6 and {row["features"] for row in rows} == {"mobilenetv2-imagenet"}
    for row in rows:
        fid, kid, swd = (float(row[name]) for name in ("fid", "kid", "laplacian_swd"))
        fids, kids, swds = (float(row[f"{name}_ratio"]) for name in ("fid", "kid", "laplacian_swd"))
        assert (
            f"| {names[row['recipe']]} | {100 * float(row['milestone']):.0f} %, epoch {float(row['epoch']):.2g} | "
            f"{fid:.0f} ({fids:.1f}) | {kid:.3f} ({kids:.0f}) | {swd:.0f} ({swds:.1f}) | "
            f"{float(row['seconds_per_kimg']):.0f} |"
        ) in PAGE


def test_the_table_of_comparators_is_that_of_their_answers() -> None:
    found: dict[tuple[str, str, str], float] = {}
    for protocol in ("thesis", "sealed"):
        found |= accuracies(DOCS / "predictions" / f"comparators-{protocol}.csv.gz", 780)
    arms = dict.fromkeys(arm for arm, _, _ in found)
    assert len(arms) == 3 and len(found) == 3 * 2 * 3
    for arm in arms:
        cells = []
        for protocol in ("thesis", "sealed"):
            own = [found[arm, protocol, seed] for seed in "012"]
            cells += [", ".join(f"{value:.3f}" for value in own), f"{sum(own) / 3:.3f}"]
        assert f"| `{arm}` | {' | '.join(cells)} |" in PAGE


def test_the_table_of_losses_is_that_of_its_sweep() -> None:
    page = " ".join((DOCS / "generators.md").read_text(encoding="utf-8").split())
    names = {"dgan-wp-tl-wgangp": "WGAN-GP", "dgan-wp-tl-bce": "BCE"}
    with (DOCS / "measured" / "loss-table-busi-64.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["steps"]]
    assert len(rows) == 12
    kid = {(row["recipe"], float(row["perceptual_weight"])): float(row["kid"]) for row in rows}
    for recipe in names:
        weights = {weight: value for (own, weight), value in kid.items() if own == recipe}
        assert min(weights, key=lambda weight: weights[weight]) >= 5 and weights[0] > weights[5]
    for row in rows:
        figures = ((name, float(row[name]), float(row[f"{name}_ratio"])) for name in FORMS)
        cells = " | ".join(f"{value:{FORMS[name][0]}} ({ratio:{FORMS[name][1]}})" for name, value, ratio in figures)
        assert f"| {names[row['recipe']]} | {float(row['perceptual_weight']):g} | {cells} |" in page


def test_the_published_comparison_on_cytology_is_that_beside_ours() -> None:
    for row in PUBLISHED_CYTOLOGY:
        score = "-" if row.inception_score is None else f"{row.inception_score}"
        assert f"| {row.network} | {row.fid} | {score} | {row.hours or '-'} " in PAGE
    assert f"({15.6 + 10.3:.1f} more for the search)" in PAGE
    assert "do add up: 15.6 + 10.3 + 13.6" in PAGE and round(15.6 + 10.3 + 13.6, 1) == 39.5


@pytest.mark.parametrize(
    "command", [line for line in LINES if line.startswith("sonoforge") and "gan" in line.split("#")[0]]
)
def test_every_command_that_trains_generators_is_understood(command: str) -> None:
    succeed(*shlex.split(command, comments=True)[1:], "--dry-run")
