"""What is fitted to a clinic: against known shifts, the decisions of one scan at a time, and figures by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sonoforge.runtime.inference import adaptation
from sonoforge.runtime.inference.adaptation import Asked, Rules

Floats = NDArray[np.float64]
EQUAL = np.full(3, 1 / 3)
CENTRES = np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 2.0]])


def rules(thresholds: float = 0.2, question: float = 0.3) -> Rules:
    positive, among = np.array([False, True, True]), np.array([True, True, True])
    asked = Asked("lesion", positive, among, np.array([0.9, 0.95]), np.array([question + 0.1, question]))
    return Rules(EQUAL, np.full(3, thresholds), EQUAL, 0.1, (asked,))


def clinic(shares: tuple[float, ...], count: int, seed: int, bias: float = 0.0) -> tuple[Floats, NDArray[np.int64]]:
    """Scans of three Gaussian classes: probabilities by the densities, the first class's logit moved by a bias."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, size=count, p=shares)
    x = CENTRES[labels] + rng.normal(size=(count, 2))
    logits = -((x[:, None] - CENTRES) ** 2).sum(axis=2) / 2 + np.array([bias, 0, 0])
    q = np.exp(logits)
    return q / q.sum(axis=1, keepdims=True), labels


def test_with_the_shares_counted_labels_are_right_as_often_as_bayes_rule_is() -> None:
    shares = (0.8, 0.15, 0.05)
    equal, labels = clinic(shares, 2000, seed=1)
    fitted = adaptation.fit_rules(equal, labels, rules())
    assert fitted.prevalence == pytest.approx(shares, abs=0.03)
    others, truth = clinic(shares, 20_000, seed=2)
    bayes = ((others * np.array(shares)).argmax(axis=1) == truth).mean()
    assert (adaptation.decide_all(others, fitted).labels == truth).mean() == pytest.approx(bayes, abs=0.005)
    assert bayes > (adaptation.decide_all(others, rules()).labels == truth).mean() + 0.05


@pytest.mark.parametrize("bias", [-2.0, 0.0, 2.0])
def test_with_many_scans_thresholds_hold_their_word_whatever_the_bias(bias: float) -> None:
    shares = (0.2, 0.5, 0.3)
    equal, labels = clinic(shares, 6000, seed=3, bias=bias)
    fitted = adaptation.fit_rules(equal, labels, rules())
    others, truth = clinic(shares, 20_000, seed=4, bias=bias)
    scores = others[:, 1] + others[:, 2]
    reached = (scores[truth > 0][:, None] >= fitted.questions[0].thresholds).mean(axis=0)
    assert reached == pytest.approx([0.9, 0.95], abs=0.015)
    here = others * fitted.prevalence
    here /= here.sum(axis=1, keepdims=True)
    held = [(here[truth == c, c] >= fitted.thresholds[c]).mean() for c in range(3)]
    assert held == pytest.approx([0.9] * 3, abs=0.02)


def test_sets_of_a_class_with_few_scans_hold_all_of_these_and_of_one_without_any_what_most_reach() -> None:
    labels = np.array([0] * 19 + [1] * 8)
    here = np.zeros((27, 3))
    here[:19, 0], here[19:, 1] = np.arange(1, 20) / 20, np.arange(3, 11) / 20
    here[:, 2] = 1 - here.sum(axis=1)
    found = adaptation.set_thresholds(here, labels, 0.1)
    # Of 19 the second, (19 + 1) / 10; of all 27 the second, too: 0.1.
    assert found.tolist() == pytest.approx([0.1, 0.1, 0.1])
    here[19, 1] = 0.01
    assert adaptation.set_thresholds(here, labels, 0.1).tolist() == pytest.approx([0.1, 0.01, 0.05])


@pytest.mark.parametrize("count", [9, 15, 40])
def test_sets_hold_a_new_scan_as_often_as_promised_however_few_they_were_fitted_on(count: int) -> None:
    """Over many draws of exchangeable scans: coverage is 1 - alpha at least, and at most 1 / (n + 1) more."""
    rng, inside, draws = np.random.default_rng(8), 0, 4000
    for _ in range(draws):
        p = rng.beta(2, 1, size=count + 1)
        here = np.stack([p, 1 - p], axis=1)
        inside += p[-1] >= adaptation.set_thresholds(here[:-1], np.zeros(count, dtype=np.int64), 0.1)[0]
    assert 0.9 - 0.015 <= inside / draws <= 0.9 + 1 / (count + 1) + 0.015


def test_with_ten_scans_an_operating_point_is_half_way_on_logits_and_without_any_it_stays() -> None:
    assert adaptation.moved(0.5, 0.9, 10) == pytest.approx(0.75)  # odds of 1 and of 9: 3
    assert adaptation.moved(0.3, 0.9, 0) == pytest.approx(0.3)
    equal, labels = clinic((1, 0, 0), 30, seed=5)
    fitted = adaptation.fit_rules(equal, labels, rules())
    assert fitted.questions[0].thresholds.tolist() == [0.4, 0.3]
    assert (fitted.prevalence > 0).all() and fitted.prevalence.sum() == pytest.approx(1)


def test_a_patients_own_labels_do_not_change_its_answers() -> None:
    equal, labels = clinic((0.4, 0.4, 0.2), 60, seed=6)
    groups = np.arange(60) // 3
    found = adaptation.cross_fitted(equal, labels, groups, rules())
    for patient in (0, 7, 19):
        own = groups == patient
        other = np.where(own, (labels + 1) % 3, labels)
        again = adaptation.cross_fitted(equal, other, groups, rules())
        assert (again.labels[own] == found.labels[own]).all() and (again.sets[own] == found.sets[own]).all()
        assert (again.beyond[0][own] == found.beyond[0][own]).all()


def test_figures_are_those_counted_by_hand() -> None:
    equal = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.5, 0.3, 0.2], [0.05, 0.05, 0.9]])
    labels = np.array([0, 1, 1, 2])
    found = adaptation.figures(adaptation.decide_all(equal, rules()), labels, rules(), 0.95)
    assert {name: figure.mean() for name, figure in found.items()} == pytest.approx(
        {
            "accuracy": 3 / 4,
            "balanced accuracy": (1 + 1 / 2 + 1) / 3,
            "lesion: sensitivity": 1,
            "lesion: specificity": 1,
            "coverage of sets": 1,
            "mean size of a set": (1 + 2 + 3 + 1) / 4,
            "sets of one class": 2 / 4,
        }
    )


def test_the_interval_of_a_change_is_that_of_the_normal_approximation_and_wider_for_whole_patients() -> None:
    labels = np.zeros(400, dtype=np.int64)
    right = np.random.default_rng(7).random((2, 100)) < np.array([[0.6], [0.8]])
    before, after = (
        adaptation.Decided(np.where(np.repeat(row, 4), 0, 1), np.eye(3, dtype=bool)[labels], ()) for row in right
    )
    asked = Rules(EQUAL, EQUAL, EQUAL, 0.1, ()), 0.95
    change = np.repeat(right[1].astype(float) - right[0], 4)
    widths = {}
    for name, groups, units in (("scans", np.arange(400), change), ("patients", np.arange(400) // 4, change[::4])):
        found = adaptation.compare(before, after, labels, groups, asked)["accuracy"].change
        half = 1.96 * units.std() / np.sqrt(len(units))
        assert found.value == pytest.approx(change.mean())
        assert (found.low, found.high) == pytest.approx((change.mean() - half, change.mean() + half), abs=0.1 * half)
        widths[name] = found.high - found.low
    assert widths["patients"] == pytest.approx(2 * widths["scans"], rel=0.1)


def test_a_change_that_no_scan_shows_stays_open_and_too_few_patients_do_not_tell() -> None:
    labels = np.repeat([0, 1], [30, 4])
    same = adaptation.Decided(labels, np.eye(3, dtype=bool)[labels], ())
    found = adaptation.compare(same, same, labels, np.arange(34), (Rules(EQUAL, EQUAL, EQUAL, 0.1, ()), 0.95))
    # Bonett & Price (2012): one more scan changes each way, of 36.
    half = 1.959964 * np.sqrt((2 / 36) / 36)
    assert found["accuracy"].change == pytest.approx((0, -half, half), rel=1e-6)
    assert found["mean size of a set"].change == pytest.approx((0, -2 * half, 2 * half), rel=1e-6)
    assert found["balanced accuracy"].change[0] == 0 and np.isnan(found["balanced accuracy"].change[1:]).all()


def test_a_change_is_bonett_and_prices_of_the_scans_that_changed() -> None:
    labels = np.zeros(50, dtype=np.int64)
    lost, won = np.arange(50) < 3, np.arange(50) >= 41
    before, after = (
        adaptation.Decided(np.where(wrong, 1, 0), np.eye(3, dtype=bool)[labels], ()) for wrong in (won, lost)
    )
    found = adaptation.compare(before, after, labels, np.arange(50), (Rules(EQUAL, EQUAL, EQUAL, 0.1, ()), 0.95))
    gain, loss = 10 / 52, 4 / 52  # one more than counted, of two more scans
    half = 1.959964 * np.sqrt((gain + loss - (gain - loss) ** 2) / 52)
    assert found["accuracy"].change == pytest.approx((6 / 50, gain - loss - half, gain - loss + half), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("bias", [0.0, 1.5])
@pytest.mark.parametrize("count", [30, 60, 200])
def test_the_interval_of_a_change_holds_it_on_fresh_scans(count: int, bias: float) -> None:
    """Of so many scans of patients with one or two; where rules hardly move, intervals hold more often."""
    shares, start = (0.3, 0.4, 0.3), rules()
    fresh, truth = clinic(shares, 20_000, seed=1, bias=bias)
    before = adaptation.figures(adaptation.decide_all(fresh, start), truth, start, 0.95)
    held: dict[str, list[bool]] = {name: [] for name in before}
    for seed in range(400):
        equal, labels = clinic(shares, count, seed=seed + 10, bias=bias)
        groups = np.arange(count) * 2 // 3
        crossed = adaptation.cross_fitted(equal, labels, groups, start)
        found = adaptation.compare(adaptation.decide_all(equal, start), crossed, labels, groups, (start, 0.95))
        after = adaptation.decide_all(fresh, adaptation.fit_rules(equal, labels, start))
        for name, figure in adaptation.figures(after, truth, start, 0.95).items():
            change = found[name].change
            if not np.isnan(change.low):
                held[name].append(change.low <= figure.mean() - before[name].mean() <= change.high)
    assert {name: np.mean(own) for name, own in held.items() if np.mean(own) < 0.93 - 0.02} == {}


@pytest.mark.parametrize(("patients", "each"), [(19, 1), (40, 3)])
def test_of_a_further_patient_s_scans_one_in_twenty_lies_beyond_a_clinic_s_reach(patients: int, each: int) -> None:
    """Over many clinics: scans of one patient lie alike, and the share beyond is .05 at most, and not far below."""
    rng, beyond = np.random.default_rng(9), []
    groups = np.repeat(np.arange(patients), each)
    for _ in range(1000):
        times = 1.1 + 0.1 * rng.random(patients + 1)[:, None] + 0.05 * rng.random((patients + 1, each))
        reach = adaptation.measure_reach(times[:-1].ravel(), groups)
        beyond.append((times[-1] > reach.limit).mean())
    assert 0.05 - 1 / (patients + 1) - 0.015 <= np.mean(beyond) <= 0.05 + 0.015


def test_a_reach_is_told_by_the_other_patients_and_is_never_below_the_training_s_nor_foreign() -> None:
    groups = np.arange(10)
    found = adaptation.measure_reach(np.array([1.3, *np.linspace(0.5, 1.1, 9)]), groups)
    assert found == (1.3, 10, pytest.approx(0.3), pytest.approx(0.1))  # the farthest is beyond the other nine
    assert adaptation.measure_reach(np.linspace(0.2, 0.9, 10), groups).limit == 1
    assert adaptation.measure_reach(np.linspace(2, 3, 10), groups) == (1.5, 10, 1, 1)
    assert adaptation.measure_reach(np.array([]), groups[:0]) == (1, 0, 0, 0)
