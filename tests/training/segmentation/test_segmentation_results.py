"""Tables from scores: means and paired differences by hand, rank correlations, the file of scores, the verdict."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.reports.segmentation import conclude
from sonoforge.training.segmentation.figures import (
    CaseScore,
    compute_rows,
    compute_set,
    correlate,
    read_cases,
    write_cases,
)
from sonoforge.training.segmentation.options import find_arm
from sonoforge.training.statistics.published import published_for


def scores(
    arm: str, recipe: str, gain: float, seed: int = 0, structures: tuple[str, ...] = ("disc", "ring")
) -> list[CaseScore]:
    """Twelve patients of two cases each; Dice differs by patient, and by ``gain`` between arms."""
    rows = []
    for patient in range(12):
        for case in range(2):
            for place, structure in enumerate(structures):
                dice = 0.5 + 0.03 * patient + 0.01 * case - 0.1 * place + gain
                name = f"p{patient}-{case}"
                rows.append(
                    CaseScore("set", arm, recipe, seed, 0, patient, name, structure, dice, dice / 2, 3.0, "mm", False)
                )
    return rows


def test_a_row_is_the_mean_over_cases_and_then_over_structures() -> None:
    (row,) = compute_rows(scores("real", "", 0.0))
    assert row["dice"]["value"] == pytest.approx(0.5 + 0.03 * 5.5 + 0.005 - 0.05)
    assert row["structures"]["ring"]["dice"]["value"] == pytest.approx(0.5 + 0.03 * 5.5 + 0.005 - 0.1)
    assert row["dice"]["low"] < row["dice"]["value"] < row["dice"]["high"]
    # The standard error of a mean over 12 patients, by the closed form.
    error = 0.03 * np.std(np.arange(12)) / math.sqrt(12)
    assert (row["dice"]["high"] - row["dice"]["low"]) / (2 * 1.96 * error) == pytest.approx(1, abs=0.15)
    assert row["against_real"] is None


def test_a_gain_in_every_patient_is_certain_though_patients_differ() -> None:
    rows = compute_rows([*scores("real", "", 0.0), *scores("augmented", "", 0.02), *scores("both", "dcgan", 0.05)])
    both = next(row for row in rows if row["arm"] == "both")
    for name, gain in (("against_real", 0.05), ("against_augmented", 0.03)):
        change = both[name]  # type: ignore[literal-required]
        assert [change[end] for end in ("value", "low", "high")] == pytest.approx([gain] * 3)
    assert (
        "Worth its hours here: dcgan (both, Dice 0.670) adds +0.030 [+0.030, +0.030]"
        in conclude({"rows": rows, "correlations": []})["verdict"][0]
    )


def test_a_network_that_finds_nothing_after_a_few_steps_has_a_verdict() -> None:
    nothing = [
        score._replace(dice=0.0, iou=0.0) for score in (*scores("real", "", 0.0), *scores("generated", "dcgan", 0.0))
    ]
    assert "Dice of 0.000." in conclude({"rows": compute_rows(nothing), "correlations": []})["verdict"][0]


def test_seeds_are_averaged_before_patients_are_drawn() -> None:
    once = compute_rows(scores("real", "", 0.0))[0]["dice"]
    twice = compute_rows([*scores("real", "", -0.1), *scores("real", "", 0.1, seed=1)])[0]["dice"]
    assert twice == pytest.approx(once)


def test_what_a_case_does_not_have_is_left_out_of_the_mean_and_counted() -> None:
    rows = scores("real", "", 0.0, structures=("disc",))
    rows[0] = rows[0]._replace(dice=math.nan, iou=math.nan, hd95=math.nan, invented=True)
    rows[1] = rows[1]._replace(dice=0.0, iou=0.0, hd95=math.nan)
    found = compute_rows(rows)[0]["structures"]["disc"]
    assert (found["cases"], found["without"], found["missed"], found["invented"]) == (23, 1, 1, 1)
    assert found["dice"]["value"] == pytest.approx(np.mean([row.dice for row in rows[2:]] + [0.0]))
    assert found["hd95"]["value"] == 3


def test_rank_correlation_is_spearmans_with_its_exact_p_value() -> None:
    fid, dice = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0], [0.9, 0.8, 0.85, 0.7, 0.6, 0.65]
    found = correlate("fid", fid, dice)
    assert found is not None and found["exact"] and found["generators"] == 6
    assert found["rho"] == pytest.approx(stats.spearmanr(fid, dice).statistic)
    best = correlate("fid", fid, sorted(dice, reverse=True))
    assert best is not None and best["rho"] == pytest.approx(-1)
    assert best["p_value"] == pytest.approx(2 / math.factorial(6)), "one order of 720 at either end"
    assert correlate("fid", fid[:3], dice[:3]) is None, "three generators say nothing"
    assert correlate("fid", [1.0] * 6, dice) is None


def test_the_papers_own_figures_rank_fid_and_dice_alike() -> None:
    own = compute_set("sets-ACDC", scores("real", "", 0.0), [])
    claimed = own["claimed_correlation"]
    assert claimed is not None
    rows = [row for row in published_for("ACDC") if row.fid is not None]
    expected = stats.spearmanr([row.fid for row in rows], [row.dice for row in rows]).statistic
    assert claimed["rho"] == pytest.approx(expected) and expected < -0.8
    assert compute_set("BUSI", scores("real", "", 0.0), [])["claims"] == []


def test_scores_survive_the_file_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    rows = [*scores("real", "", 0.0), *scores("both:2", "spade:small-data", 0.01)]
    rows[0] = rows[0]._replace(dice=math.nan, iou=math.nan, hd95=math.nan, invented=True)
    path = tmp_path / "cases.csv"
    write_cases(path, rows)
    again = read_cases(path)
    assert all(one[:8] == other[:8] and one[11:] == other[11:] for one, other in zip(again, rows, strict=True))
    numbers = [[row[8:11] for row in own] for own in (again, rows)]
    np.testing.assert_allclose(*numbers, atol=1e-6)
    (tmp_path / "cases.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert str(read_cases(tmp_path / "cases.csv.gz")) == str(again)
    text = path.read_text()
    path.write_text(text.replace("0.46", "high", 1))
    with pytest.raises(SonoforgeError, match=r"cases.csv: line \d+: .*high"):
        read_cases(path)
    path.write_text(text.replace("dice", "Dyce"))
    with pytest.raises(SonoforgeError, match=r"has no heading .dice.*give cases.csv"):
        read_cases(path)
    path.write_text(text.splitlines()[0])
    with pytest.raises(SonoforgeError, match="has no rows"):
        read_cases(path)


@pytest.mark.parametrize("name", ["Real", "real:2", "both:0", "generated:", "augmented:2", "both:101", ""])
def test_an_arm_of_another_name_is_refused(name: str) -> None:
    with pytest.raises(SonoforgeError, match="--arms: "):
        find_arm(name)


def test_arms_say_what_they_are_trained_on() -> None:
    expected = {
        "real": (True, 0, False), "augmented": (True, 0, True), "generated": (False, 1, False),
        "both": (True, 1, False), "both:0.5": (True, 0.5, False), "both:2-augmented": (True, 2, True),
    }  # fmt: skip
    for name, told in expected.items():
        arm = find_arm(name)
        assert (arm.real, arm.dose, arm.augmented) == told
