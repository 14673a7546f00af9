"""The page's decision: by a definition of its own in numpy, and as Python decides."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from page_scripts import run_script
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.inference.decision import decide, read_clinic

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")

CLINICS = (("", 0.95), ("screening", 0.8), ("normal=.2,benign=.7,malignant=.1", 0.98))


def test_the_page_decides_by_bayes_theorem_and_as_python_does(tmp_path: Path) -> None:
    manifest = open_bundle().manifest
    rng = np.random.default_rng(0)
    said = np.concatenate([rng.dirichlet((0.5, 0.5, 0.5), 300), np.full((1, 3), 1 / 3), [[0.0, 0.0, 1.0]]])
    clinics = [read_clinic(*told, manifest) for told in CLINICS]
    cases = [(row, clinic) for clinic in clinics for row in said]
    asked = [[row.tolist(), manifest.raw, clinic.to_dict()] for row, clinic in cases]
    answers: list[dict[str, Any]] = run_script("decide.mjs", asked, tmp_path)
    reference = np.array([manifest.reference[name] for name in manifest.classes])
    sets, positives = set(), set()
    for (row, clinic), found in zip(cases, answers, strict=True):
        own = decide(dict(zip(manifest.classes, row.tolist(), strict=True)), manifest, clinic)
        assert (found["label"], tuple(found["set"])) == (own.label, own.set)
        assert {name: one["positive"] for name, one in found["findings"].items()} == {
            name: finding.positive for name, finding in own.findings.items()
        }
        # Bayes' theorem: a class's density of this scan, up to one factor, times the class's share here.
        normal, benign, malignant = row / reference * [clinic.prevalence[name] for name in manifest.classes]
        whole = normal + benign + malignant
        expected = dict(zip(manifest.classes, (normal / whole, benign / whole, malignant / whole), strict=True))
        assert found["probabilities"] == pytest.approx(expected, abs=1e-12)
        assert found["findings"]["lesion"]["probability"] == pytest.approx(1 - normal / whole, abs=1e-12)
        if benign + malignant > 0:
            share = malignant / (benign + malignant)
            assert found["findings"]["malignant"]["probability"] == pytest.approx(share, abs=1e-12)
        sets.add(len(found["set"]))
        positives.add(tuple(one["positive"] for one in found["findings"].values()))
    assert {1, 2} <= sets
    assert len(positives) >= 3


def test_without_questions_there_are_no_findings_and_of_equal_classes_the_first_is_named(tmp_path: Path) -> None:
    manifest = {
        "classes": ["a", "b"],
        "decision": {"reference": {"a": 0.25, "b": 0.75}, "questions": []},
        "conformal": {"thresholds": {"a": 0.3, "b": 0.6}},
    }
    clinic = {"prevalence": {"a": 0.5, "b": 0.5}, "sensitivity": 0.95}
    (found,) = run_script("decide.mjs", [[[0.25, 0.75], manifest, clinic]], tmp_path)
    assert found == {"probabilities": {"a": 0.5, "b": 0.5}, "label": "a", "set": ["a"], "findings": {}}
