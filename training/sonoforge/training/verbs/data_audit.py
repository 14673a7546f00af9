"""``data audit``: look at a data set before anything is trained on it."""

from __future__ import annotations

import logging
import shlex
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from sonoforge.runtime.atomic import write_text
from sonoforge.runtime.cli.options import Outcome, option
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.audit import Audit, audit
from sonoforge.training.data.load import ImageSource, load_images
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
    """Audit a data set; the result is an `Audit`."""
    if config.html and Path(config.html).is_dir():
        raise SonoforgeError(f"--html: {config.html} is a folder, expected a file name such as audit.html")
    cache = load_images(ImageSource(config.data, config.images, config.seed, config.cache))
    result = audit(cache)
    log.info("%s", _describe(result))
    if config.html:
        write_text(config.html, audit_page_html(result, cache))
        log.info("pictures of the clusters: %s", config.html)
    return Outcome({**result}, f"sonoforge crossval --data {shlex.quote(config.data)}")


def _describe(result: Audit) -> str:
    """Return the result as tables for a terminal."""
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
    for counted in found["sensitivity"]:
        style = "bold" if counted["threshold"] == found["threshold"] else ""
        sensitivity.add_row(*map(str, counted.values()), style=style)
    tables = (counts, "\n".join(lines), *((mixed,) if mixed.row_count else ()), sensitivity)
    return as_text(*tables)
