"""Describe a data set: counts, sizes, unreadable files, and which images show the same scan."""

from collections import Counter

import numpy as np

from sonoforge.training.copies.matches import Found, Match, find_once
from sonoforge.training.copies.near_duplicates import (
    count_repeated,
    match_pictures,
    null_limit,
    prepare,
)
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.patients import propose
from sonoforge.training.data.splits import scan_groups
from sonoforge.training.statistics.results import Record
from sonoforge.training.statistics.smallest_gain import describe_gain

_SEARCH = "two-sets1"  # with a new number, earlier results are not read


def audit(cache: ImageCache, against: ImageCache | None = None) -> Record:
    """Describe a data set, and find images that are in another set as well; ready for JSON.

    ``groups`` counts different scans, or patients where known; widths and heights are separate. ``smallest_gain`` is of
    `describe_gain`, None with a single class.
    """
    items, classes, labels = cache.dataset.items, cache.dataset.classes, cache.dataset.labels
    clusters = _clusters(cache)
    given = {item.group for item in items} - {None}
    units = scan_groups(cache)
    return {
        "name": cache.dataset.name,
        "root": str(cache.dataset.root),
        "fingerprint": cache.fingerprint,
        "images": len(items),
        "masks": sum(len(item.masks) for item in items),
        "classes": {
            name: {
                "images": int((labels == label).sum()),
                "masks": sum(len(item.masks) for item in items if item.label == label),
                "images_with_several_masks": sum(len(i.masks) > 1 for i in items if i.label == label),
                "groups": len(np.unique(units[labels == label])),
            }
            for label, name in enumerate(classes)
        },
        "sizes": {
            "smallest": cache.sizes.min(axis=0).tolist(),
            "median": np.median(cache.sizes, axis=0).astype(int).tolist(),
            "largest": cache.sizes.max(axis=0).tolist(),
            "different": len(np.unique(cache.sizes, axis=0)),
        },
        "modes": dict(sorted(Counter(cache.modes).items())),
        "given_groups": len(given) or None,
        "smallest_gain": describe_gain(len(np.unique(units)), len(items)) if len(classes) > 1 else None,
        "proposed_groups": propose(cache.dataset),
        "unreadable": cache.unreadable,
        "remarks": dict(cache.remarks),
        "duplicates": {
            **count_repeated(cache.near_duplicates, labels),
            "same_pixels": sum(cluster["same_pixels"] for cluster in clusters),
        },
        "clusters": clusters,
        "against": None if against is None else find_in_both(cache, against),
    }


def find_in_both(cache: ImageCache, other: ImageCache) -> Record:
    """Find images of one set in another, at the higher of two limits: the set's own, or from the pairs."""

    def search() -> Found:
        return Found(match_pictures(prepare(cache.pictures), prepare(other.pictures), "comparing the two sets"))

    measured = find_once(cache.store, _SEARCH, (*cache.hashes, "", *other.hashes), search).matches
    threshold = max(null_limit(measured, len(other.pictures)), cache.near_duplicates.threshold)
    found = measured.confirmed(threshold)
    return {
        "name": other.dataset.name,
        "root": str(other.dataset.root),
        "images": len(other.pictures),
        "threshold": round(threshold, 1),
        "pairs": [_pair(match, cache, other) for match in found.take(np.argsort(-found.score, kind="stable")).rows],
    }


def _pair(match: Match, cache: ImageCache, other: ImageCache) -> Record:
    return {
        "first": cache.dataset.items[match.first].path,
        "second": other.dataset.items[match.second].path,
        "score": round(match.score, 1),
        "correlation": round(match.correlation, 4),
        "overlap": round(match.overlap, 2),
        "scale": round(match.scale, 2),
        "degrees": round(match.degrees),
        "mirrored": match.mirrored,
        "inverted": match.inverted,
        "same_pixels": cache.hashes[match.first] == other.hashes[match.second],
    }


def _clusters(cache: ImageCache) -> list[Record]:
    """Describe every cluster, mixed labels first, then the largest."""
    items, classes = cache.dataset.items, cache.dataset.classes
    groups = cache.near_duplicates.groups
    pairs_of: dict[int, list[Record]] = {}
    for match in cache.near_duplicates.pairs.rows:
        pairs_of.setdefault(int(groups[match.first]), []).append(_pair(match, cache, cache))
    clusters: list[Record] = []
    for members in cache.near_duplicates.clusters:
        names = [classes[items[i].label] for i in members]
        own = pairs_of[int(groups[members[0]])]
        clusters.append(
            {
                "files": [items[i].path for i in members],
                "labels": names,
                "mixed": len(set(names)) > 1,
                "same_pixels": any(pair["same_pixels"] for pair in own),
                "pairs": own,
            }
        )
    return sorted(clusters, key=lambda cluster: (not cluster["mixed"], -len(cluster["files"])))
