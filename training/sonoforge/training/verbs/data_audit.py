"""``data audit``: look at a data set before anything is trained on it."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.audit import Audit, audit
from sonoforge.training.data.data_option import data_flags
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.pages.audit import write_audit
from sonoforge.training.terminal import as_text
from sonoforge.training.verbs.settings.data import DataAuditConfig


def main(config: DataAuditConfig) -> Outcome:
    """Audit a data set; the result is an `Audit`."""
    if config.html and Path(config.html).is_dir():
        raise SonoforgeError(f"--html: {config.html} is a folder, expected a file name such as audit.html")
    source = ImageSource(config.data, config.images, config.seed, config.storage.open(), fewest_classes=1)
    cache = load_images(source)
    other = load_images(source._replace(data=(config.against,))) if config.against else None
    result = audit(cache, config.plant, other)
    say("%s", _describe(result))
    if config.html:
        write_audit(Path(config.html), result, cache)
        say("pictures of the clusters: %s", config.html)
    return Outcome({**result}, f"sonoforge crossval {data_flags(config.data)}")


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
        f"near-duplicates (score {found['threshold']} or more): {found['groups']} groups; {found['clusters']} clusters "
        f"over {found['images_in_clusters']} images, the largest of {found['largest_cluster']}; "
        f"{found['same_pixels']} with equal pixels, {found['mixed_label_clusters']} with mixed labels"
    )
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
    extra = ([mixed] if mixed.row_count else []) + _planted(result) + _against(result)
    tables = (counts, "\n".join(lines), *extra, sensitivity)
    return as_text(*tables)


def _planted(result: Audit) -> list[Table]:
    if not result["planted"]:
        return []
    table = Table(title="Planted copies of these images: how many were found")
    for column in ("kind of copy", "planted", "found", "recall", "95 % interval"):
        table.add_column(column, justify="left" if column == "kind of copy" else "right")
    for row in result["planted"]:
        recall = row["recall"]
        interval = f"{recall['low']:.2f} to {recall['high']:.2f}"
        table.add_row(row["kind"], str(row["planted"]), str(row["found"]), f"{recall['value']:.2f}", interval)
    return [table]


def _against(result: Audit) -> list[Table | str]:
    other = result["against"]
    if other is None:
        return []
    count = len(other["pairs"])
    pairs = "pair" if count == 1 else "pairs"
    said = f"{count} {pairs} of one scan with {other['name']} (score {other['threshold']} or more)"
    if not other["pairs"]:
        return [said]
    table = Table(title=said)
    for column in ("here", "there", "score", "correlation"):
        table.add_column(column, justify="right" if column in ("score", "correlation") else "left")
    for pair in other["pairs"]:
        equal = " (equal pixels)" if pair["same_pixels"] else ""
        table.add_row(pair["first"], pair["second"], f"{pair['score']:.1f}", f"{pair['correlation']:.2f}{equal}")
    return [table]
