"""What published figures imply, against closed forms, drawn confusion matrices and the documents that print it."""

from __future__ import annotations

import numpy as np
import pytest

from places import CHECKOUT
from sonoforge.training.statistics.published import (
    BUSI_COUNTS,
    PUBLISHED,
    PublishedRow,
    accuracy_by_sensitivity,
    accuracy_by_specificity,
)

ROWS = {row.name.split(" (")[0]: row for row in PUBLISHED}


def test_one_sensitivity_for_all_classes_is_the_accuracy() -> None:
    for counts in ((1, 1, 1), (133, 437, 210), (5, 90)):
        assert accuracy_by_sensitivity([0.8] * len(counts), counts) == pytest.approx(
            {"value": 0.8, "low": 0.795, "high": 0.805}
        )


def test_of_two_classes_each_specificity_is_the_other_sensitivity() -> None:
    by_specificity = accuracy_by_specificity((0.7, 0.9), (40, 60))
    assert by_specificity == pytest.approx(accuracy_by_sensitivity((0.9, 0.7), (40, 60)))


def test_a_perfect_figure_can_only_have_been_rounded_up() -> None:
    perfect = {"value": 1.0, "low": 0.995, "high": 1.0}
    assert accuracy_by_sensitivity((1.0, 1.0), (10, 30)) == pytest.approx(perfect)
    assert accuracy_by_specificity((1.0, 1.0), (10, 30)) == pytest.approx(perfect)


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
        accuracy_by_specificity(specificities, counts.tolist()),
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
    assert first.contradiction == (
        "System 1 (real images): the paper states 93.4 %, but its sensitivities (table 1) give 89.5 to 90.5 %, its "
        "specificities 89.8 to 91.8 %"
    )
    # The specificities of System 2 leave both open, 94.6 to 96.6 %.
    assert second.by_specificity is not None
    assert second.by_specificity["low"] <= second.accuracy <= second.by_specificity["high"]
    assert second.contradiction.endswith(
        "states 94.9 %, but its sensitivities (table 1) give 95.0 to 96.0 %, its specificities 94.6 to 96.6 %, "
        "and those of its text (section 4), which are not the table's, 93.0 to 95.0 %"
    )
    assert second.specificity is not None and second.specificity_in_text is not None
    assert accuracy_by_specificity(second.specificity_in_text, BUSI_COUNTS)["value"] == pytest.approx(0.94)
    malignant_alone = (*second.specificity[:2], second.specificity_in_text[2])
    assert round(accuracy_by_specificity(malignant_alone, BUSI_COUNTS)["value"], 3) == 0.948


def test_a_confusion_matrix_goes_before_rounded_sensitivities() -> None:
    app = ROWS["Existing app"]
    assert app.by_sensitivity is not None and app.by_sensitivity["value"] == pytest.approx(130 / 156)
    assert app.contradiction.endswith(
        "but its confusion matrix (figure 12c of the thesis) has 130 right answers of 156: 83.3 %"
    )
    # By hand: of 131, 66 and 115 images of other classes, 1, 7 and 19 % are false alarms; 156 images.
    assert app.by_specificity is not None
    assert app.by_specificity["value"] == pytest.approx(1 - (0.01 * 131 + 0.07 * 66 + 0.19 * 115) / 156)
    # Independently of the matrix: its sensitivities, with classes in the proportions of BUSI.
    assert app.sensitivity is not None
    implied = accuracy_by_sensitivity(app.sensitivity, BUSI_COUNTS)
    assert implied["low"] <= 130 / 156 <= implied["high"]


def test_what_fits_or_cannot_be_checked_is_no_contradiction() -> None:
    fitting = PublishedRow("a", "b", "c", 0.8, "", (0.8, 0.8, 0.8), (0.9, 0.9, 0.9))
    assert not fitting.contradiction
    assert not ROWS["Hybrid mRMR + SVM"].contradiction
    assert ROWS["Hybrid mRMR + SVM"].by_sensitivity is None


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
        others = row.by_specificity
        assert cells[3] == (
            "-" if others is None else f"{others['value']:.3f} [{others['low']:.3f}, {others['high']:.3f}]"
        )
