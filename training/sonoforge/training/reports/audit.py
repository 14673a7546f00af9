"""Write the page of a data audit: what the set holds, and every cluster of repeated scans side by side."""

from markupsafe import Markup

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.patients import without_patients
from sonoforge.training.reports import blocks, pictures, terminal, words
from sonoforge.training.statistics.results import Record
from sonoforge.training.statistics.wording import counted

WORDS = words.Words("audit")
_ENOUGH = "Is the set large enough?"
_MODES = {"L": "grey", "RGB": "colour", "RGB grey": "colour, all grey"}
_BAR = Markup('{}<span class="bar" style="background: {}; width: {:.1f}%"></span>')


def audit_page(audit: Record, cache: ImageCache) -> blocks.Page:
    """Show the whole audit, for whoever knows the data."""
    found, unreadable = audit["duplicates"], audit["unreadable"]
    clusters, mixed = counted(found["clusters"], "cluster"), found["mixed_label_clusters"]
    facts = (
        blocks.Fact("Different scans", found["groups"], "near-duplicates count once"),
        blocks.Fact("Images in clusters of repeated scans", found["images_in_clusters"], f"in {clusters}"),
        blocks.Fact("Clusters with mixed labels", mixed, "one scan, different labels", mixed > 0),
        blocks.Fact("Unreadable files", len(unreadable), "left out", bool(unreadable)),
        blocks.Fact("Masks", audit["masks"], "outlines of lesions"),
    )
    contents = [WORDS.text("fingerprint", "meta", audit=audit), blocks.Grid(content_tables(audit))]
    said = WORDS.text("repeated", found=found, alike=alike(audit))
    cards = pictures.cluster_blocks(audit["clusters"], cache) or [blocks.Text("No repeated scans were found.")]
    left_out = blocks.Section("unreadable", "Unreadable files", [blocks.Bullets(list(unreadable.values()))])
    return blocks.Page(
        title=f"Data audit: {audit['name']}",
        meta=f"sonoforge data audit · {audit['root']}",
        heading=f"{audit['name']}: {counted(audit['images'], 'image')} in "
        + counted(len(audit["classes"]), "class", "classes"),
        summary=[*patient_warning(audit), blocks.Facts(facts), *said_gain(audit["smallest_gain"])],
        sections=[
            *[left_out] * bool(unreadable),
            blocks.Section("contents", "What the set contains", contents),
            blocks.Section("repeated", "Repeated scans", [said, *cards]),
        ],
    )


def patient_warning(audit: Record) -> list[blocks.Block]:
    """Warn that no patients are known, and say what the names suggest."""
    if audit["given_groups"] is not None:
        return []
    said = without_patients(audit["images"], audit["duplicates"]["groups"], audit["proposed_groups"])
    return [blocks.Answer("open", "Whose images are these?", "No patients are named", [blocks.Text(said)])]


def said_gain(found: Record | None) -> list[blocks.Block]:
    """Print the sentence of `describe_gain`, as a warning if the set is too small; nothing without it."""
    if found is None:
        return []
    said = blocks.Text(found["says"])
    return [said if found["large_enough"] else blocks.Answer("open", _ENOUGH, "Probably not", [said])]


def content_tables(audit: Record) -> list[blocks.Table]:
    """Show each class's contents, and the sizes and kinds of files."""
    names = list(audit["classes"])
    rows = []
    for place, (name, own) in enumerate(audit["classes"].items()):
        bar = _BAR.format(name, blocks.class_colour(names, place), 100 * own["images"] / audit["images"])
        rows.append({**own, "name": bar})
    sizes = audit["sizes"]
    files = [
        *((f"{end} width × height", " × ".join(map(str, sizes[end]))) for end in ("smallest", "median", "largest")),
        ("different sizes", sizes["different"]),
        *((f"stored as {_MODES.get(mode, mode)}", count) for mode, count in audit["modes"].items()),
        *audit["remarks"].items(),
        ("groups given with the data", audit["given_groups"] or "none"),
    ]
    return [WORDS.table("classes", rows, audit=audit), WORDS.table("files", files)]


def alike(audit: Record) -> Markup:
    """Say when two images count as the same scan."""
    return WORDS("alike", threshold=audit["duplicates"]["threshold"])


def log_audit(result: Record) -> None:
    """Print the result as tables."""
    found = result["duplicates"]
    tell(f"{result['name']}: {result['images']} images, {result['masks']} masks")
    if result["given_groups"] is None:
        tell(f"warning: {without_patients(result['images'], found['groups'], result['proposed_groups'])}")
    for table in content_tables(result):
        say("%s", terminal.table_text(table))
    for message in result["unreadable"].values():
        tell(f"unreadable: {message}")
    tell(WORDS.plain("clusters_line", found=found))
    mixed = []
    for cluster in result["clusters"]:
        if cluster["mixed"]:
            lowest = min(pair["correlation"] for pair in cluster["pairs"])
            mixed.append(("\n".join(cluster["files"]), f"{lowest:.2f}{_equal(cluster['same_pixels'])}"))
    if mixed:
        say("%s", terminal.plain_table(("one scan, two answers", "correlation"), mixed))
    if result["smallest_gain"] is not None:
        tell(result["smallest_gain"]["says"])
    other = result["against"]
    if other is not None:
        pairs = counted(len(other["pairs"]), "pair")
        tell(f"{pairs} of one scan with {other['name']} (score {other['threshold']} or more)")
        rows = []
        for pair in other["pairs"]:
            correlation = f"{pair['correlation']:.2f}{_equal(pair['same_pixels'])}"
            rows.append((pair["first"], pair["second"], f"{pair['score']:.1f}", correlation))
        if rows:
            say("%s", terminal.plain_table(("here", "there", "score", "correlation"), rows))


def _equal(same_pixels: bool | int) -> str:
    return " (equal pixels)" if same_pixels else ""
