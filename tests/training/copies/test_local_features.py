"""Local features: those of a mirror image and of a negative are permutations, found without looking again."""

from __future__ import annotations

import numpy as np
import pytest

from scans import draw_scan
from sonoforge.training.copies.local_features import LOOKS, Look, extract_features, extract_halved
from sonoforge.training.copies.pictures import fit


@pytest.mark.parametrize("look", [look for look in LOOKS if any(look)])
def test_the_features_of_a_look_are_those_of_the_picture_looked_at_so(look: Look) -> None:
    picture = draw_scan(3, 256)
    shown = 255 - picture if look.inverted else picture
    shown = np.ascontiguousarray(shown[:, ::-1]) if look.mirrored else shown
    derived, measured = extract_features(picture).seen(look), extract_features(shown)
    distance = np.linalg.norm(
        derived.descriptors[:, None].astype(float) - measured.descriptors[None].astype(float), axis=2
    )
    nearest = distance.argmin(axis=1)
    # SIFT halves a picture by every second column, from the left, so coarse features of a mirror image differ a little.
    close = distance.min(axis=1) < 150
    assert close.mean() > 0.75
    unchanged = extract_features(picture).descriptors[:, None].astype(float) - measured.descriptors[None]
    assert (np.linalg.norm(unchanged, axis=2).min(axis=1) < 150).mean() < 0.25
    where = np.linalg.norm(derived.points - measured.points[nearest], axis=1)
    turn = np.angle(np.exp(1j * (derived.angles - measured.angles[nearest])))
    assert np.quantile(where[close], 0.9) < 3.0
    assert np.quantile(np.abs(turn[close]), 0.9) < 0.3


def test_the_features_of_an_enlarged_picture_lie_where_they_did_when_found_at_half_its_size() -> None:
    enlarged = fit(draw_scan(3, 64))
    halved, whole = extract_halved(enlarged), extract_features(enlarged)
    assert (halved.width, halved.height) == (whole.width, whole.height) == enlarged.shape
    descriptors = halved.descriptors[:, None].astype(float) - whole.descriptors[None].astype(float)
    distance = np.linalg.norm(descriptors, axis=2)
    close, nearest = distance.min(axis=1) < 150, distance.argmin(axis=1)
    assert close.mean() > 0.5
    where = (halved.points - whole.points[nearest])[close]
    # OpenCV places all features a quarter of a pixel too far, of the half here as of the whole.
    assert np.median(where, axis=0) == pytest.approx([0.25, 0.25], abs=0.1)
    assert np.quantile(np.linalg.norm(where, axis=1), 0.75) < 2.0
    sizes = (halved.sizes / whole.sizes[nearest])[close]
    assert 0.9 < np.median(sizes) < 1.1


def test_a_blank_picture_has_none() -> None:
    features = extract_features(np.full((60, 80), 7, np.uint8))
    assert len(features.points) == len(features.descriptors) == 0
    assert (features.width, features.height) == (256, 192)
