"""Local features: those of a mirror image and of a negative are permutations, found without looking again."""

from __future__ import annotations

import numpy as np
import pytest

from scans import draw_scan
from sonoforge.training.copies.local_features import LOOKS, Look, extract_features


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


def test_a_blank_picture_has_none() -> None:
    features = extract_features(np.full((60, 80), 7, np.uint8))
    assert len(features.points) == len(features.descriptors) == 0
    assert (features.width, features.height) == (256, 192)
