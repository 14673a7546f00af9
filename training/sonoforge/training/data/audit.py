"""What a data set holds: counts, sizes, unreadable files, and which images show the same scan."""

from collections import Counter
from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from sonoforge.training.copies.matches import Match
from sonoforge.training.copies.near_duplicates import threshold_sensitivity
from sonoforge.training.copies.planting import measure_recall
from sonoforge.training.copies.search import match_pictures, null_limit, prepare
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.splits import scan_groups
from sonoforge.training.statistics.results import Interval


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
    """Two files that show the same scan.

    ``overlap`` is a share of the smaller image; ``scale`` (over both images fitted to one longest side) and ``degrees``
    take the first to the second.
    """

    first: str
    second: str
    score: float
    correlation: float
    overlap: float
    scale: float
    degrees: float
    mirrored: bool
    inverted: bool
    same_pixels: bool


class Cluster(TypedDict):
    """Files that show the same scan; ``mixed``: their labels differ; ``same_pixels``: two of them are equal."""

    files: list[str]
    labels: list[str]
    mixed: bool
    same_pixels: bool
    pairs: list[Pair]


class DuplicateCounts(TypedDict):
    """Numbers of groups and clusters.

    ``threshold`` is the score from which two images count as one scan, see `copies.search.null_limit`;
    ``sensitivity`` gives the counts at other thresholds, see `near_duplicates.Sensitivity`.
    """

    threshold: float
    groups: int
    clusters: int
    images_in_clusters: int
    largest_cluster: int
    mixed_label_clusters: int
    same_pixels: int
    sensitivity: list[dict[str, float]]


class Planted(TypedDict):
    """Copies of one kind that were planted in the set, and those found; see `copies.planting.PlantedRow`."""

    kind: str
    planted: int
    found: int
    recall: Interval


class Against(TypedDict):
    """Images that this set (``first``) shares with another one (``second``)."""

    name: str
    root: str
    images: int
    threshold: float
    pairs: list[Pair]


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
    planted: list[Planted]
    against: Against | None


def audit(cache: ImageCache, plant: int = 0, against: ImageCache | None = None) -> Audit:
    """Describe a data set, and find images that are in another set as well.

    So many copies of each kind are planted, to measure what is found; 0: not measured, an empty list.
    """
    items, classes, labels = cache.dataset.items, cache.dataset.classes, cache.dataset.labels
    found = cache.near_duplicates
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
            "threshold": round(found.threshold, 1),
            "groups": int(found.groups.max()) + 1,
            "clusters": len(clusters),
            "images_in_clusters": sum(len(cluster["files"]) for cluster in clusters),
            "largest_cluster": max((len(cluster["files"]) for cluster in clusters), default=1),
            "mixed_label_clusters": sum(cluster["mixed"] for cluster in clusters),
            "same_pixels": sum(cluster["same_pixels"] for cluster in clusters),
            "sensitivity": [row._asdict() for row in threshold_sensitivity(found, labels)],
        },
        "clusters": clusters,
        "planted": _planted(cache, plant) if plant else [],
        "against": None if against is None else _against(cache, against),
    }


def _planted(cache: ImageCache, count: int) -> list[Planted]:
    rows = measure_recall(cache.pictures, cache.near_duplicates.threshold, count, title="looking for planted copies")
    return [{"kind": row.kind, "planted": row.planted, "found": row.found, "recall": row.recall} for row in rows]


def _against(cache: ImageCache, other: ImageCache) -> Against:
    """Compare two sets; the higher limit of both counts, or that of the pairs between them."""
    measured = match_pictures(prepare(cache.pictures), prepare(other.pictures), "comparing the two sets")
    threshold = max(null_limit(measured, len(other.pictures)), cache.near_duplicates.threshold)
    found = measured.confirmed(threshold)
    names = [item.path for item in cache.dataset.items], [item.path for item in other.dataset.items]
    return {
        "name": other.dataset.name,
        "root": str(other.dataset.root),
        "images": len(other.pictures),
        "threshold": round(threshold, 1),
        "pairs": [
            _pair(match, names, same_pixels=cache.hashes[match.first] == other.hashes[match.second])
            for match in found.take(np.argsort(-found.score, kind="stable")).rows
        ],
    }


def _pair(match: Match, names: tuple[Sequence[str], Sequence[str]], *, same_pixels: bool) -> Pair:
    return {
        "first": names[0][match.first],
        "second": names[1][match.second],
        "score": round(match.score, 1),
        "correlation": round(match.correlation, 4),
        "overlap": round(match.overlap, 2),
        "scale": round(match.scale, 2),
        "degrees": round(match.degrees),
        "mirrored": match.mirrored,
        "inverted": match.inverted,
        "same_pixels": same_pixels,
    }


def _clusters(cache: ImageCache) -> list[Cluster]:
    """Describe every cluster, mixed labels first, then the largest."""
    items, classes = cache.dataset.items, cache.dataset.classes
    groups = cache.near_duplicates.groups
    names = [item.path for item in items]
    pairs_of: dict[int, list[Pair]] = {}
    for match in cache.near_duplicates.pairs.rows:
        pair = _pair(match, (names, names), same_pixels=cache.hashes[match.first] == cache.hashes[match.second])
        pairs_of.setdefault(int(groups[match.first]), []).append(pair)
    clusters: list[Cluster] = []
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
