"""The page's decision and trust: by definitions of their own in numpy, and as Python decides."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bundle_factory as factory
from page_scripts import run_script
from sonoforge.runtime.bundle.classification import Site, TailLimits, read_trust
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.inference.decision import decide, read_clinic
from sonoforge.runtime.inference.trust import (
    Evidence,
    NeighbourReference,
    TrustReference,
    assess,
    mahalanobis_distances,
    neighbour_distances,
)

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


def test_at_a_site_the_page_trusts_scans_as_far_out_as_the_site_s(tmp_path: Path) -> None:
    """On one axis: limits of the training are 10 and .5, so those of the site at a reach of 1.2 are 12 and .6."""
    folder = factory.write_bundle(tmp_path / "b")
    raw = open_bundle(folder).manifest.raw
    raw["trust"] |= {"median": 5.0, "threshold": 10.0}
    raw["trust"]["checks"] |= {"foreign": 30.0, "neighbours": {"median": 0.2, "threshold": 0.5}, "upright": [0.0] * 28}
    raw["site"] = {"reach": 1.2}
    gaussian = TrustReference(*(np.array(a, np.float32) for a in ([0, 0, 0], [[1], [0], [0]], [1])))
    near = NeighbourReference(*(np.array(a, np.float32) for a in ([0, 0, 0], np.eye(3), [[1, 0, 0], [1, 0, 0]])))
    arrays = {**_named("trust", vars(gaussian)), **_named("neighbour", vars(near))}
    reference = {name: {"data": a.ravel().tolist(), "shape": a.shape} for name, a in arrays.items()}
    embeddings = np.random.default_rng(1).normal(size=(400, 3)) * [3, 2, 2] + [9, 0, 0]
    asked = {
        "manifest": raw,
        "reference": reference,
        "embeddings": embeddings.tolist(),
        "pixels": [128] * (28 * 28 * 3),
    }
    answers: list[dict[str, Any]] = run_script("assess.mjs", asked, tmp_path)
    site = Site(dict.fromkeys(factory.CLASSES, 1 / 3), {}, 10, (), (), 1.2)
    limits = replace(
        open_bundle(folder).manifest, trust=TailLimits(5.0, 10.0), checks=read_trust(raw["trust"])[1], site=site
    )
    seen = Counter[tuple[bool, bool]]()
    distances = mahalanobis_distances(embeddings.astype(np.float32), gaussian)
    neighbours = neighbour_distances(embeddings.astype(np.float32), near)
    for d, k, found in zip(distances.tolist(), neighbours.tolist(), answers, strict=True):
        evidence = Evidence(d, k, upright=0.0, dark=0.0, white=0.0, grain=None, flags=(), colour=0.0)
        own = assess(evidence, limits)
        assert (found["causes"], found["reasons"]) == ([cause.value for cause in own.causes], list(own.reasons))
        assert found["score"] == pytest.approx(own.score, rel=1e-6)
        assert found["in_distribution"] is own.in_distribution is (max(d / 10, k / 0.5) <= 1.2)
        seen[max(d / 10, k / 0.5) <= 1, own.in_distribution] += 1
    assert min(seen[True, True], seen[False, True], seen[False, False]) > 20


def _named(prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}_{name}": array for name, array in arrays.items()}
