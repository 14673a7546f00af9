"""``sonoforge gan sample``: generate images that say themselves that they are synthetic."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import logging
from pathlib import Path
from typing import Any

from PIL.PngImagePlugin import PngInfo

from sonoforge.runtime.atomic import write_bytes, write_json
from sonoforge.runtime.commandline import Outcome, option
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.images import Pixels, as_picture
from sonoforge.training.gan.networks import load_generator, sample

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"

EXAMPLES = """
sonoforge gan sample runs/00000-gan-dcgan-thesis-busi-malignant --count 227
sonoforge gan sample runs/00000-gan-dcgan-thesis-busi-malignant --checkpoint best --seed 7 --out generated/malignant
"""


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge gan sample``."""

    run: str = option(help="run folder of sonoforge gan train, or one of its checkpoints", positional=True)
    count: int = option(64, help="images to generate", minimum=1)
    seed: int = option(0, help="image i depends on (seed, i) alone", minimum=0)
    out: str = option("", help="folder for the images (default: generated/ in the run folder)")
    checkpoint: str = option("last", help="last, best (nearest to the real images), or a step number")
    batch: int = option(64, help="images at a time", minimum=1)
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")


def main(config: Config) -> Outcome:
    """Generate the images and write them with their manifest.

    Raises:
        SonoforgeError: No such checkpoint, or the folder holds other files.
    """
    checkpoint = gan_checkpoint.find_checkpoint(Path(config.run), config.checkpoint)
    default = checkpoint.parent.parent / "generated" / f"{checkpoint.name}-seed-{config.seed}"
    folder = Path(config.out) if config.out else default
    origin = describe_origin(checkpoint, config.seed)
    _refuse_other_files(folder, origin)
    images = sample(load_generator(checkpoint, config.device), config.count, config.seed, config.batch)
    write_synthetic(images, folder, origin)
    log.info("%d synthetic images in %s", len(images), folder)
    return Outcome({"folder": str(folder), "count": len(images), **origin})


def describe_origin(checkpoint: Path, seed: int) -> dict[str, Any]:
    """Say where generated images come from: what goes into the manifest and into every file."""
    about = gan_checkpoint.describe(checkpoint)
    return {
        "synthetic": True,
        "generator_sha256": about.files["average.safetensors"],
        "recipe": about.recipe,
        "class": about.class_name,
        "step": about.step,
        "seed": seed,
        "training_data": about.fingerprint,
    }


def _refuse_other_files(folder: Path, origin: dict[str, Any]) -> None:
    """Generated images never join real ones, nor those of another generator, in one folder."""
    if folder.exists() and not folder.is_dir():
        raise SonoforgeError(f"{folder}: is a file, expected a folder for images; choose another --out")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        before = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        same = {key: before[key] for key in origin} == origin
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise SonoforgeError(f"{folder}: holds other files already, expected an empty folder; choose another --out")


def write_synthetic(images: Pixels, folder: Path, origin: dict[str, Any]) -> list[Path]:
    """Write images as PNG files that carry their origin as text, and ``manifest.json`` after them.

    Args:
        images: (N, S, S, C) uint8.
        folder: Made if missing.
        origin: From `describe_origin`.

    Returns:
        The image files, in order.
    """
    paths, entries = [], []
    label = origin["class"].replace("/", "-") or "image"
    for index, image in enumerate(images):
        text = PngInfo()
        text.add_text("Description", "Synthetic image made by a neural network; it shows no patient.")
        text.add_text("Software", "sonoforge gan sample")
        for key, value in {**origin, "index": index}.items():
            text.add_itxt(f"sonoforge:{key}", json.dumps(value) if isinstance(value, bool) else str(value))
        stream = io.BytesIO()
        as_picture(image).save(stream, "PNG", pnginfo=text)
        content = stream.getvalue()
        paths.append(folder / f"synthetic-{label}-{origin['seed']}-{index:05d}.png")
        write_bytes(paths[-1], content)
        entries.append({"file": paths[-1].name, "index": index, "sha256": hashlib.sha256(content).hexdigest()})
    write_json(folder / MANIFEST, {**origin, "count": len(images), "images": entries})
    return paths
