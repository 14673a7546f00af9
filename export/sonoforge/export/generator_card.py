"""MODEL_CARD.md of a generator's bundle, from its record alone: no figure is written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def generator_card(record: Mapping[str, Any], parity: Mapping[str, Mapping[str, Any]]) -> str:
    """Render the card.

    Args:
        record: The manifest, with or without its files.
        parity: Of each format: ``max_abs``, ``tolerance`` and versions.
    """
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
        "## Export",
        "",
        "| format | largest difference from torch, in [-1, 1] | allowed |",
        "|---|---|---|",
        *(f"| {name} | {figures['max_abs']:.1e} | {figures['tolerance']:g} |" for name, figures in parity.items()),
        "",
        f"Measured with torch {parity['onnx']['torch']} and onnxruntime {parity['onnx']['onnxruntime']} on a CPU, "
        "batches of 1, 3 and 5 images.",
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
