"""The origin of generated images, recorded in their manifest and in every file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sonoforge.training.gan import checkpoint as gan_checkpoint


def describe_origin(checkpoint: Path, seed: int, class_name: str) -> dict[str, Any]:
    """Return the record of where generated images come from."""
    about = gan_checkpoint.describe(checkpoint)
    return {
        "synthetic": True,
        "generator_sha256": about.files["average.safetensors"],
        "recipe": about.recipe,
        "class": class_name,
        "step": about.step,
        "seed": seed,
        "training_data": about.fingerprint,
        **({"structures": ",".join(about.structures)} if about.structures else {}),
    }
