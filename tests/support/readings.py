"""Reading sheets without a data set, and the files of answers that their readers save."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sonoforge.training.data.pixels import Pixels
from sonoforge.training.evaluation.image_set import Described, ImageSet
from sonoforge.training.reader_study.sheet import KEY, Entry, Key, Pair, Sheet, commitment, make_sheet
from sonoforge.training.reports.reading import PAGE, write_sheet

NONCE = bytes(range(32))


def image_set(source: str, pixels: Pixels, groups: Sequence[str] = (), class_name: str = "") -> ImageSet:
    """A set of (N, S, S, C) images, near-duplicates by ``groups`` and nothing else: nothing is searched."""
    described = [
        Described(f"{i}.png", hashlib.sha256(one.tobytes()).hexdigest(), one[..., 0], one.shape[:2], None)
        for i, one in enumerate(pixels)
    ]
    found = ImageSet(source, pixels, tuple(described), class_name, None, "none")
    vars(found)["groups"] = np.unique(groups or range(len(pixels)), return_inverse=True)[1]
    return found


def noise(count: int, seed: int, side: int = 16) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 1), np.uint8)


def small_sheet(count: int = 6, classes: tuple[str, ...] = ()) -> Sheet:
    """A sheet of noise; with classes, a pair for each."""
    pairs = [
        Pair(
            image_set("real", noise(count, 2 * i), class_name=name),
            image_set("fake", noise(count, 2 * i + 1), class_name=name),
        )
        for i, name in enumerate(classes or ("",))
    ]
    return make_sheet(pairs, count, classes, NONCE)


def write_folder(folder: Path, sheet: Sheet) -> str:
    """Write a sheet's page and key as the command does; return the commitment."""
    content = sheet.key.encoded()
    folder.mkdir(parents=True)
    (folder / KEY).write_bytes(content)
    write_sheet(folder / PAGE, sheet, commitment(content))
    return commitment(content)


def write_answers(
    path: Path, seal: str, entries: Sequence[Entry], say: Callable[[Entry], dict[str, Any] | None]
) -> Path:
    """Write the file that the page saves; ``say`` answers each image, or leaves it open."""
    open_one = {"kind": None, "confidence": None, "class": None, "mark": None, "seconds": 0}
    answers = [{"image": entry.number, **open_one, **(say(entry) or {})} for entry in entries]
    values = {"format": "sonoforge reading answers 1", "commitment": seal, "reader": path.stem, "experience": ""}
    path.write_text(json.dumps({**values, "started": None, "saved": "2026-01-01T00:00:00Z", "answers": answers}))
    return path


def key_of(kinds: Sequence[str], classes: tuple[str, ...] = (), shown: Sequence[str] = ()) -> Key:
    """A key of these kinds, of images that nobody has."""
    names = shown or [""] * len(kinds)
    entries = [Entry(i + 1, kind, names[i], "set", f"{i}.png", "", "") for i, kind in enumerate(kinds)]
    return Key("00" * 32, classes, 16, tuple(entries))
