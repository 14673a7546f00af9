"""The page of a data audit: what the set holds, and every cluster of repeated scans side by side."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.training.data.audit import Audit
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.patients import without_patients
from sonoforge.training.reports import blocks
from sonoforge.training.reports.pictures import cluster_blocks
from sonoforge.training.reports.terminal import plain_table, table_text
from sonoforge.training.reports.texts import read_texts
from sonoforge.training.statistics.wording import counted, share

TEXTS = read_texts("audit")
_MANY = 16  # classes of a table that scrolls
_MODES = {"L": "grey", "RGB": "colour", "RGB grey": "colour, all grey"}
_BAR = Markup('{}<span class="bar" style="background: {}; width: {:.1f}%"></span>')


def write_audit(path: Path, audit: Audit, cache: ImageCache) -> Path:
    """Write the whole audit as a page that can be sent to whoever knows the data."""
    found, unreadable = audit["duplicates"], len(audit["unreadable"])
    facts = (
        blocks.Fact("Different scans", found["groups"], "near-duplicates count once"),
        blocks.Fact(
            "Images in clusters of repeated scans",
            found["images_in_clusters"],
            f"in {counted(found['clusters'], 'cluster')}",
        ),
        blocks.Fact(
            "Clusters with mixed labels",
            found["mixed_label_clusters"],
            "one scan, different labels",
            found["mixed_label_clusters"] > 0,
        ),
        blocks.Fact("Unreadable files", unreadable, "left out", unreadable > 0),
        blocks.Fact("Masks", audit["masks"], "outlines of lesions"),
    )
    sections = [_contents(audit), _repeated(audit, cache)]
    if unreadable:
        sections.insert(
            0, blocks.Section("unreadable", "Unreadable files", [blocks.Bullets(list(audit["unreadable"].values()))])
        )
    page = blocks.Page(
        title=f"Data audit: {audit['name']}",
        meta=f"sonoforge data audit · {audit['root']}",
        heading=f"{audit['name']}: {counted(audit['images'], 'image')} in "
        + counted(len(audit["classes"]), "class", "classes"),
        summary=[*patient_warning(audit), blocks.Facts(facts)],
        sections=sections,
    )
    return page.write(path)


def patient_warning(audit: Audit) -> list[blocks.Block]:
    """Warn that no patients are known, with what the names suggest."""
    if audit["given_groups"] is not None:
        return []
    said = without_patients(audit["images"], audit["duplicates"]["groups"], audit["proposed_groups"])
    return [blocks.Answer("open", "Whose images are these?", "No patients are named", [blocks.Text(said)])]


def _contents(audit: Audit) -> blocks.Section:
    said = Markup("Fingerprint of all contents and labels: {}").format(blocks.fingerprint(audit["fingerprint"]))
    tables = blocks.Grid([count_table(audit), file_table(audit)])
    return blocks.Section("contents", "What the set contains", [blocks.Text(said, "meta"), tables])


def count_table(audit: Audit) -> blocks.Table:
    """Show all that is counted of each class."""
    rows = [
        (
            _BAR.format(
                name, blocks.class_colour(list(audit["classes"]), number), 100 * own["images"] / audit["images"]
            ),
            own["images"],
            share(own["images"] / audit["images"]),
            own["groups"],
            own["masks"],
            own["images_with_several_masks"],
        )
        for number, (name, own) in enumerate(audit["classes"].items())
    ]
    head = ("class", "images", "share", "different scans", "masks", "with several masks")
    return class_table(head, rows)


def _repeated(audit: Audit, cache: ImageCache) -> blocks.Section:
    found = audit["duplicates"]
    contain = "contains" if found["same_pixels"] == 1 else "contain"
    said = TEXTS["repeated"].format(
        alike=alike(audit),
        same_pixels=f"{counted(found['same_pixels'], 'cluster')} {contain}",
        largest=counted(found["largest_cluster"], "image"),
    )
    cards = cluster_blocks(audit["clusters"], cache) or [blocks.Text("No repeated scans were found.")]
    return blocks.Section("repeated", "Repeated scans", [blocks.Text(said), *cards])


# ---- what the report of a run shows, too


def class_table(head: Sequence[str], rows: Sequence[blocks.Cells]) -> blocks.Table:
    """Show what there is of each class."""
    return blocks.Table("Images by class", head, rows, TEXTS["classes"], tall=len(rows) > _MANY)


def file_table(audit: Audit) -> blocks.Table:
    """Show sizes and kinds of the files."""
    sizes = audit["sizes"]
    ends = {"smallest": sizes["smallest"], "median": sizes["median"], "largest": sizes["largest"]}
    rows = [(f"{name} width × height", " × ".join(map(str, sides))) for name, sides in ends.items()]
    rows += [("different sizes", str(sizes["different"]))]
    rows += [(f"stored as {_MODES.get(mode, mode)}", str(count)) for mode, count in audit["modes"].items()]
    rows += [(remark, str(count)) for remark, count in audit["remarks"].items()]
    rows += [("groups given with the data", str(audit["given_groups"] or "none"))]
    return blocks.Table("Sizes and kinds of the files", (), rows)


def alike(audit: Audit) -> Markup:
    """Say when two images count as one scan."""
    return TEXTS["alike"].format(threshold=audit["duplicates"]["threshold"])


def log_audit(result: Audit) -> None:
    """Print the result as tables."""
    found = result["duplicates"]
    tell(f"{result['name']}: {result['images']} images, {result['masks']} masks")
    if result["given_groups"] is None:
        tell(f"warning: {without_patients(result['images'], found['groups'], result['proposed_groups'])}")
    say("%s", table_text(count_table(result)))
    say("%s", table_text(file_table(result)))
    for message in result["unreadable"].values():
        tell(f"unreadable: {message}")
    tell(
        f"near-duplicates (score {found['threshold']} or more): {found['clusters']} clusters "
        f"over {found['images_in_clusters']} images, the largest of {found['largest_cluster']}; "
        f"{found['same_pixels']} with equal pixels, {found['mixed_label_clusters']} with mixed labels; "
        f"{found['groups']} groups in all"
    )
    mixed = []
    for cluster in result["clusters"]:
        if cluster["mixed"]:
            lowest = min(pair["correlation"] for pair in cluster["pairs"])
            equal = " (equal pixels)" if cluster["same_pixels"] else ""
            mixed.append(("\n".join(cluster["files"]), f"{lowest:.2f}{equal}"))
    if mixed:
        say("%s", plain_table(("one scan, two answers", "correlation"), mixed))
    other = result["against"]
    if other is not None:
        pairs = counted(len(other["pairs"]), "pair")
        tell(f"{pairs} of one scan with {other['name']} (score {other['threshold']} or more)")
        rows = []
        for pair in other["pairs"]:
            equal = " (equal pixels)" if pair["same_pixels"] else ""
            rows.append((pair["first"], pair["second"], f"{pair['score']:.1f}", f"{pair['correlation']:.2f}{equal}"))
        if rows:
            say("%s", plain_table(("here", "there", "score", "correlation"), rows))
