"""The table of a bundle's model files in its card, from the figures of the gates."""

import re
from collections.abc import Iterable, Sequence

from sonoforge.export.gate.tolerance import FormatRow, ManifestJson

FILES = "## Files"

_EXPLAINED = {
    "classification": "Each file against the trained network: differences of probabilities, equal labels, and the "
    "largest loss of sensitivity of any class in points.",
    "generation": "Each file against the trained network, on a CPU in batches of 1, 3 and 5: largest difference of "
    "images, which are in about [-1, 1].",
}


def replace_files(card: str, manifest: ManifestJson) -> str:
    """Return the card with a new table of the bundle's model files before its last section.

    The gates' figures are those in the manifest's ``parity.formats``.
    """
    task = manifest["task"]
    rows = [_cells(row, task) for row in manifest["parity"]["formats"].values()]
    images = dict.fromkeys(row["images"] for row in manifest["parity"]["formats"].values() if "images" in row)
    checked_on = f" Checked on {'; '.join(images)}." if images else ""
    cells = [[cell.replace("|", "/") for cell in row.values()] for row in rows]
    section = page([FILES, _EXPLAINED[task] + checked_on, table(list(rows[0]), cells)])
    sections = re.split(r"^(?=## )", card, flags=re.MULTILINE)
    kept = [section for section in sections if not section.startswith(FILES)]
    return "".join([*kept[:-1], section + "\n", kept[-1]])


def page(paragraphs: Iterable[str]) -> str:
    """Return paragraphs, headings and tables among them, as text in Markdown."""
    return "\n\n".join(paragraphs) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(
        [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *(f"| {' | '.join(row)} |" for row in rows)]
    )


def _cells(row: FormatRow, task: str) -> dict[str, str]:
    """Return the cells of a file's row by title."""
    judged = "max_abs" in row
    cells = {
        "format": row["format"],
        "file": row["file"],
        "precision": row["precision"],
        "MB": f"{row['bytes'] / 1e6:.2f}" if "bytes" in row else "-",
        "largest difference": f"{row['max_abs']:.1e}" if judged else "-",
    }
    if task == "classification":
        changes = row.get("sensitivity_change")
        cells["mean"] = f"{row['mean_abs']:.1e}" if judged else "-"
        cells["labels"] = f"{row['labels_equal']} of {row['count']}" if judged else "-"
        cells["sensitivity"] = f"{max(0.0, -min(changes.values())):.1f}" if changes else "-"
    else:
        cells["allowed"] = f"{row['tolerance']:g}" if "tolerance" in row else "-"
    cells["status"] = row["status"] + (f": {row['reason']}" if "reason" in row else "")
    return {**cells, "runs on": row["runs_on"]}
