"""``sonoforge gan show``: what a trained generator has learned, in pictures and a few figures."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sonoforge.models.stylegan.mapping import has_styles
from sonoforge.runtime.atomic import plain, write_bytes, write_json
from sonoforge.runtime.cli.options import Outcome, argument, option
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.synthetic import NOTICE
from sonoforge.runtime.inference.generator import find_label
from sonoforge.training.data.pixels import Pixels, to_pixels
from sonoforge.training.devices import find_device
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.batches.draws import draw_latents
from sonoforge.training.gan.generator import (
    Truncation,
    latent_distribution,
    latent_size,
    load_generator,
    sample_batches,
    sample_latent,
)
from sonoforge.training.gan.latent_space.path_length import (
    SquaredDistance,
    measure_path_length,
    perceptual_distance,
    pixel_distance,
    spaces,
    step_sizes,
    walk,
)
from sonoforge.training.gan.latent_space.showing import FACE, draw_paths, draw_sheet, figure_png, film_gif, sheet_png
from sonoforge.training.gan.latent_space.styles import map_latents, mix_bands, style_bands, synthesise
from sonoforge.training.gan.synthetic import describe_origin
from sonoforge.training.metrics.equivariance import (
    SMALLEST,
    render_transformed,
    rotation_equivariance,
    translation_equivariance,
)
from sonoforge.training.metrics.lpips import open_lpips

log = logging.getLogger(__name__)

EXAMPLES = """
sonoforge gan show runs/00000-gan-stylegan2-busi-malignant
sonoforge gan show runs/00000-gan-stylegan2-busi-malignant --what truncation,mixing --count 8 --seed 3
sonoforge gan show runs/00000-gan-stylegan2-busi-malignant --what path --lpips squeezenet1_1 --samples 1000
sonoforge gan show runs/00001-gan-stylegan3-t-busi-malignant --checkpoint best --what equivariance --samples 500
sonoforge gan show runs/00002-gan-lsgan-busi --class-name normal --out looks-of-normal

Written: truncation.png, style-mixing.png, interpolation.png and .gif (looping; no video file), path-length.png,
equivariance.png and .json, and looks.json with every figure and how it was measured.  Style mixing needs StyleGAN 1
to 3, equivariance StyleGAN3; truncation is by psi in StyleGAN, else by the largest number in a latent.
"""

RECORD = "looks.json"
NAMES = ("truncation", "mixing", "interpolation", "path", "equivariance")
PSIS = (1.0, 0.7, 0.5, 0.3, 0.0, -0.5)
CLIPS = (None, 2.0, 1.5, 1.0, 0.5, 0.25)  # largest number in a latent; None: no limit
DESTINATIONS = 2  # images that get each band of styles
APART = 8  # pixels between them and the mixed ones
STRIP = 8  # images of a strip, both ends included
FRAMES = 12  # of the film from one image to the next
PLACES = 33  # images on a path whose steps are measured
TURNED = 3  # images that are shown transformed, at most
# Of the image: to the right and down, in sides; and about its centre, from right to down, in degrees.
TRANSFORMS: dict[str, tuple[float, float, float]] = {
    "as it is": (0, 0, 0),
    "1/16 right": (1 / 16, 0, 0),
    "1/8 right": (1 / 8, 0, 0),
    "1/8 down": (0, 1 / 8, 0),
    "15 degrees": (0, 0, 15),
    "45 degrees": (0, 0, 45),
    "90 degrees": (0, 0, 90),
}


@dataclasses.dataclass(frozen=True)
class Subject:
    """A generator and what is to be shown of it.

    Attributes:
        generator: In evaluation mode.
        label: Class to show, or None.
        image_channels: Channels that are image; those after them are masks.
        count: Images of a row or column.
        samples: Images or pairs that figures are measured on.
        seed: Of all draws.
        distance: Squared distance of images.
        distance_name: Its name.
        origin: What every file says of its origin.
    """

    generator: nn.Module
    label: int | None
    image_channels: int
    count: int
    samples: int
    seed: int
    distance: SquaredDistance
    distance_name: str
    origin: dict[str, Any]


class Shown(NamedTuple):
    """The files of a look by name, and its entry in ``looks.json``."""

    files: dict[str, bytes]
    entry: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge gan show``."""

    run: str = argument(help="run folder of sonoforge gan train, or one of its checkpoints")
    what: tuple[str, ...] = option(
        (),
        help="comma-separated: truncation, mixing, interpolation, path, equivariance (default: all that apply)",
        choices=NAMES,
        metavar="NAME,...",
    )
    class_name: str = option("", help="class to show, for a generator of several")
    count: int = option(6, help="images of a row or column", limits=(2, 16))
    samples: int = option(
        64, help="images, or pairs, that path length and equivariance are measured on", limits=(2, None)
    )
    seed: int = option(0, help="of images; image i is that of gan sample with this seed", limits=(0, None))
    lpips: str = option(
        "",
        help="SqueezeNet of LPIPS, for the perceptual path length: a .safetensors file, or squeezenet1_1 to download "
        "it (default: the path length in pixels)",
        metavar="FILE",
    )
    lpips_heads: str = option("", help="LPIPS heads, .safetensors (default: torchmetrics' own)", metavar="FILE")
    checkpoint: str = option("last", help="last, best (nearest to the real images), or a step number")
    out: str = option("", help="folder for the pictures (default: looks/ in the run folder)")
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")


def main(config: Config) -> Outcome:
    """Draw what was asked for, or all that applies, and write ``looks.json``.

    Raises:
        SonoforgeError: No such checkpoint or class, a look that this generator does not have, or a folder with other
            files.
    """
    checkpoint = gan_checkpoint.find_checkpoint(Path(config.run), config.checkpoint)
    about = gan_checkpoint.describe(checkpoint)
    label = find_label(config.class_name, about.classes, about.class_name)
    class_name = about.class_name if label is None else about.classes[label]
    origin = describe_origin(checkpoint, config.seed, class_name)
    folder = Path(config.out) if config.out else checkpoint.parent.parent / "looks"
    before = _open_folder(folder, origin)
    generator = load_generator(checkpoint, config.device)
    reasons = _not_applicable(generator)
    for name in config.what:
        if name in reasons:
            raise SonoforgeError(f"--what {name}: {reasons[name]}")
    distance, distance_name = _open_distance(config, about.image_channels)
    subject = Subject(
        generator,
        label,
        about.image_channels,
        config.count,
        config.samples,
        config.seed,
        distance,
        distance_name,
        origin,
    )
    looks: dict[str, Any] = dict(before)
    for name in config.what or tuple(LOOKS):
        if name in reasons:
            log.info("%s: %s", name, reasons[name])
            continue
        shown = LOOKS[name](subject)
        for file, content in shown.files.items():
            write_bytes(folder / file, content)
        hashes = {file: hashlib.sha256(content).hexdigest() for file, content in shown.files.items()}
        looks[name] = {"files": hashes, **shown.entry}
        log.info("%s: %s", name, ", ".join(str(folder / file) for file in hashes))
    result = {**origin, "notice": NOTICE, "use": FACE, "looks": looks, "not_applicable": reasons}
    write_json(folder / RECORD, result)
    log.info("figures, and how they were measured: %s", folder / RECORD)
    return Outcome(result)


def _open_folder(folder: Path, origin: dict[str, Any]) -> dict[str, Any]:
    """Return the looks that are there of the same images; those of others are removed.

    Raises:
        SonoforgeError: The folder holds something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return {}
    try:
        before = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        looks: dict[str, Any] = before["looks"]
        files = [file for look in looks.values() for file in look["files"]]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise SonoforgeError(
            f"{folder}: holds other files already, expected an empty folder or one of gan show; choose another --out"
        ) from None
    if all(before.get(key) == value for key, value in origin.items()):
        return looks
    for file in files:
        (folder / Path(file).name).unlink(missing_ok=True)
    return {}


def _not_applicable(generator: nn.Module) -> dict[str, str]:
    """Return why looks do not apply to a generator, by name, in one line each."""
    reasons = {}
    if not has_styles(generator) and latent_distribution(generator) != "normal":
        reasons["truncation"] = "not applicable: its latents are uniform, so none is far out"
    if not has_styles(generator):
        reasons["mixing"] = "not applicable: only StyleGAN 1 to 3 have styles to mix"
    if not hasattr(getattr(getattr(generator, "synthesis", None), "input", None), "transform"):
        reasons["equivariance"] = "not applicable: only StyleGAN3 takes transforms of its input"
    return reasons


def _open_distance(config: Config, image_channels: int) -> tuple[SquaredDistance, str]:
    if config.lpips:
        lpips = open_lpips(config.lpips, config.lpips_heads or None, find_device(config.device))
        return perceptual_distance(lpips, image_channels), lpips.name
    if config.lpips_heads:
        raise SonoforgeError("--lpips-heads: found without --lpips; give its SqueezeNet as well")
    return pixel_distance, "mean squared difference of pixels in [-1, 1]"


def _show_truncation(subject: Subject) -> Shown:
    """Rows of one latent, columns of one psi; or of one largest number in the latents."""
    styled = has_styles(subject.generator)

    def column(truncation: Truncation) -> Pixels:
        batches = sample_batches(subject.generator, subject.count, subject.seed, subject.label, truncation)
        return _image_part(subject, np.concatenate([*batches]))

    if styled:
        columns = [column(Truncation(psi)) for psi in PSIS]
        heads = [f"psi {psi:g}" for psi in PSIS]
        caption = "Styles drawn to their mean by psi (Karras 2019)"
        caption += ", the mean over all classes." if subject.label is not None else "."
    else:
        columns = [column(Truncation(limit=clip)) for clip in CLIPS]
        heads = ["no limit" if clip is None else f"up to {clip:g}" for clip in CLIPS]
        caption = "Latents without numbers beyond a limit, which are drawn anew (Brock 2019)."
    rows = [[images[index] for images in columns] for index in range(subject.count)]
    sheet = draw_sheet(rows, heads, [f"image {index}" for index in range(subject.count)], caption)
    kind = {"psi": PSIS} if styled else {"clip": CLIPS}
    return Shown(
        {"truncation.png": sheet_png(sheet, subject.origin)},
        {**kind, "images": list(range(subject.count)), "layout": sheet.describe()},
    )


def _show_mixing(subject: Subject) -> Shown:
    """Karras 2019, figure 3: images on the left with a third of the styles of the images above."""
    count = subject.count
    styles = map_latents(subject.generator, _latents(subject, count + DESTINATIONS), subject.label)
    sources, destinations = styles[:count], styles[count:]
    bands = style_bands(styles.shape[1])
    plain = _pixels(subject, synthesise(subject.generator, styles))
    rows: list[list[Pixels | None]] = [[None, *plain[:count]]]
    names = [""]
    for band, (begin, end) in bands.items():
        for index, destination in enumerate(destinations):
            mixed = mix_bands(destination.expand_as(sources), sources, begin, end)
            rows.append([plain[count + index], *_pixels(subject, synthesise(subject.generator, mixed))])
            names.append(f"{band} {begin + 1}-{end}")
    caption = (
        f"Style mixing (Karras 2019, figure 3): the named ones of {styles.shape[1]} styles are those of the image on "
        "top, the others those of the image on the left."
    )
    heads = ["", *[f"image {index}" for index in range(count)]]
    sheet = draw_sheet(rows, heads, names, caption, apart=APART)
    return Shown(
        {"style-mixing.png": sheet_png(sheet, subject.origin)},
        {
            "styles": styles.shape[1],
            "bands": {band: list(range(begin + 1, end + 1)) for band, (begin, end) in bands.items()},
            "sources": list(range(count)),
            "destinations": list(range(count, count + DESTINATIONS)),
            "layout": sheet.describe(),
        },
    )


def _show_interpolation(subject: Subject) -> Shown:
    """Strips from each image to the next, and all of them as a film that ends where it begins."""
    space = spaces(subject.generator)[-1]
    ends = _closed_pairs(subject)
    strips = walk(subject.generator, space, ends, torch.linspace(0, 1, STRIP).expand(len(ends), -1), subject.label)
    rows = [list(_pixels(subject, strip)) for strip in strips]
    names = [f"{index} to {(index + 1) % subject.count}" for index in range(subject.count)]
    way = "on the line between two styles (w)" if space == "w" else "on the way between two latents (z)"
    sheet = draw_sheet(rows, (), names, f"Images {way}.")
    places = (torch.arange(FRAMES) / FRAMES).expand(len(ends), -1)
    film = _pixels(subject, walk(subject.generator, space, ends, places, subject.label).flatten(0, 1))
    gif, size = film_gif(film, subject.origin)
    return Shown(
        {"interpolation.png": sheet_png(sheet, subject.origin), "interpolation.gif": gif},
        {
            "space": space,
            "images": list(range(subject.count)),
            "layout": sheet.describe(),
            "film": {"width": size[0], "height": size[1], "frames": len(film)},
        },
    )


def _show_path(subject: Subject) -> Shown:
    """Step sizes along the strips' paths, and the path length over random pairs."""
    perceptual = subject.distance is not pixel_distance
    figure_name = "perceptual path length" if perceptual else "pixel path length"
    short = "LPIPS, root" if perceptual else "root mean squared difference of pixels"
    lengths, steps = [], {}
    for space in spaces(subject.generator):
        ends = _closed_pairs(subject)
        places = torch.linspace(0, 1, PLACES).expand(len(ends), -1)
        steps[space] = step_sizes(walk(subject.generator, space, ends, places, subject.label), subject.distance)
        lengths.append(
            measure_path_length(
                subject.generator,
                space,
                subject.samples,
                subject.seed,
                subject.distance,
                subject.distance_name,
                subject.label,
            )
        )
    figures = {
        length.space: {
            key: value for key, value in dataclasses.asdict(length).items() if key not in ("space", "values")
        }
        for length in lengths
    }
    for space, sizes in steps.items():
        means = sizes.mean(1)
        figures[space]["unevenness"] = (
            float((sizes.std(1)[means > 0] / means[means > 0]).mean()) if means.any() else None
        )
        log.info("%s in %s: %.4g +- %.2g", figure_name, space, figures[space]["mean"], figures[space]["standard_error"])
    figure = draw_paths(lengths, steps, short, figure_name)
    return Shown(
        {"path-length.png": figure_png(figure, subject.origin)},
        {
            "figure": figure_name,
            "distance": subject.distance_name,
            "unevenness": f"standard deviation over mean of {PLACES - 1} steps along a path, mean of {subject.count} "
            "paths; 0 is even",
            "spaces": figures,
        },
    )


def _show_equivariance(subject: Subject) -> Shown:
    """EQ-T, EQ-T of fractions and EQ-R, and images whose input was moved and turned."""
    render = render_transformed(subject.generator, subject.label)
    device = next(subject.generator.parameters()).device

    def image_part(latents: Tensor, matrices: Tensor) -> Tensor:
        return render(latents.to(device), matrices)[:, : subject.image_channels].cpu()

    latents = draw_latents(subject.samples, latent_size(subject.generator), subject.seed, "equivariance")
    shown = _latents(subject, min(subject.count, TURNED))
    images = [to_pixels(image_part(shown, _matrices(len(shown), *way))) for way in TRANSFORMS.values()]
    measured = {
        "EQ-T": translation_equivariance(image_part, latents, subject.seed),
        "EQ-T fractional": translation_equivariance(image_part, latents, subject.seed, fractional=True),
    }
    if images[0].shape[1] >= SMALLEST:
        measured["EQ-R"] = rotation_equivariance(image_part, latents, subject.seed)
    figures = {name: dataclasses.asdict(figure) for name, figure in measured.items()}
    said = ", ".join(f"{name} {one.decibels:.1f} dB (+- {one.standard_error:.1f})" for name, one in measured.items())
    log.info("%s, on %d images", said, subject.samples)
    rows = [[column[index] for column in images] for index in range(len(shown))]
    caption = f"The generator's input moved and turned; what it shows should follow. {said}; {subject.samples} images."
    sheet = draw_sheet(rows, list(TRANSFORMS), [f"image {index}" for index in range(len(shown))], caption)
    content = {**subject.origin, "notice": NOTICE, "use": FACE, "figures": figures}
    return Shown(
        {
            "equivariance.png": sheet_png(sheet, subject.origin),
            "equivariance.json": (json.dumps(plain(content), indent=2, allow_nan=False) + "\n").encode(),
        },
        {"figures": figures, "transforms": list(TRANSFORMS), "layout": sheet.describe()},
    )


LOOKS: dict[str, Callable[[Subject], Shown]] = {
    "truncation": _show_truncation,
    "mixing": _show_mixing,
    "interpolation": _show_interpolation,
    "path": _show_path,
    "equivariance": _show_equivariance,
}


def _latents(subject: Subject, count: int) -> Tensor:
    """Return the latents of images 0 to count - 1, as ``gan sample`` draws them: (count, Z)."""
    return torch.cat([sample_latent(subject.generator, subject.seed, index) for index in range(count)])


def _closed_pairs(subject: Subject) -> Tensor:
    """Latents of each image and of the next one, the first after the last: (count, 2, Z)."""
    latents = _latents(subject, subject.count)
    return torch.stack([latents, latents.roll(-1, 0)], 1)


def _image_part(subject: Subject, pixels: Pixels) -> Pixels:
    return pixels[..., : subject.image_channels]


def _pixels(subject: Subject, images: Tensor) -> Pixels:
    return _image_part(subject, to_pixels(images))


def _matrices(count: int, right: float, down: float, degrees: float) -> Tensor:
    """From places in the moved and turned image to places of the generator's input: (count, 3, 3)."""
    angle = math.radians(-degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    matrix = torch.tensor([[cosine, -sine, -right], [sine, cosine, -down], [0, 0, 1]], dtype=torch.float64)
    return matrix.expand(count, 3, 3)
