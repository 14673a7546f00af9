"""Trust against closed forms."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bundle_factory as factory
from sonoforge.runtime.bundle.classification import ClassifierManifest, Site, TailLimits
from sonoforge.runtime.bundle.reader import BundleError, open_bundle
from sonoforge.runtime.inference import trust
from sonoforge.runtime.inference.trust import (
    Cause,
    Evidence,
    NeighbourReference,
    TrustReference,
    assess,
    mahalanobis_distances,
    neighbour_distances,
    read_references,
    why_abstain,
)


def test_distance_is_mahalanobis_with_the_full_covariance() -> None:
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(12, 12)))[0][:, :4]
    variances, residual, mean = np.array([9.0, 4.0, 2.0, 1.5]), 0.6, rng.normal(size=12)
    covariance = axes @ np.diag(variances) @ axes.T + residual**2 * (np.eye(12) - axes @ axes.T)
    reference = TrustReference(
        mean.astype(np.float32), (axes / np.sqrt(variances)).astype(np.float32), np.array([residual], np.float32)
    )
    points = rng.normal(size=(20, 12)) * 3
    found = mahalanobis_distances(points.astype(np.float32), reference)
    inverse = np.linalg.inv(covariance)
    expected = [math.sqrt((point - mean) @ inverse @ (point - mean)) for point in points]
    assert found == pytest.approx(expected, rel=1e-4)


def test_axes_in_half_and_in_single_precision_are_read_alike(tmp_path: Path) -> None:
    folder = factory.write_bundle(tmp_path / "b")
    points = np.random.default_rng(3).normal(size=(20, factory.FEATURES)).astype(np.float32)
    single = mahalanobis_distances(points, read_references(open_bundle(folder))[0])
    arrays = dict(np.load(folder / "reference.npz"))
    assert arrays["trust_components"].dtype == np.float32

    def stored_as(kind: type) -> TrustReference:
        axes = {"trust_components": arrays["trust_components"].astype(kind)}
        factory.replace_file(folder, "reference.npz", factory.npz(**{**arrays, **axes}))
        return read_references(open_bundle(folder))[0]

    half = stored_as(np.float16)
    assert half.components.dtype == np.float32
    assert mahalanobis_distances(points, half) == pytest.approx(single, rel=1e-3)
    with pytest.raises(BundleError, match=r"trust_components: .*float64"):
        stored_as(np.float64)


def test_score_passes_through_the_two_measured_points() -> None:
    limits = TailLimits(median=7.0, threshold=11.0)
    assert trust.tail_probability(7.0, limits) == pytest.approx(0.5)
    assert trust.tail_probability(11.0, limits) == pytest.approx(0.05)
    assert trust.tail_probability(0.0, limits) == 1.0
    assert trust.tail_probability(1e300, limits) == 0.0


def test_score_is_exact_for_weibull_distances() -> None:
    # Rayleigh: P(D > d) = exp(-d^2 / 2)
    limits = TailLimits(median=math.sqrt(2 * math.log(2)), threshold=math.sqrt(2 * math.log(20)))
    for d in (0.1, 0.5, 1.0, 2.0, 4.0):
        assert trust.tail_probability(d, limits) == pytest.approx(math.exp(-d * d / 2))


def manifest(folder: Path) -> ClassifierManifest:
    """Return the manifest of a bundle whose limits are round numbers."""

    def round_numbers(raw: dict[str, Any]) -> None:
        raw["trust"] |= {"median": 30.0, "threshold": 40.0}
        raw["trust"]["checks"] |= {"foreign": 60.0, "neighbours": {"median": 0.2, "threshold": 0.4}, "grain": 0.05}
        raw["trust"]["checks"]["colour"] = 0.2
        raw["quality"] |= {"sharpness": {"low": 40.0, "high": 1e3}, "contrast": {"low": 40.0, "high": 200.0}}

    factory.edit_manifest(factory.write_bundle(folder), round_numbers)
    return open_bundle(folder).manifest


CLEAR = {"sharpness": 100.0, "contrast": 60.0, "saturated": 0.1}
PLAIN = Evidence(35.0, neighbour=0.3, upright=1.0, dark=0.1, quality=CLEAR, grain=0.3, colour=0.1)


EDGE = {"sharpness": 20.0, "contrast": 30.0, "saturated": 0.5}
LIMITS = {"distance": 40.0, "neighbour": 0.4, "upright": 0.0, "dark": 0.5, "quality": EDGE, "grain": 0.0, "colour": 0.2}
CASES: dict[str, tuple[dict[str, Any], tuple[Cause, ...]]] = {
    "ordinary": ({}, ()),
    "at the limits": (LIMITS, ()),
    "farther": ({"distance": 40.01}, (Cause.UNLIKE_TRAINING,)),
    "no neighbour": ({"neighbour": 0.41}, (Cause.UNLIKE_TRAINING,)),
    "foreign": ({"distance": 60.01, "neighbour": 0.9}, (Cause.OTHER_KIND,)),
    "deep grain": ({"distance": 40.01, "grain": 0.049}, (Cause.OTHER_KIND,)),
    "flat grain": ({"distance": 40.01, "grain": 0.05}, (Cause.UNLIKE_TRAINING,)),
    "coloured": ({"colour": 0.21}, (Cause.OTHER_KIND,)),
    "turned": ({"upright": -0.01}, ()),
    "white": ({"quality": CLEAR | {"saturated": 0.51}}, (Cause.POOR_SCAN,)),
    "lifted": ({"dark": 0.51}, (Cause.POOR_SCAN,)),
    "blurred": ({"quality": CLEAR | {"sharpness": 19.9}}, (Cause.POOR_SCAN,)),
    "faint": ({"quality": CLEAR | {"contrast": 29.9}}, (Cause.POOR_SCAN,)),
}


def test_each_cause_is_told_apart_with_its_figures(tmp_path: Path) -> None:
    limits = manifest(tmp_path / "b")
    found = {name: assess(PLAIN._replace(**changed), limits) for name, (changed, _) in CASES.items()}
    for name, (_, causes) in CASES.items():
        assert found[name].causes == causes, name
        assert found[name].in_distribution == (not {Cause.UNLIKE_TRAINING, Cause.OTHER_KIND} & set(causes))
    assert "21% of it is coloured, of scans 20% at most" in found["coloured"].reasons[0]
    assert found["coloured"].score == 0.01
    assert found["turned"].reasons == ("may be upside down",)  # a remark
    assert "upside down" not in " ".join(assess(PLAIN._replace(upright=-1.0, colour=0.21), limits).reasons)
    assert "out of contact: 51%" in found["lifted"].reasons[0]
    assert found["blurred"].reasons == ("poor scan: blurred",)
    assert "grain does not lie flat" in found["deep grain"].reasons[0]
    assert "overexposed: 51%" in found["white"].reasons[0]
    assert found["foreign"].score < found["deep grain"].score < 0.05 < found["ordinary"].score
    assert found["no neighbour"].score < 0.05
    assert found["faint"].score == found["white"].score == pytest.approx(0.01)
    assert found["turned"].score == found["ordinary"].score


def test_the_score_is_the_smaller_tail_and_tells_whether_there_is_a_cause(tmp_path: Path) -> None:
    limits = manifest(tmp_path / "b")
    assert assess(PLAIN, limits).score == trust.tail_probability(0.3, TailLimits(0.2, 0.4))
    far = assess(PLAIN._replace(distance=50.0), limits)
    assert far.score == trust.tail_probability(50.0, TailLimits(30.0, 40.0)) and far.causes
    for changed in ({"distance": 39.9}, {"neighbour": 0.399}, {"dark": 0.5}, {"grain": 0.0}):
        assert assess(PLAIN._replace(**changed), limits).score > 0.05
    for changed in ({"distance": 40.1}, {"neighbour": 0.401}, {"dark": 0.51}, {"colour": 0.21}, {"kind": "two scans"}):
        assert assess(PLAIN._replace(**changed), limits).score < 0.05


def test_it_abstains_for_what_lies_in_them_and_for_doubt(tmp_path: Path) -> None:
    limits = manifest(tmp_path / "b")
    ordinary, lifted = assess(PLAIN, limits), assess(PLAIN._replace(upright=-1.0, dark=1.0), limits)
    assert not why_abstain(ordinary, 0.5, limits)
    assert why_abstain(ordinary, 0.49, limits) == "its most probable class has 49%, and this bundle answers from 50% on"
    assert why_abstain(lifted, 1.0, limits) == "poor scan: out of contact: 100% of the columns without echo"
    assert not why_abstain(assess(PLAIN._replace(upright=-1.0), limits), 1.0, limits)


def test_a_scan_unlike_the_training_may_be_like_the_site_s(tmp_path: Path) -> None:
    """Limits of the training are 40 and .4: at a reach of 1.25, those of the site are 50 and .5."""
    original = manifest(tmp_path / "b")
    site = replace(original, site=Site(dict.fromkeys(original.classes, 1 / 3), {}, 10, (), (), 1.25))
    near, beyond = PLAIN._replace(distance=44.0, neighbour=0.48), PLAIN._replace(distance=44.0, neighbour=0.52)
    assert assess(near, original).causes == assess(beyond, original).causes == (Cause.UNLIKE_TRAINING,)
    found = assess(near, site)
    assert not found.causes and found.in_distribution and not why_abstain(found, 1.0, site)
    expected = trust.tail_probability(0.48, TailLimits(0.25, 0.5))
    assert found.score == pytest.approx(expected) and assess(near, original).score < 0.05 < expected
    (said,) = found.reasons
    assert said.startswith(*assess(near, original).reasons) and "1.20 times" in said and "limit 1.25" in said
    for silent in (near._replace(dark=0.26), near._replace(distance=39.0, grain=0.0)):
        assert assess(silent, site) == assess(silent, original)
        assert assess(silent, site).causes == (Cause.UNLIKE_TRAINING,)
    assert assess(beyond, site).causes == (Cause.UNLIKE_TRAINING,) and not assess(beyond, site).in_distribution
    for foreign in (near._replace(distance=60.01), near._replace(grain=0.0), near._replace(colour=0.3)):
        assert Cause.OTHER_KIND in assess(foreign, site).causes and not assess(foreign, site).in_distribution
    assert len(assess(near._replace(upright=-1.0), site).reasons) == 2 and assess(near, site).in_distribution
    assert assess(PLAIN, site) == assess(PLAIN, original)


def test_neighbour_distance_is_the_plain_mean_over_the_nearest() -> None:
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.normal(size=(20, 6)))[0]
    mean, points = rng.normal(size=20) / 9, rng.normal(size=(40, 6))
    reference = NeighbourReference(mean.astype(np.float32), axes.astype(np.float16), points.astype(np.float16))
    embeddings = rng.normal(size=(7, 20)).astype(np.float32)
    expected, placed = [], []
    for embedding in embeddings.astype(float):
        place = (embedding / np.sqrt(sum(x * x for x in embedding)) - mean) @ axes
        placed.append(place)
        expected.append(sum(sorted(math.dist(place, point) for point in points)[:10]) / 10)
    assert neighbour_distances(embeddings, reference) == pytest.approx(expected, rel=2e-3)
    few = neighbour_distances(embeddings, replace(reference, points=reference.points[:3]))
    assert few[0] == pytest.approx(np.mean([math.dist(placed[0], point) for point in points[:3]]), rel=2e-3)
    longer = neighbour_distances(3 * embeddings, reference)
    assert longer == pytest.approx(neighbour_distances(embeddings, reference), rel=1e-5)
    assert np.isfinite(neighbour_distances(np.zeros((1, 20), np.float32), reference)).all()
