"""``sonoforge classify --abstain``: abstention."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bundle_factory as factory
from program import sonoforge
from sonoforge.runtime import Classifier
from sonoforge.runtime.pages import answer_page


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return factory.write_bundle(tmp_path / "b")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    (tmp_path / "scans").mkdir()
    for i in range(8):
        Image.fromarray(factory.scan(i)).save(tmp_path / "scans" / f"{i}.png")
    return tmp_path / "scans"


def policy(bundle: Path, **changed: object) -> None:
    factory.edit_manifest(bundle, lambda raw: raw["trust"]["checks"]["policy"].update(changed))


def test_a_doubtful_scan_is_uncertain_and_the_exit_code_stays(bundle: Path, scans: Path, tmp_path: Path) -> None:
    answers = {path.name: Classifier(bundle).classify(path) for path in sorted(scans.glob("*.png"))}
    surest = {name: max(answer.probabilities.values()) for name, answer in answers.items()}
    limit = float(np.median(list(surest.values())))
    policy(bundle, least_probability=limit)
    plain = sonoforge("classify", scans, "--bundle", bundle, "--json")
    assert [entry["label"] for entry in plain.json["results"]] == [answer.label for answer in answers.values()]
    assert plain.json["summary"]["verdicts"]["uncertain"] == 0

    table = tmp_path / "a.csv"
    done = sonoforge("classify", scans, "--bundle", bundle, "--json", "--abstain", "--csv", table)
    assert done.code == 0
    expected = [
        answer.label if surest[name] >= limit and not answer.trust.causes else "uncertain"
        for name, answer in answers.items()
    ]
    assert 0 < expected.count("uncertain") < 8
    assert [entry["label"] for entry in done.json["results"]] == expected
    assert done.json["summary"]["verdicts"]["uncertain"] == expected.count("uncertain")
    assert [entry["verdict"] == "uncertain" for entry in done.json["results"]] == [
        label == "uncertain" for label in expected
    ]
    for entry in done.json["results"]:
        improbable = f"has {surest[Path(entry['file']).name]:.0%}, and this bundle answers from {limit:.0%} on"
        reasons = "; ".join(entry["trust"]["reasons"]) or f"its most probable class {improbable}"
        assert entry["abstained"] == (reasons if entry["label"] == "uncertain" else "")
    assert [row["label"] for row in csv.DictReader(table.open(encoding="utf-8"))] == expected
    assert [entry["probabilities"] for entry in done.json["results"]] == [a.probabilities for a in answers.values()]


def test_a_bundle_may_abstain_unasked_and_the_page_says_so(
    bundle: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_page, "MOST_PICTURES", 5)
    policy(bundle, always=True, least_probability=1.0)
    done = sonoforge("classify", scans, "--bundle", bundle, "--html", tmp_path / "page.html")
    assert done.code == 0, done.err
    assert done.out.count("uncertain ") == 8
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count("Uncertain: no answer") == 8 + 5


def test_a_scan_held_upside_down_is_named(bundle: Path, tmp_path: Path) -> None:
    fading = np.linspace(0.2, 1, 90)[:, None] * factory.scan(3)
    Image.fromarray(fading.astype(np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(fading[::-1].astype(np.uint8)).save(tmp_path / "b.png")
    done = sonoforge("classify", tmp_path / "a.png", tmp_path / "b.png", "--bundle", bundle, "--json")
    turned, upright = (entry["trust"] for entry in done.json["results"])
    assert "poor scan" in turned["causes"]
    assert any("upside down" in reason for reason in turned["reasons"])
    assert not any("upside down" in reason for reason in upright["reasons"])


EDITS: dict[str, tuple[Any, str]] = {
    "unknown": (lambda c: c.update(mood=1), "trust.checks: unknown key 'mood'"),
    "missing": (lambda c: c.pop("contact"), "trust.checks: contact is missing"),
    "no grain": (lambda c: c.pop("grain"), "trust.checks: grain is missing"),
    "grain": (lambda c: c.update(grain=0), "trust.checks.grain: "),
    "colour": (lambda c: c.update(colour=None), "trust.checks.colour: "),
    "order": (lambda c: c["neighbours"].update(median=9.0), "trust.checks.neighbours: "),
    "foreign": (lambda c: c.update(foreign=0.1), "expected trust.threshold"),
    "weights": (lambda c: c.update(upright=[1.0]), "expected 28 numbers"),
    "a weight": (lambda c: c.update(upright=[1e9] * 28), "no number beyond"),
    "share": (lambda c: c.update(contact=2), "trust.checks.contact: "),
    "always": (lambda c: c["policy"].update(always=1), "policy.always: "),
    "probability": (lambda c: c["policy"].update(least_probability=7), "least_probability: "),
    "source": (lambda c: c.update(source=""), "trust.checks.source"),
}


@pytest.mark.parametrize("case", EDITS)
def test_limits_that_are_not_understood_are_refused(bundle: Path, case: str) -> None:
    edit, expected = EDITS[case]
    factory.edit_manifest(bundle, lambda raw: edit(raw["trust"]["checks"]))
    done = sonoforge("classify", "x.png", "--bundle", bundle)
    assert done.code == 2
    assert expected in done.err


def test_a_bundle_without_limits_is_refused(bundle: Path) -> None:
    factory.edit_manifest(bundle, lambda raw: raw["trust"].pop("checks"))
    done = sonoforge("classify", "x.png", "--bundle", bundle)
    assert done.code == 2
    assert "trust: checks is missing" in done.err


def test_a_reference_of_points_on_other_axes_is_refused(bundle: Path) -> None:
    arrays = dict(np.load(bundle / "reference.npz"))
    arrays["neighbour_points"] = arrays["neighbour_points"][:, :7]
    factory.replace_file(bundle, "reference.npz", factory.npz(**arrays))
    done = sonoforge("classify", "x.png", "--bundle", bundle)
    assert done.code == 2
    assert "points have 7 numbers" in done.err
