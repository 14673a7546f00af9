"""What a data set holds: counts, sizes, unreadable files, and which images show the same scan."""

from __future__ import annotations

from collections import Counter
from typing import TypedDict

import numpy as np

from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.duplicates import threshold_sensitivity
from sonoforge.training.data.splits import scan_groups


class ClassCounts(TypedDict):
    """Of one class; ``groups`` counts different scans, or patients where they are known."""

    images: int
    masks: int
    images_with_several_masks: int
    groups: int


class Sizes(TypedDict):
    """[width, height], each side on its own, and the number of different sizes."""

    smallest: list[int]
    median: list[int]
    largest: list[int]
    different: int


class Pair(TypedDict):
    """Two files that show the same scan."""

    first: str
    second: str
    correlation: float
    mirrored: bool
    same_pixels: bool


class Cluster(TypedDict):
    """Files that show the same scan; ``mixed``: their labels differ; ``same_pixels``: two of them are equal."""

    files: list[str]
    labels: list[str]
    mixed: bool
    same_pixels: bool
    pairs: list[Pair]


class DuplicateCounts(TypedDict):
    """Numbers of groups and clusters; ``shares_layout``: all images share an outline, and the groups mean nothing.

    ``sensitivity`` gives the counts at other thresholds, see `duplicates.Sensitivity`.
    """

    threshold: float
    groups: int
    clusters: int
    images_in_clusters: int
    largest_cluster: int
    mixed_label_clusters: int
    same_pixels: int
    shares_layout: bool
    sensitivity: list[dict[str, float]]


class Audit(TypedDict):
    """A data set, ready for JSON.

    ``modes`` counts images of ``L``, ``RGB`` and ``RGB grey`` (three equal channels); ``given_groups`` those of
    groups.csv, None without; ``unreadable`` has a message for each file that was left out; ``clusters`` come mixed
    labels first, then the largest.
    """

    name: str
    root: str
    fingerprint: str
    images: int
    masks: int
    classes: dict[str, ClassCounts]
    sizes: Sizes
    modes: dict[str, int]
    given_groups: int | None
    unreadable: dict[str, str]
    duplicates: DuplicateCounts
    clusters: list[Cluster]


def audit(cache: ImageCache) -> Audit:
    """Describe a data set."""
    items, classes, labels = cache.dataset.items, cache.dataset.classes, cache.dataset.labels
    found = cache.duplicates
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
        "unreadable": cache.unreadable,
        "duplicates": {
            "threshold": found.threshold,
            "groups": int(found.groups.max()) + 1,
            "clusters": len(clusters),
            "images_in_clusters": sum(len(cluster["files"]) for cluster in clusters),
            "largest_cluster": max((len(cluster["files"]) for cluster in clusters), default=1),
            "mixed_label_clusters": sum(cluster["mixed"] for cluster in clusters),
            "same_pixels": sum(cluster["same_pixels"] for cluster in clusters),
            "shares_layout": found.shares_layout,
            "sensitivity": [row._asdict() for row in threshold_sensitivity(found, labels)],
        },
        "clusters": clusters,
    }


def _clusters(cache: ImageCache) -> list[Cluster]:
    """Describe every cluster, mixed labels first, then the largest."""
    items, classes, pairs = cache.dataset.items, cache.dataset.classes, cache.duplicates.pairs
    groups = cache.duplicates.groups
    pairs_of: dict[int, list[Pair]] = {}
    for a, b, correlation, mirrored in zip(*pairs, strict=True):
        pair: Pair = {
            "first": items[a].path,
            "second": items[b].path,
            "correlation": round(float(correlation), 4),
            "mirrored": bool(mirrored),
            "same_pixels": cache.hashes[a] == cache.hashes[b],
        }
        pairs_of.setdefault(int(groups[a]), []).append(pair)
    clusters: list[Cluster] = []
    for members in cache.duplicates.clusters:
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
