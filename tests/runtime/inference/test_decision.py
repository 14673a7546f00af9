"""From probabilities to an answer: Bayes' theorem, sets, questions; what a clinic may say of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bundle_factory as factory
from program import refused, sonoforge, succeed
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.decision import PRESETS, AtClinic, answers_in_words, decide, read_clinic, reweighted


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
    seen = set()
    for _ in range(300):
        said = network(rng)
        fitting = {
            name
            for name, p in reweighted(said, factory.REFERENCE, dict.fromkeys(factory.CLASSES, 1.0)).items()
            if p >= manifest.thresholds[name]
        }
        found = [decide(said, manifest, clinic) for clinic in clinics]
        for one in found:
            assert set(one.set) == fitting | {one.label}
            assert sum(one.probabilities.values()) == pytest.approx(1)
            assert {name: finding.positive for name, finding in one.findings.items()} == {
                name: finding.positive for name, finding in found[0].findings.items()
            }
        seen.add(tuple(one.label for one in found))
    assert len(seen) > 3, "labels do depend on it"


def test_another_sensitivity_is_another_threshold(manifest: ClassifierManifest) -> None:
    equal = {"normal": 0.6, "benign": 0.3, "malignant": 0.1}  # lesion .4: beyond .3, not beyond .5
    said = reweighted(equal, dict.fromkeys(factory.CLASSES, 1.0), factory.REFERENCE)
    found = {aim: decide(said, manifest, read_clinic("", aim, manifest)).findings for aim in (0.9, 0.95)}
    assert [found[aim]["lesion"].positive for aim in (0.9, 0.95)] == [False, True]
    assert found[0.9]["lesion"].probability == pytest.approx(0.4)
    assert found[0.9]["malignant"].probability == pytest.approx(0.25)


def test_after_a_no_the_next_question_does_not_arise() -> None:
    yes, no = {"probability": 0.93, "positive": True}, {"probability": 0.123, "positive": False}
    assert answers_in_words({"lesion": yes, "malignant": no}) == {"lesion": "yes 93%", "malignant": "no 12%"}
    assert answers_in_words({"lesion": no, "malignant": yes}) == {"lesion": "no 12%", "malignant": "-"}


def test_presets_are_shares_of_the_shipped_bundle_s_classes() -> None:
    shipped = open_bundle().manifest
    for name, shares in PRESETS.items():
        clinic = read_clinic(name, 0.95, shipped)
        assert clinic.prevalence == shares and sum(shares.values()) == pytest.approx(1)
        assert tuple(clinic.prevalence) == shipped.classes
    assert read_clinic("normal=.33,benign=.33,malignant=.33", 0.95, shipped).prevalence["benign"] == pytest.approx(
        1 / 3
    )


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
    _save(tmp_path / "scan.png")
    command = ("classify", tmp_path / "scan.png", "--bundle", folder, "--csv", tmp_path / "a.csv")
    done = succeed(*command, "--prevalence", "normal=.8,benign=.1,malignant=.1", "--sensitivity", "0.9")
    assert done.json["clinic"] == {
        "prevalence": pytest.approx({"normal": 0.8, "benign": 0.1, "malignant": 0.1}),
        "sensitivity": 0.9,
    }
    (entry,) = done.json["results"]
    expected = Classifier(folder, asked=AtClinic("normal=.8,benign=.1,malignant=.1", 0.9))
    assert entry["probabilities"] == pytest.approx(expected.classify(tmp_path / "scan.png").probabilities)
    head, row = (line.split(",") for line in (tmp_path / "a.csv").read_text().splitlines())
    cells = dict(zip(head, row, strict=True))
    assert float(cells["q_lesion"]) == entry["findings"]["lesion"]["probability"]
    assert cells["lesion"] == ("yes" if entry["findings"]["lesion"]["positive"] else "no")
    again = sonoforge(*command, "--resume")
    assert again.code == 2 and "settings" in again.err


def _save(path: Path) -> None:
    from PIL import Image

    Image.fromarray(factory.scan(60)).save(path)
