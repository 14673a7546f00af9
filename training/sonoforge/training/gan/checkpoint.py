"""Write and read checkpoints of a GAN training: safetensors and JSON in a folder that is either whole or absent.

``checkpoints/step-00001234/`` holds the two networks, the averaged generator, the state of the two optimisers, the
numbers carried by losses and regularisers, ``checkpoint.json`` (what was trained, how far, each file's hash), and of a
user's own recipe a copy of its code. It is written under a temporary name, synced to disk and renamed; before removal
it is renamed back.  Nothing is ever unpickled.
"""

import dataclasses
import functools
import hashlib
import json
import logging
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from sonoforge.runtime.atomic import remove_folder, remove_leftovers, replacing_folder
from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.training import own_code
from sonoforge.training.evaluation import COLLAPSE_FRACTION

log = logging.getLogger(__name__)

DESCRIPTION = "checkpoint.json"
SOURCES = "images.json"  # of a run folder: the content hash of each image file of the training, by path
_NAME = re.compile(r"step-(\d{8})")


@dataclasses.dataclass(frozen=True)
class Description:
    """The content of ``checkpoint.json``."""

    step: int
    recipe: str
    architecture: str
    generator_options: dict[str, Any]  # arguments that build the generator
    image_channels: int  # channels that are image; those after them are masks
    class_name: str  # class of the training images; may be empty
    classes: list[str]  # class names by label; empty without conditioning
    fingerprint: str  # hash of the training images as the networks saw them
    settings: dict[str, Any]  # the training's settings, as given
    # The recipe with the settings applied: every part and number.
    composition: dict[str, Any] = dataclasses.field(default_factory=dict)
    distance: float | None = None  # sliced Wasserstein distance to the real images; None where it was not measured
    kid: float | None = None  # kernel distance to the real images; None where it was not measured
    diversity: float | None = None  # of the samples, as a share of the real images'; None where it was not measured
    files: dict[str, str] = dataclasses.field(default_factory=dict)  # sha256 of each file
    # Names of the structures that the masks show; empty without masks, and for one without a name.
    structures: list[str] = dataclasses.field(default_factory=list)
    images: str = ""  # `digest_of_images` of the training images; empty: unknown


# Metadata of each file of tensors: the ``images`` of its description, so that no other description fits.
_IMAGES = "sonoforge.images"


def digest_of_images(hashes: Collection[str]) -> str:
    """Return the SHA-256 of some images' content hashes, in any order; empty if there are none."""
    return hashlib.sha256("\n".join(sorted(set(hashes))).encode()).hexdigest() if hashes else ""


def trained_on(checkpoint: Path) -> str:
    """Return `digest_of_images` of a checkpoint's training images; its description and tensors must agree.

    Raises:
        SonoforgeError: They differ, or the averaged generator's file is missing or damaged.
    """
    path = checkpoint / "average.safetensors"
    load_state(checkpoint, path.stem)  # checks its hash
    with safe_open(path, "numpy") as file:
        said = str((file.metadata() or {}).get(_IMAGES, ""))
    if said != describe(checkpoint).images:
        raise SonoforgeError(f"{checkpoint}: its tensors were trained on other images than {DESCRIPTION} says")
    return said


def save_checkpoint(folder: Path, description: Description, states: Mapping[str, Mapping[str, Tensor]]) -> Path:
    """Write a checkpoint's tensors, by file stem and name, and its description with hashes; return its folder.

    Raises:
        SonoforgeError: It cannot be written, for example because the disk is full; earlier checkpoints are untouched.
    """
    final = folder / f"step-{description.step:08d}"
    hashes = {}
    try:
        with replacing_folder(final) as partial:
            for stem, state in states.items():
                tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
                content = save(tensors, {_IMAGES: description.images})
                (partial / f"{stem}.safetensors").write_bytes(content)
                hashes[f"{stem}.safetensors"] = hashlib.sha256(content).hexdigest()
            if own_code.is_own(description.architecture):
                own_code.keep(own_code.run(description.architecture)[0], partial)
            described = dataclasses.asdict(dataclasses.replace(description, files=hashes))
            (partial / DESCRIPTION).write_bytes((json.dumps(described, indent=2) + "\n").encode())
    except SonoforgeError as error:
        raise SonoforgeError(f"{error}, then resume the training: earlier checkpoints are untouched") from error
    return final


def describe(checkpoint: Path) -> Description:
    """Read ``checkpoint.json``.

    Raises:
        SonoforgeError: It is missing, or does not describe a checkpoint.
    """
    path = checkpoint / DESCRIPTION
    with refusing(f"{path}: does not describe a checkpoint", "give a checkpoint folder such as step-00001000"):
        return Description(**json.loads(path.read_text(encoding="utf-8")))


def load_state(checkpoint: Path, stem: str) -> dict[str, Tensor]:
    """Read the tensors of one file after checking its hash.

    Raises:
        SonoforgeError: The file is missing, or its content has changed.
    """
    name = f"{stem}.safetensors"
    path = checkpoint / name
    expected = describe(checkpoint).files.get(name)
    with refusing(f"{path}: cannot be read", "use another checkpoint"):
        content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != expected:
        raise SonoforgeError(f"{path}: damaged, its hash is not the one in {DESCRIPTION}; use another checkpoint")
    with refusing(f"{path}: not safetensors data", kinds=SafetensorError):
        return load(content)


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints in a ``checkpoints`` folder, oldest first; warn about each broken one.

    A complete one has a readable description and all files; hashes are checked on reading, see `load_state`.
    """
    if not folder.is_dir():
        return []
    whole = []
    for path in sorted(folder.iterdir()):
        if _NAME.fullmatch(path.name) and path.is_dir():
            try:
                missing = [f"found no {name}" for name in describe(path).files if not (path / name).is_file()]
            except SonoforgeError as error:
                missing = [str(error).removeprefix(f"{path}: ")]
            if missing:
                _warn_broken(path, missing[0])
            else:
                whole.append(path)
    return whole


@functools.cache  # once, however often the folder is listed
def _warn_broken(checkpoint: Path, reason: str) -> None:
    log.warning("%s: skipped, because it is not a complete checkpoint (%s)", checkpoint, reason)


def criterion(settings: Mapping[str, Any]) -> str:
    """Return the figure that makes a checkpoint the best when lowest: ``kid`` if it is measured."""
    return "kid" if "kid" in settings.get("metrics", ()) else "distance"


def best_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint nearest to the real images, or None.

    Distances are KID or, in a training run without it, `ticks.sliced_distance`. A generator that repeats itself is
    never the best: samples need `COLLAPSE_FRACTION` of the real images' diversity.
    """
    ranked = []
    for path in list_checkpoints(folder):
        about = describe(path)
        value = getattr(about, criterion(about.settings))
        if value is not None and about.diversity is not None and about.diversity >= COLLAPSE_FRACTION:
            ranked.append((value, path))
    return min(ranked)[1] if ranked else None


KEPT = 2  # newest checkpoints that are kept beside the best


def remove_old(folder: Path, milestones: Collection[int] = ()) -> None:
    """Remove half-written checkpoints, and all except the newest `KEPT`, the best and the milestones'."""
    remove_leftovers(folder)
    best = best_checkpoint(folder)
    for path in list_checkpoints(folder)[:-KEPT]:
        if path != best and int(path.name.removeprefix("step-")) not in milestones:
            remove_folder(path)


def find_checkpoint(path: Path, which: str = "last") -> Path:
    """Return a checkpoint folder, given itself or a run folder and ``last``, ``best`` or a step.

    Raises:
        SonoforgeError: It does not exist.
    """
    if (path / DESCRIPTION).is_file():
        return path
    folder = path / "checkpoints"
    found = list_checkpoints(folder)
    if not found:
        raise SonoforgeError(
            f"{path}: holds no checkpoint; give a folder made by sonoforge gan train, or one of its checkpoints"
        )
    if which == "last":
        return found[-1]
    if which == "best":
        best = best_checkpoint(folder)
        if best is None:
            raise SonoforgeError(
                f"{path}: has no best checkpoint, because none has a measured "
                f"{criterion(describe(found[-1]).settings)} and "
                f"samples of at least {COLLAPSE_FRACTION:g} of the real images' diversity; train longer, or choose last"
            )
        return best
    for checkpoint in found:
        if which.isdigit() and int(which) == describe(checkpoint).step:
            return checkpoint
    steps = ", ".join(str(describe(checkpoint).step) for checkpoint in found)
    raise SonoforgeError(f"{path}: has no checkpoint {which!r}; give last, best or one of the steps {steps}")
