"""A part of some images, drawn by whole groups."""

from __future__ import annotations

import numpy as np

from sonoforge.training.data.selection import draw_share


def scans() -> tuple[np.ndarray, np.ndarray]:
    """Three classes in groups of one to five, two of them of mixed classes."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), rng.integers(1, 6, 200))
    labels = np.array([0] * 120 + [1] * 50 + [2] * 30)[groups]
    labels[np.flatnonzero(groups == 5)[:1]] = 1
    labels[np.flatnonzero(groups == 180)[:1]] = 0
    order = rng.permutation(len(groups))
    return labels[order], groups[order]


def test_shares_are_whole_groups_nested_and_stratified() -> None:
    labels, groups = scans()
    for seed in range(5):
        inner: set[int] = set()
        for share in (0.1, 0.25, 0.5, 0.75, 1.0):
            drawn = draw_share(labels, groups, share, seed)
            assert np.array_equal(drawn, np.unique(drawn)) and inner <= set(drawn.tolist())
            inner = set(drawn.tolist())
            outside = np.setdiff1d(np.arange(len(labels)), drawn)
            assert not set(groups[drawn]) & set(groups[outside])
            found = np.bincount(labels[drawn], minlength=3)
            # To within half of the largest group, and an image of a mixed one.
            assert np.all(np.abs(found - share * np.bincount(labels)) <= 3.5)
    assert len(inner) == len(labels)
    assert not np.array_equal(draw_share(labels, groups, 0.5, 0), draw_share(labels, groups, 0.5, 1))


def test_the_smallest_share_has_a_group_of_every_class() -> None:
    labels, groups = scans()
    drawn = draw_share(labels, groups, 0.001, 0)
    assert set(labels[drawn]) == {0, 1, 2} and len(np.unique(groups[drawn])) == 3
