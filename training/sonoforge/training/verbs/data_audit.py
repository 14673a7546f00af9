"""``data audit``: look at a data set before anything is trained on it."""

from __future__ import annotations

import logging
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from sonoforge.runtime.atomic import write_text
from sonoforge.runtime.cli.options import Outcome, option
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.duplicates import threshold_sensitivity
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.splits import scan_groups
from sonoforge.training.pages.audit.page import audit_page_html
from sonoforge.training.terminal import as_text

log = logging.getLogger(__name__)

EXAMPLES = """
sonoforge data audit --data BUSI/                       counts, sizes, near-duplicates as a table
sonoforge data audit --data BUSI/ --html audit.html     the same, with the pictures of every cluster
sonoforge data audit --data BUSI/ --json > audit.json   the same for a program
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``data audit``."""

    data: str = option("phantom", help="folder with one folder for each class, or phantom", metavar="FOLDER")
    html: str = option("", help="also write a self-contained page with the clusters' pictures", metavar="FILE")
    images: int = option(300, help="number of images of the phantom set", limits=(30, None))
    seed: int = option(0, help="seed of the phantom set", limits=(0, None))
    cache: str = option("", help="folder of decoded images (default: $SONOFORGE_CACHE or ~/.cache/sonoforge)")


def main(config: Config) -> Outcome:
    """Audit a data set; the result is that of `audit`."""
    if config.html and Path(config.html).is_dir():
        raise SonoforgeError(f"--html: {config.html} is a folder, expected a file name such as audit.html")
    cache = load_images(ImageSource(config.data, config.images, config.seed, config.cache))
    result = audit(cache)
    log.info("%s", _describe(result))
    if config.html:
        write_text(config.html, audit_page_html(result, cache))
        log.info("pictures of the clusters: %s", config.html)
    return Outcome(result, f"sonoforge crossval --data {shlex.quote(config.data)}")


def audit(cache: ImageCache) -> dict[str, Any]:
    """Describe a data set.

    Returns:
        A JSON-ready object with these keys:

        * ``name``, ``root``, ``fingerprint``; ``images``, ``masks``: counts.
        * ``classes``: for each class its ``images``, ``masks``, ``images_with_several_masks`` and ``groups``
          (different scans, or patients where given).
        * ``sizes``: ``smallest``, ``median``, ``largest`` as [width, height] (each side on its own) and the number
          of ``different`` sizes.
        * ``modes``: images for each of ``L``, ``RGB``, ``RGB grey`` (three equal channels).
        * ``given_groups``: number of groups given by groups.csv, null without.
        * ``unreadable``: message for each file that was left out.
        * ``duplicates``: ``threshold``; ``groups``, ``clusters``, ``images_in_clusters``, ``largest_cluster``,
          ``mixed_label_clusters``: counts; ``same_pixels``: clusters in which two files are equal;
          ``shares_layout``: true where all images share an outline and the groups mean nothing; ``sensitivity``: the
          same counts at other thresholds.
        * ``clusters``: mixed labels first, then the largest: ``files``, ``labels``, ``mixed``, ``same_pixels`` and
          ``pairs``, each with ``first``, ``second``, ``correlation``, ``mirrored``, ``same_pixels``.
    """
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


def _clusters(cache: ImageCache) -> list[dict[str, Any]]:
    """Describe every cluster, mixed labels first, then the largest."""
    items, classes, pairs = cache.dataset.items, cache.dataset.classes, cache.duplicates.pairs
    groups = cache.duplicates.groups
    pairs_of: dict[int, list[dict[str, Any]]] = {}
    for a, b, correlation, mirrored in zip(*pairs, strict=True):
        pair = {
            "first": items[a].path,
            "second": items[b].path,
            "correlation": round(float(correlation), 4),
            "mirrored": bool(mirrored),
            "same_pixels": cache.hashes[a] == cache.hashes[b],
        }
        pairs_of.setdefault(int(groups[a]), []).append(pair)
    clusters = []
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


def _describe(result: dict[str, Any]) -> str:
    """Lay out the result of `audit` for a terminal."""
    counts = Table(title=f"{result['name']}: {result['images']} images, {result['masks']} masks")
    for column in ("class", "images", "groups", "masks", "several masks"):
        counts.add_column(column, justify="left" if column == "class" else "right")
    for name, row in result["classes"].items():
        numbers = (row["images"], row["groups"], row["masks"], row["images_with_several_masks"])
        counts.add_row(name, *map(str, numbers))
    sizes = {key: "x".join(map(str, result["sizes"][key])) for key in ("smallest", "median", "largest")}
    lines = [
        f"pixels: {sizes['smallest']} to {sizes['largest']}, median {sizes['median']}; "
        f"modes: {', '.join(f'{mode} {count}' for mode, count in result['modes'].items())}"
    ]
    lines += [f"unreadable: {message}" for message in result["unreadable"].values()]
    if result["given_groups"]:
        lines.append(f"given groups (groups.csv): {result['given_groups']}")
    found = result["duplicates"]
    lines.append(
        f"near-duplicates at r >= {found['threshold']}: {found['groups']} groups; {found['clusters']} clusters over "
        f"{found['images_in_clusters']} images, the largest of {found['largest_cluster']}; "
        f"{found['same_pixels']} with equal pixels, {found['mixed_label_clusters']} with mixed labels"
    )
    if found["shares_layout"]:
        lines.append("WARNING: the images share one outline; these clusters mean nothing, give groups.csv")
    mixed = Table(title="Clusters with mixed labels: one scan, two answers")
    mixed.add_column("files")
    mixed.add_column("correlation", justify="right")
    for cluster in result["clusters"]:
        if cluster["mixed"]:
            lowest = min(pair["correlation"] for pair in cluster["pairs"])
            equal = " (equal pixels)" if cluster["same_pixels"] else ""
            mixed.add_row("\n".join(cluster["files"]), f"{lowest:.2f}{equal}", end_section=True)
    sensitivity = Table(title="The same at other thresholds")
    for column in found["sensitivity"][0]:
        sensitivity.add_column(column, justify="right")
    for row in found["sensitivity"]:
        style = "bold" if row["threshold"] == found["threshold"] else ""
        sensitivity.add_row(*map(str, row.values()), style=style)
    tables = (counts, "\n".join(lines), *((mixed,) if mixed.row_count else ()), sensitivity)
    return as_text(*tables)
