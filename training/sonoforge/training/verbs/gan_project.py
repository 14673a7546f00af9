"""``sonoforge gan show RUN --project SCAN``: could the generator have drawn this scan?

`projection` finds the nearest drawing.  Its distance means something beside two others, each found in the same way:

- of the generator's own drawings, which are near 0 where the search finds what is there;
- of scans that the training held out.  A scan that is nearer than nearly all of these may have been memorised: the
  probability that another unseen scan is as near is (how many of n are, + 1) / (n + 1), as in `copies.generated`.

Distances of these stay in the run, so that the next scan takes seconds, and what was stopped goes on.
"""

import hashlib
import io
import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from sonoforge.runtime.atomic import write_bytes, write_json
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.cli.progress import progress_bar
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.runtime.images.synthetic import write_picture
from sonoforge.runtime.inference.generator import find_label
from sonoforge.runtime.notice import NOTICE
from sonoforge.training.copies.generated import ALPHA
from sonoforge.training.data.pixels import Pixels, prepare_images, to_pixels, to_tensor, to_unit
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.devices import find_device
from sonoforge.training.evaluation.features import NETWORKS
from sonoforge.training.evaluation.image_set import says_generated
from sonoforge.training.evaluation.lpips import open_lpips
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.generator import load_generator, sample, structures_drawn_into
from sonoforge.training.gan.image_sets import TRAINING_SIZE
from sonoforge.training.gan.latent_space import projection
from sonoforge.training.gan.latent_space.path_length import PIXEL_DISTANCE, SquaredDistance, perceptual_distance
from sonoforge.training.gan.latent_space.sheets import PROGRAM, draw_sheet
from sonoforge.training.gan.milestones import read_own_images
from sonoforge.training.pretrained import is_downloaded
from sonoforge.training.run_options import EvaluationInput
from sonoforge.training.verbs.settings.gan import GanShowConfig

FOLDER, RESULTS, PICTURE, DRAWING, REFERENCES = (
    "projections", "results.json", "projection.png", "drawing.png", "references.json",
)  # fmt: skip
NETWORK = "squeezenet1_1"  # of LPIPS where none is named: the smallest that LPIPS has heads for, 5 MB
NOTE = "Left: a real scan. Middle: a synthetic image. Research use, not a medical device."

log = logging.getLogger(__name__)


class _References(NamedTuple):
    """Distances of what the scan is compared with."""

    own: list[float]  # of the generator's own drawings, found again
    held_out: list[float]  # of scans that it never saw; empty where there are none


def main(config: GanShowConfig) -> Outcome:
    """Find the nearest drawing, say how near it is, and write it with a picture and ``results.json``."""
    if config.what:
        raise SonoforgeError("--what cannot be combined with --project, which shows one scan")
    checkpoint = gan_checkpoint.find_checkpoint(Path(config.run), config.checkpoint)
    about = gan_checkpoint.describe(checkpoint)
    every = bool(about.classes) and not config.class_name
    labels = [*range(len(about.classes))] if every else [find_label(config.class_name, about.classes, about.class_name)]
    generator = load_generator(checkpoint, config.device)
    if structures_drawn_into(generator):
        raise SonoforgeError("--project: this generator draws into label maps that it keeps, expected one of latents")
    scan, digest = _read_scan(Path(config.project), int(about.generator_options["image_size"]), about.image_channels)
    folder = Path(config.out) if config.out else checkpoint.parent.parent / FOLDER / Path(config.project).stem
    _check_folder(folder, digest)
    distance = _open_distance(config, about.image_channels)
    space = projection.open_space(generator, labels, config.seed)

    own = np.concatenate([sample(generator, config.count, config.seed, label) for label in labels])
    own = own[evenly_spaced(len(own), config.count)][..., : about.image_channels]
    held_out = _held_out(config, checkpoint)
    protocol = {
        "generator_sha256": about.files["average.safetensors"],
        "distance": distance.name,
        "search": f"{projection.STEPS} steps of Adam from the nearest {projection.STARTS} of {projection.POOL} a class",
        "class": config.class_name or "all",
        "seed": config.seed,
        "own": len(own),
        "held_out": len(held_out),
    }
    kept = checkpoint.parent.parent / FOLDER / REFERENCES
    found = _read_references(kept, protocol)
    total = len(own) + len(held_out) + 1
    with progress_bar("projecting", total, len(found.own) + len(found.held_out)) as advance:
        for distances, images in zip(found, (own, held_out), strict=True):
            for nearest in projection.project(space, _tensor(images[len(distances) :]), distance, config.seed):
                distances.append(nearest.distance)
                write_json(kept, {"protocol": protocol, **found._asdict()})
                advance(len(found.own) + len(found.held_out), None)
        nearest = next(projection.project(space, _tensor(scan[None]), distance, config.seed))
        advance(total, None)

    shown = about.class_name if nearest.label is None else about.classes[nearest.label]
    origin = gan_checkpoint.describe_origin(checkpoint, config.seed, shown)
    drawing = to_pixels(nearest.image[None])[0, ..., : about.image_channels]
    vectors = projection.embed(distance, _tensor(own).to(space.points.device))
    apart = float(torch.pdist(vectors.double()).square().median())
    result = {
        "scan": {"file": config.project, "sha256": digest},
        "distance": nearest.distance,
        **_compare(nearest.distance, found),
        "own_drawings": {"found_again": found.own, "apart": apart},
        "held_out_scans": found.held_out,
        "class": shown,
        "protocol": protocol,
        "notice": NOTICE,
    }
    answer = _answer(result, distance)
    write_bytes(folder / PICTURE, _picture(scan, drawing, answer))
    write_picture(folder / DRAWING, drawing, origin)
    write_json(folder / RESULTS, {**result, "answer": answer})
    say("%s", answer)
    say("the scan beside the drawing: %s (the drawing alone: %s)", folder / PICTURE, DRAWING)
    return Outcome({**result, "answer": answer})


def _read_scan(path: Path, size: int, channels: int) -> tuple[Pixels, str]:
    """Return a scan as a training would see it, (S, S, C) uint8, and the sha256 of its pixels.

    What says that it was generated stays as it is, see `gan.image_sets`.
    """
    picture = read_image(path)
    seen = np.asarray(picture if says_generated(path) else Preprocessing(size=max(size, TRAINING_SIZE)).resize(picture))
    pixels = prepare_images(seen.reshape(1, *seen.shape[:2], -1), size, channels)[0]
    return pixels, hashlib.sha256(pixels.tobytes()).hexdigest()


def _check_folder(folder: Path, digest: str) -> None:
    """Refuse to write over anything but an earlier projection of the same scan."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        same = json.loads((folder / RESULTS).read_text(encoding="utf-8"))["scan"]["sha256"] == digest
    except (OSError, ValueError, TypeError, KeyError):
        same = False
    if not same:
        raise SonoforgeError(f"{folder}: holds other files already, or another scan; choose another --out")


def _open_distance(config: GanShowConfig, image_channels: int) -> SquaredDistance:
    if config.lpips or is_downloaded(NETWORKS[NETWORK].weights):
        lpips = open_lpips(config.lpips or NETWORK, find_device(config.device))
        return perceptual_distance(lpips, image_channels)
    log.warning(
        "--project: distances are of PIXELS, which see speckle and brightness, not what a scan shows: no network "
        "was named, and %s is not downloaded; --lpips %s (5 MB) is a better measure",
        NETWORK, NETWORK,
    )  # fmt: skip
    return PIXEL_DISTANCE


def _held_out(config: GanShowConfig, checkpoint: Path) -> Pixels:
    """Return scans that the training held out, (N, S, S, C); none, and why, where they cannot be had."""
    inputs = EvaluationInput(
        real=str(checkpoint), class_name=config.class_name, count=2, seed=config.seed, device=config.device
    )
    try:
        sets = read_own_images(inputs)
        if sets.held_out is not None:
            pixels = sets.held_out.images.pixels
            return pixels[evenly_spaced(len(pixels), config.samples)]
        reason = "the training held none out"
    except SonoforgeError as error:
        reason, sets = str(error), None
    log.warning("no scan that the generator never saw is compared with, so copying is not tested: %s", reason)
    side = int(gan_checkpoint.describe(checkpoint).generator_options["image_size"])
    return np.empty((0, side, side, 1), np.uint8)


def _read_references(path: Path, protocol: dict[str, Any]) -> _References:
    """Return what an earlier projection, or one that was stopped, found under the same protocol."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["protocol"] == protocol:
            return _References(*([float(one) for one in before[name]] for name in _References._fields))
    except (OSError, ValueError, TypeError, KeyError):
        pass
    return _References([], [])


def _tensor(images: Pixels) -> Tensor:
    return to_unit(to_tensor(images))


def _compare(distance: float, found: _References) -> dict[str, Any]:
    """Return the place of a distance among those of the references."""
    others = np.array(found.held_out)
    number = len(others)
    return {
        "within_own": distance <= max(found.own),
        "farther_than": float((others < distance).mean()) if number else None,
        "p_as_near": (int((others <= distance).sum()) + 1) / (number + 1) if number else None,
        "p_as_far": (int((others >= distance).sum()) + 1) / (number + 1) if number else None,
    }


def _answer(result: dict[str, Any], distance: SquaredDistance) -> str:
    """Say in words what was found."""
    unit = "pixel distance" if distance is PIXEL_DISTANCE else "LPIPS"
    own, others = result["own_drawings"], result["held_out_scans"]
    again = f"its own drawings are found again at up to {max(own['found_again']):.2g}"
    near = f"the nearest drawing found is at {unit} {result['distance']:.2g}; {again}"
    if result["within_own"]:
        text = f"The generator could have drawn this scan: {near}"
    else:
        text = f"The generator could not have drawn exactly this scan, as far as the search goes: {near}"
    if others:
        text += f"; {result['farther_than']:.0%} of {len(others)} scans that it never saw are nearer"
        if result["p_as_near"] <= ALPHA:
            text += f": nearer than unseen scans come, as a memorised one would be (p = {result['p_as_near']:.2g})"
        elif result["p_as_far"] <= ALPHA:
            text += f": unlike scans of the kind that it learned from (p = {result['p_as_far']:.2g})"
    if float(np.median(own["found_again"])) > own["apart"] / 2:
        text += ". The search hardly finds the generator's own drawings, so this says little"
    return f"{text}. {NOTICE}"


def _picture(scan: Pixels, drawing: Pixels, answer: str) -> bytes:
    """Encode scan, drawing and their difference; the file says that a real scan is in it."""
    difference = np.abs(scan.astype(np.int16) - drawing).astype(np.uint8)
    titles = ["scan", "nearest drawing", "difference"]
    sheet = draw_sheet([[scan, drawing, difference]], titles, (), (answer.removesuffix(NOTICE), NOTE), smallest=224)
    text = PngInfo()
    text.add_text("Description", "A real scan beside the nearest synthetic image of a neural network.")
    text.add_text("Software", PROGRAM)
    stream = io.BytesIO()
    sheet.picture.save(stream, "PNG", pnginfo=text)
    return stream.getvalue()
