"""``sonoforge evaluate`` as the tests run it, and the images that they compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageFilter

from program import succeed
from sonoforge.training.phantom.dataset import generate_phantom_set, write_phantom_set

FAST = ["--features", "pixels", "--set", "metrics.repeats=5", "--device", "cpu"]
ONE = [*FAST, "--metrics", "kid"]
REAL, HELD_OUT, FAKES, COPIES = 44, 44, 30, 18


def evaluate(*arguments: object) -> dict[str, Any]:
    result: dict[str, Any] = succeed("evaluate", *arguments, "--quiet").json
    return result


def save_images(folder: Path, images: list[Image.Image]) -> Path:
    folder.mkdir()
    for number, image in enumerate(images):
        image.save(folder / f"{number}.png")
    return folder


def draw_phantoms(count: int, seed: int) -> list[Image.Image]:
    return [Image.fromarray(image.pixels) for image in generate_phantom_set(count, seed, size=64)]


class Sets(NamedTuple):
    """Folders of 64-pixel images: real, held out, phantoms nobody trained on, the same blurred, and with copies."""

    real: Path
    held_out: Path
    fake: Path
    blurred: Path
    copying: Path
    copied: dict[str, str]  # by the copy's name


def write_sets(root: Path) -> None:
    """Write all that `read_sets` returns."""
    write_phantom_set(root / "real", REAL, 0, size=64)
    fakes = draw_phantoms(FAKES, 1)
    copying, copied = list(fakes), {}
    files = sorted(f.relative_to(root / "real") for f in (root / "real").rglob("*.png") if "_mask" not in f.stem)
    for number, file in enumerate(files[:: len(files) // COPIES][:COPIES]):
        flipped = Image.open(root / "real" / file).convert("L").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        copying[number] = flipped.point([min(255, level + 10) for level in range(256)])
        copied[f"{number}.png"] = file.as_posix()
    save_images(root / "held-out", draw_phantoms(HELD_OUT, 2))
    save_images(root / "fake", fakes)
    save_images(root / "blurred", [image.filter(ImageFilter.GaussianBlur(2)) for image in fakes])
    save_images(root / "copying", copying)
    (root / "copied.json").write_text(json.dumps(copied))


def read_sets(root: Path) -> Sets:
    folders = (root / name for name in ("real", "held-out", "fake", "blurred", "copying"))
    return Sets(*folders, json.loads((root / "copied.json").read_text()))
