"""What ``data audit`` prints: the tables of its page, and which files show one scan."""

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.training.data.audit import Audit
from sonoforge.training.data.patients import without_patients
from sonoforge.training.reports.audit import count_table, file_table, planted_tables, threshold_table
from sonoforge.training.reports.terminal.tables import plain_table, table_text
from sonoforge.training.statistics.wording import counted


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
    for table in (*planted_tables(result), threshold_table(result)):
        tell(table.label)
        say("%s", table_text(table))
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
