"""MODEL_CARD.md of a generator's bundle, from its record alone: no figure is written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def generator_card(record: Mapping[str, Any]) -> str:
    """Render the card.

    Args:
        record: The manifest, with or without its files.
    """
    versions = {package["name"]: package["version"] for package in record["provenance"]["packages"]}
    image, latents, training = record["image"], record["latents"], record["training"]
    colour = "grey" if image["channels"] == 1 else "RGB"
    shown = ", ".join(record["classes"]) or record["class_name"] or "not named"
    lines = [
        f"# {record['name']} {record['version']}",
        "",
        "**Research use, not a medical device. Every image it makes is synthetic and shows no patient.**",
        "",
        "## Intended use",
        "",
        record["intended_use"],
        "",
        "## Model",
        "",
        f"Recipe `{record['recipe']}`, {image['size']} x {image['size']}, {colour}"
        + (", each image with its mask as one more channel" if image["masks"] else "")
        + f". Class: {shown}. Latents: {latents['size']} {latents['distribution']} numbers, drawn by "
        f"`{latents['recipe']}`." + (" Takes psi, the truncation of styles." if record["psi"]["accepted"] else ""),
        "",
        "## Data",
        "",
        f"Trained on {training['data'] or 'a data set whose name is not recorded'}, to step {training['step']}. "
        f"Fingerprint of the training images `{training['fingerprint'][:16]}`, of the weights "
        f"`{training['generator_sha256'][:16]}`.",
        "",
        "## Files",
        "",
        "Each file against the trained network: largest difference of images, which are in about [-1, 1].",
        "",
        "| format | file | precision | MB | largest difference | allowed | status |",
        "|---|---|---|---|---|---|---|",
        *(_file_row(row) for row in record["parity"]["formats"].values()),
        "",
        f"Measured with torch {versions['torch']} and onnxruntime {versions['onnxruntime']} on a CPU, batches of 1, 3 "
        "and 5 images.",
        "",
        "## Limits",
        "",
        "- A generator may repeat itself, leave out what is rare, and copy training images. `sonoforge evaluate` "
        "measures all three; its figures are not part of this bundle.",
        "- The weights may allow conclusions about training images: share them as you may share the data.",
        "- Images must keep the note that they are synthetic, which `sonoforge gan sample` writes into each file.",
        "",
    ]
    return "\n".join(lines)


def _file_row(row: Mapping[str, Any]) -> str:
    cells = [row["format"], row["file"], row["precision"], f"{row['bytes'] / 1e6:.2f}" if "bytes" in row else "-"]
    cells.append(f"{row['max_abs']:.1e}" if "max_abs" in row else "-")
    cells.append(f"{row['tolerance']:g}" if "tolerance" in row else "-")
    cells.append(row["status"] + (f": {row['reason']}" if "reason" in row else ""))
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
