"""What `sonoforge evaluate` found of a generator, for its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.gan.checkpoint import Description
from sonoforge.training.run_folder import read_results

SHOWN = ("kid", "fid", "precision", "recall", "density", "coverage", "spectrum", "spectrum_fine")


def read_measured(run: Path, about: Description) -> dict[str, Any]:
    """Return the figures of an evaluation that belong onto a generator's card.

    Args:
        run: Run folder of ``sonoforge evaluate``.
        about: Of the checkpoint that is exported.

    Raises:
        SonoforgeError: No such run, or it evaluated other weights.
    """
    try:
        results = read_results(run)
    except (OSError, ValueError) as error:
        raise SonoforgeError(f"--evidence: {run} holds no results.json of a finished evaluation ({error})") from error
    if not {"fake", "protocol_id"} <= set(results):
        raise SonoforgeError(f"--evidence: {run} is no run of evaluate, expected one of this generator")
    found = results["fake"].get("generator_sha256", "")
    if found != about.files["average.safetensors"]:
        raise SonoforgeError(
            f"--evidence: {run} evaluated other weights ({found[:16] or 'images from files'}), expected "
            f"{about.files['average.safetensors'][:16]}; evaluate this checkpoint"
        )
    copies = results["copies"]
    return {
        "images": results["fake"]["images"],
        "real": f"{results['real']['source']}, {results['protocol']['resize of real images']}",
        "per_set": results["n"],
        "real_images": results["real"]["images"],
        "protocol_id": results["protocol_id"],
        "metrics": [
            {key: row[key] for key in ("title", "space", "matched", "floor", "ratio")}
            for row in results["metrics"]
            if row["name"] in SHOWN and None not in (row["matched"], row["floor"], row["ratio"])
        ],
        "copies": copies
        and {
            **{key: copies[key] for key in ("images", "copies", "false_alarm")},
            "recall": {row["kind"]: row["recall"] for row in copies["recall"]},
        },
        "warnings": results["warnings"],
    }
