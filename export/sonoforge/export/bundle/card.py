"""Render the table of a bundle's files and a generator's model card, using only its manifest."""

import re
from collections.abc import Iterable, Sequence

from sonoforge.export.bundle.folder import FormatRow, ManifestJson

FILES = "## Files"

_EXPLAINED = {
    "classification": "Each file against the trained network: differences of probabilities, equal labels, and the "
    "largest loss of sensitivity of any class in points.",
    "generation": "Each file against the trained network, on a CPU in batches of 1, 3 and 5: largest difference of "
    "images, which are in about [-1, 1].",
}


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(
        [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *(f"| {' | '.join(row)} |" for row in rows)]
    )


def replace_files(card: str, manifest: ManifestJson) -> str:
    """Return the card with its table of model files, from ``parity.formats``, before the last section."""
    task, formats = manifest["task"], manifest["parity"]["formats"].values()
    rows = [_cells(row, task) for row in formats]
    images = dict.fromkeys(row["images"] for row in formats if "images" in row)
    checked_on = f" Checked on {'; '.join(images)}." if images else ""
    cells = [[cell.replace("|", "/") for cell in row.values()] for row in rows]
    section = "\n\n".join([FILES, _EXPLAINED[task] + checked_on, table(list(rows[0]), cells)]) + "\n"
    sections = re.split(r"^(?=## )", card, flags=re.MULTILINE)
    kept = [section for section in sections if not section.startswith(FILES)]
    return "".join([*kept[:-1], section + "\n", kept[-1]])


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


def generator_card(record: ManifestJson) -> str:
    """Render a generator's card, without its files, from its manifest."""
    image, latents, training = (record[key] for key in ("image", "latents", "training"))
    colour = "grey" if image["channels"] == 1 else "RGB"
    shown = ", ".join(record["classes"]) or record["class_name"] or "not named"
    masks = {0: "", 1: ", each image with its mask as one more channel"}.get(
        image["masks"], f", each image with masks of {', '.join(image['structures'])} as further channels"
    )
    styles = " Takes psi, the truncation of styles." if record["psi"]["accepted"] else ""
    rounded = f", here {training['weights']}" if training["weights"] else ""
    limits = [
        "A generator may repeat itself, omit what is rare, and copy training images. `sonoforge evaluate` measures "
        "all three" + ("." if training["measured"] else "; its figures are not part of this bundle."),
        "The weights may allow conclusions about training images: share them as you may share the data.",
        "Images must keep the note that they are synthetic, which `sonoforge gan sample` writes into each file.",
    ]
    if training["label_maps"]:
        maps = f"{training['label_maps']} label maps of its training images, which its files hold"
        limits.insert(2, f"It draws into {maps}: outlines of real patients.")
    sources = [f"- {own['name']}: {own['licence']}. {own['citation']}." for own in training["sources"]]
    paragraphs = [
        f"# {record['name']} {record['version']}",
        "**Research use, not a medical device. Every image it makes is synthetic and shows no patient.**",
        "## Intended use",
        record["intended_use"],
        "## Model",
        f"Recipe `{record['recipe']}`, {image['size']} x {image['size']}, {colour}{masks}. Class: {shown}. "
        f"Latents: {latents['size']} {latents['distribution']} numbers, drawn by `{latents['recipe']}`.{styles}",
        "## Data",
        f"Trained on {training['data'] or 'a data set whose name is not recorded'}, to step {training['step']}. "
        f"Fingerprint of the training images `{training['fingerprint'][:16]}`, of the weights "
        f"`{training['generator_sha256'][:16]}`{rounded}.",
        *(["\n".join(sources)] if sources else []),
        *(_measured(training["measured"]) if training["measured"] else []),
        "## Limits",
        "\n".join(f"- {limit}" for limit in limits),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _measured(measured: ManifestJson) -> list[str]:
    """Describe the figures of `sonoforge evaluate` on these weights."""
    rows = [
        (row["title"], row["space"], f"{row['matched']:.3g}", f"{row['floor']:.3g}", f"{row['ratio']:.2g}")
        for row in measured["metrics"]
    ]
    found = "Copies were not searched for."
    if copies := measured["copies"]:
        recall = "; ".join(f"{kind} {share:.0%}" for kind, share in copies["recall"].items())
        found = (
            f"Of {copies['images']} generated images {copies['copies']} match a training image better than the limit, "
            f"as do {copies['false_alarm']:.1%} of real images outside the training set. Planted copies found: "
            f"{recall}."
        )
    return [
        "## Evaluation",
        f"{measured['images']} generated images against {measured['real_images']} real ones ({measured['real']}), "
        f"before any rounding of the weights; protocol `{measured['protocol_id']}`. Each figure is the mean over draws "
        f"of {measured['per_set']} images a side; the floor compares real images with real ones. At a ratio of up to "
        "1, generated images are as close as other real images.",
        table(("figure", "measured in", "generated", "floor", "ratio"), rows),
        "\n".join([found, *measured["warnings"]]),
    ]
