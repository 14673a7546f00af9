"""Where the images of a checkpoint come from, as all that is written of them says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sonoforge.training.gan import checkpoint as gan_checkpoint


def describe_origin(checkpoint: Path, seed: int, class_name: str) -> dict[str, Any]:
    """Say where generated images come from: what goes into the manifest and into every file."""
    about = gan_checkpoint.describe(checkpoint)
    return {
        "synthetic": True,
        "generator_sha256": about.files["average.safetensors"],
        "recipe": about.recipe,
        "class": class_name,
        "step": about.step,
        "seed": seed,
        "training_data": about.fingerprint,
    }
