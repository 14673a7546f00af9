"""From probabilities to an answer, and how to take it, in the same words in the terminal, the page and the app."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import bundle_factory as factory
from program import refused, rows_of, sonoforge, succeed
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.decision import AtClinic, answers_in_words, decide, percent, read_clinic, reweighted
from sonoforge.runtime.inference.trust import Cause
from sonoforge.runtime.inference.verdict import ADVICE, STATES, judge, verdict_of


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> ClassifierManifest:
    return open_bundle(factory.write_bundle(tmp_path_factory.mktemp("bundle") / "b")).manifest


def network(rng: np.random.Generator) -> dict[str, float]:
    return dict(zip(factory.CLASSES, rng.dirichlet((1, 1, 1)).tolist(), strict=True))


def test_prevalence_gives_what_counting_scans_gives(manifest: ClassifierManifest) -> None:
    """Three classes that give a sign at known rates: the share of a class among scans with the sign, by counting."""
    rates = {"normal": 0.1, "benign": 0.4, "malignant": 0.7}  # of the sign, within each class
    clinics = factory.REFERENCE, {"normal": 0.6, "benign": 0.3, "malignant": 0.1}
    counted = []
    for shares in clinics:
        scans = {name: 10_000 * shares[name] * rates[name] for name in rates}
        counted.append({name: count / sum(scans.values()) for name, count in scans.items()})
    there = read_clinic("normal=.6,benign=.3,malignant=.1", 0.95, manifest)
    assert decide(counted[0], manifest, there).probabilities == pytest.approx(counted[1])


def test_sets_and_questions_do_not_depend_on_prevalence_and_hold_the_label(manifest: ClassifierManifest) -> None:
    rng = np.random.default_rng(1)
    clinics = [read_clinic(text, 0.95, manifest) for text in ("", "screening", "normal=.01,benign=.01,malignant=.98")]
    seen, calm = set(), set()
    for _ in range(300):
        said = network(rng)
        equal = reweighted(said, factory.REFERENCE, dict.fromkeys(factory.CLASSES, 1.0))
        fitting = {name for name, p in equal.items() if p >= manifest.thresholds[name]}
        lesion = {max(("benign", "malignant"), key=lambda name: equal[name])} if 1 - equal["normal"] >= 0.3 else set()
        found = [decide(said, manifest, clinic) for clinic in clinics]
        for one in found:
            expected = fitting | {one.label}
            assert set(one.set) == (expected if expected != {"normal"} else expected | lesion)
            calm.add((one.set == ("normal",), bool(lesion)))
            assert sum(one.probabilities.values()) == pytest.approx(1)
            assert {name: finding.positive for name, finding in one.findings.items()} == {
                name: finding.positive for name, finding in found[0].findings.items()
            }
        seen.add(tuple(one.label for one in found))
    assert len(seen) > 3, "labels do depend on it"
    assert calm == {(False, True), (False, False), (True, False)}, "normal alone only where no lesion is in question"


def test_another_sensitivity_is_another_threshold(manifest: ClassifierManifest) -> None:
    equal = {"normal": 0.6, "benign": 0.3, "malignant": 0.1}  # lesion .4: beyond .3, not beyond .5
    said = reweighted(equal, dict.fromkeys(factory.CLASSES, 1.0), factory.REFERENCE)
    found = {aim: decide(said, manifest, read_clinic("", aim, manifest)).findings for aim in (0.9, 0.95)}
    assert [found[aim]["lesion"].positive for aim in (0.9, 0.95)] == [False, True]
    assert found[0.9]["lesion"].probability == pytest.approx(0.4)
    assert found[0.9]["malignant"].probability == pytest.approx(0.25)


def test_after_a_no_the_next_question_does_not_arise() -> None:
    yes = {"probability": 0.33, "positive": True, "threshold": 0.2}
    no = {"probability": 0.163, "positive": False, "threshold": 0.2}
    said = {"lesion": "yes, 33 % (yes from 20 %)", "malignant": "no, 16 % (yes from 20 %)"}
    assert answers_in_words({"lesion": yes, "malignant": no}) == said
    said = {"lesion": "no, 16 % (yes from 20 %)", "malignant": "not asked"}
    assert answers_in_words({"lesion": no, "malignant": yes}) == said


def test_no_answer_contradicts_its_threshold_by_rounding() -> None:
    rng = np.random.default_rng(0)
    order = ["0 %", "< 1 %", *(f"{whole} %" for whole in range(1, 100)), "> 99 %", "100 %"]
    for threshold, apart in zip(rng.uniform(0, 1, 300), rng.normal(0, 0.01, 300), strict=True):
        share = float(np.clip(threshold + apart, 0, 1))
        positive = bool(share >= threshold)
        finding = {"probability": share, "positive": positive, "threshold": threshold}
        said = answers_in_words({"lesion": finding})["lesion"]
        answer, figure, least = re.fullmatch(r"(yes|no), (.*) \(yes from (.*)\)", said).groups()
        assert (answer == "yes") is positive
        if figure == "just below":
            assert not positive and f"{least}" == percent(share)
        else:
            assert order.index(figure) >= order.index(least) if positive else order.index(figure) < order.index(least)


def test_the_threshold_shown_is_where_the_answer_turns(manifest: ClassifierManifest) -> None:
    """A scan whose share of yes is moved to the operating point, in any clinic, has the threshold as its share."""
    rng = np.random.default_rng(2)
    clinics = [read_clinic(text, 0.95, manifest) for text in ("", "screening", "normal=.2,benign=.7,malignant=.1")]
    alike = dict.fromkeys(factory.CLASSES, 1.0)
    for said, clinic in ((network(rng), clinic) for _ in range(50) for clinic in clinics):
        equal = reweighted(said, factory.REFERENCE, alike)
        found = decide(said, manifest, clinic).findings
        for question in manifest.questions:
            (point,) = (point for point in question.points if point.aim == 0.95)
            yes = sum(equal[name] for name in question.positive)
            no = sum(equal[name] for name in question.among) - yes
            factor = {name: point.threshold / yes if name in question.positive else 1 for name in equal}
            factor |= {name: (1 - point.threshold) / no for name in question.among if name not in question.positive}
            moved = {name: equal[name] * factor[name] for name in equal}
            there = decide(reweighted(moved, alike, factory.REFERENCE), manifest, clinic).findings[question.name]
            own = found[question.name]
            assert there.probability == pytest.approx(own.threshold) == there.threshold
            assert own.positive is (own.probability >= own.threshold)


def test_a_question_that_no_class_fits_has_a_threshold(manifest: ClassifierManifest) -> None:
    clinic = read_clinic("normal=.2,benign=.7,malignant=.1", 0.95, manifest)
    found = decide({"normal": 1.0, "benign": 0.0, "malignant": 0.0}, manifest, clinic).findings["lesion"]
    odds = 0.3 / 0.7 * 0.4 / 0.2  # the operating point's, times those of the mean lesion here
    assert (found.probability, found.positive) == (0, False) and found.threshold == pytest.approx(odds / (1 + odds))


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        (("--prevalence", "normal=.5,benign=.5"), "each class once, such as normal=0.33"),
        (("--prevalence", "normal=.5,benign=.5,cancer=.1"), "each class once"),
        (("--prevalence", "screenin"), "did you mean screening"),
        (("--prevalence", "normal=.5,benign=.5,malignant=.5"), "shares sum to 1.5, not 1"),
        (("--prevalence", "normal=1,benign=0,malignant=0"), "a share between 0 and 1"),
        (("--prevalence", "normal=half,benign=.3,malignant=.2"), "normal=half"),
        (("--sensitivity", "0.5"), "--sensitivity: "),
    ],
)
def test_what_is_no_clinic_is_refused_in_one_line(flags: tuple[str, str], found: str, tmp_path: Path) -> None:
    assert found in refused("classify", tmp_path / "absent.png", *flags)


def test_the_command_answers_for_the_clinic_and_does_not_continue_a_file_of_another(tmp_path: Path) -> None:
    folder = factory.write_bundle(tmp_path / "b")
    scan = factory.write_scans(tmp_path, [60]) / "60.png"
    command = ("classify", scan, "--bundle", folder, "--csv", tmp_path / "a.csv")
    done = succeed(*command, "--prevalence", "normal=.8,benign=.1,malignant=.1", "--sensitivity", "0.9")
    assert done.json["clinic"] == {
        "prevalence": pytest.approx({"normal": 0.8, "benign": 0.1, "malignant": 0.1}),
        "sensitivity": 0.9,
    }
    (entry,) = done.json["results"]
    expected = Classifier(folder, asked=AtClinic("normal=.8,benign=.1,malignant=.1", 0.9))
    assert entry["probabilities"] == pytest.approx(expected.classify(scan).probabilities)
    (cells,) = rows_of(tmp_path / "a.csv")
    assert float(cells["q_lesion"]) == entry["findings"]["lesion"]["probability"]
    assert float(cells["yes_from_lesion"]) == entry["findings"]["lesion"]["threshold"]
    assert cells["lesion"] == ("yes" if entry["findings"]["lesion"]["positive"] else "no")
    again = sonoforge(*command, "--resume")
    assert again.code == 2 and "settings" in again.err


ALL = ("normal", "benign", "malignant")
WORDS = Path(__file__).parents[3] / "mobile" / "www" / "words"


@pytest.mark.parametrize(
    ("abstained", "causes", "left", "state", "heading"),
    [
        (False, [], ALL[:1], "clear", "Normal"),
        (False, [Cause.POOR_SCAN], ALL[2:], "poor image", "Malignant, from a poor image"),
        (False, [Cause.POOR_SCAN], ALL[1:], "undecided", "Undecided: benign or malignant"),
        (False, [], ALL, "cannot tell", "Cannot tell"),
        (False, [Cause.UNLIKE_TRAINING], ALL[:1], "do not use", "Do not use this answer"),
        (False, [Cause.OTHER_KIND, Cause.UNLIKE_TRAINING], ALL[:1], "do not use", "Do not use this answer"),
        (False, [Cause.NOT_ONE_SCAN, Cause.POOR_SCAN], ALL, "do not use", "Do not use this answer"),
        (True, [Cause.UNLIKE_TRAINING], ALL[:1], "uncertain", "Uncertain: no answer"),
        (True, [], ALL[1:], "uncertain", "Uncertain: no answer"),
    ],
)
def test_how_an_answer_is_to_be_taken(
    abstained: bool, causes: list[Cause], left: tuple[str, ...], state: str, heading: str
) -> None:
    phrases = [cause.value for cause in causes]
    found = judge(abstained, phrases, left, len(ALL))
    assert (found.state, found.heading) == (state, heading)
    assert found.advice == (ADVICE[phrases[0]] if state == "do not use" else STATES[state].advice)
    entry = {"ok": True, "abstained": "why" * abstained, "trust": {"causes": phrases}, "set": [*left]}
    assert verdict_of({**entry, "probabilities": dict.fromkeys(ALL, 1 / 3)}) == found


def test_every_cause_but_a_poor_scan_has_its_advice() -> None:
    assert ADVICE.keys() == {cause.value for cause in Cause} - {Cause.POOR_SCAN.value}


def test_the_app_says_the_same_in_english_and_all_of_it_in_its_other_languages() -> None:
    words = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in WORDS.glob("*.json")}
    expected = {f"advice {cause}": advice for cause, advice in ADVICE.items()}
    for name, heading, advice in STATES.values():
        expected |= {} if name in ("clear", "no answer") else {name: heading}
        expected |= {} if name in ("do not use", "no answer") else {f"{name} advice": advice}
    assert {key: words["en"].get(key) for key in expected} == expected
    for language, said in words.items():
        assert not expected.keys() - said.keys(), language
        for key, english in expected.items():
            assert ("{classes}" in said[key]) == ("{classes}" in english)
