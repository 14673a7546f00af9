"""Generate a simulated breast ultrasound data set: the built-in default of ``sonoforge run``.

It needs no download and no consent, its masks and groups are exact, and its difficulty is known: see `tissue` for
the overlap of the classes and the anatomy, and `Scanner` for the acoustics.  It exercises everything from images
to evidence, and says nothing about patients. Its burned-in marks, like those left by a sonographer's clicks, are
independent of the class: a normal picture gets calipers too, around nothing. A classifier must ignore them; they are
never a shortcut.
"""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from scipy import fft

from sonoforge.runtime.atomic import replacing_folder
from sonoforge.runtime.csv_tables import csv_text
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.plain_image import encoded
from sonoforge.training.phantom import BALANCE, CLASSES, MARKED
from sonoforge.training.phantom.tissue import FIELD_MM, Field, Tissue, build_tissue
from sonoforge.training.statistics.results import Record

SPEED_MM_PER_US = 1.54  # sound in soft tissue
F_NUMBER = 2.8  # depth over aperture, kept by dynamic focusing on receive
STEERING = 5.0  # degrees between the looks of spatial compounding
CYCLES = 3.0  # length of the pulse, full width at half maximum
NOISE_DB = -74.0  # electronic noise at the receiver, relative to the echo of gland at the probe
SIDE_MM = 1.25  # extra tissue on either side, so that circular convolution stays outside the picture


@dataclass(frozen=True)
class Scanner:
    """Settings of one examination, whose B-mode picture is simulated.

    The echo of a cloud of scatterers much finer than the resolution is a circular complex Gaussian field, filtered by
    the point-spread function; its magnitude follows Rayleigh's law (Wagner, Smith, Sandrik & Lopez, IEEE Trans. Sonics
    Ultrason. 30:156-163, 1983).  The field is at baseband, so the pixel grid need only hold the bandwidth of the pulse.
    The point-spread function is assumed separable and linear in the echoes (Jensen, Field, Med Biol Eng Comput 34,
    1996; Bamber & Dickinson, Phys Med Biol 25, 1980).  Its lateral part changes with every row: each row's lateral
    spectrum is multiplied by that depth's transfer function, which is exact and costs no more than one fixed width.
    """

    frequency: float = 10.0  # centre of the pulse, MHz
    focus: float = 18.0  # depth of the transmit focus, mm
    dynamic_range: float = 60.0  # span of echo levels between black and white, dB
    looks: int = 2  # pictures from different angles averaged into one (spatial compounding)
    tgc: float = 0.55  # attenuation that the time-gain compensation assumes, dB/cm/MHz
    tgc_limit: float = 42.0  # largest gain that it can give, dB
    gain: float = 22.0  # echo level shown as white, dB above gland; a higher number gives a darker picture


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """Draw the settings of one examination; they do not depend on the class."""
    frequency, focus = ((7.5, 20.0), (10.0, 18.0), (12.0, 15.0))[rng.integers(3)]
    return Scanner(
        frequency=frequency,
        focus=focus,
        dynamic_range=rng.uniform(52, 66),
        looks=int(rng.integers(2, 4)),
        tgc=rng.uniform(0.50, 0.60),
        tgc_limit=0.11 * frequency * rng.uniform(22, 45),
        gain=rng.uniform(16, 26),
    )


class PointSpread(NamedTuple):
    """Transfer functions that preserve the mean power of white noise."""

    lateral: tuple[Field, ...]  # one (R, C) float32 for each look; over lateral frequency, for every depth
    axial: Field  # (R, 1) float32; over axial frequency


@lru_cache(maxsize=16)
def point_spread(shape: tuple[int, int], size: int, frequency: float, focus: float, looks: int = 1) -> PointSpread:
    """Return the point-spread function of a probe as transfer functions on a grid.

    A uniform aperture of F-number F, used both ways, has the triangular lateral spectrum that ends at
    1 / (wavelength F) (Goodman, Introduction to Fourier Optics, ch. 6): sinc^2 with side lobes.  Away from the
    transmit focus it widens as a Gaussian beam does.  Steering by an angle a moves the spectrum by
    2 sin(a) / wavelength, so pictures from several angles are different bands of the same scatterers.

    Pixels ``size`` span the 40 mm of the picture; frequency in MHz, focus in mm; ``looks`` is the number of angles,
    `STEERING` degrees apart and symmetric about the axis.
    """
    rows, columns = shape
    pixel = FIELD_MM / size
    wavelength = SPEED_MM_PER_US / frequency
    depth = np.arange(rows)[:, None] * pixel
    focal_range = 14 * wavelength * F_NUMBER**2
    width = wavelength * F_NUMBER * np.sqrt(1 + ((depth - focus) / focal_range) ** 2)
    across = np.fft.fftfreq(columns, pixel)
    # A steered band may reach what the grid can hold; cut off abruptly, it would ring across dark tissue.
    taper = np.cos(math.pi / 2 * np.clip((np.abs(across) * pixel - 0.375) / 0.125, 0, 1)) ** 2
    lateral = []
    for look in range(looks):
        shift = 2 * math.sin(math.radians(STEERING) * (look - (looks - 1) / 2)) / wavelength
        band = np.maximum(0, 1 - np.abs(across - shift) * width) * taper
        lateral.append((band / np.sqrt(np.mean(band**2, axis=1, keepdims=True))).astype(np.float32))
    # Depth is half the path, so a pulse of n cycles is n / 2 wavelengths long.
    sigma = CYCLES / 2 * wavelength / math.sqrt(8 * math.log(2))
    down = np.fft.fftfreq(rows, pixel)[:, None]
    axial = np.exp(-2 * (math.pi * sigma * down) ** 2) * np.cos(math.pi * pixel * down) ** 2
    axial = (axial / math.sqrt(np.mean(axial**2))).astype(np.float32)
    for array in (*lateral, axial):
        array.setflags(write=False)
    return PointSpread(tuple(lateral), axial)


def envelope(echo: Field, specular: Field | None, spread: PointSpread, rng: np.random.Generator) -> Field:
    """Return the magnitude of a tissue's echo signal, before any gain or compression; looks of ``spread`` are averaged.

    Returns:
        (R, C) float32, not negative; with one look, its mean square equals `echo`'s where nothing is specular.
    """
    rows, columns = echo.shape
    signal = rng.standard_normal((rows, 2 * columns), dtype=np.float32).view(np.complex64)
    signal *= echo * np.float32(math.sqrt(0.5))
    if specular is not None:
        signal += specular
    # The lateral part belongs to the depth of each scatterer, so it comes before the pulse spreads that depth.
    signal = fft.fft(signal, axis=1, overwrite_x=True, workers=1)
    total = np.zeros(echo.shape, np.float32)
    for lateral in spread.lateral:
        look = fft.fft(signal * lateral, axis=0, overwrite_x=True, workers=1)
        look *= spread.axial
        total += np.abs(fft.ifft2(look, overwrite_x=True, workers=1))
    total *= np.float32(1 / len(spread.lateral))
    return total


def scan(tissue: Tissue, scanner: Scanner, shift: int, rng: np.random.Generator) -> tuple[Field, NDArray[np.bool_]]:
    """Scan a tissue with the probe moved sideways.

    Electronic noise is added to the scatterers' power, because both are complex Gaussian. ``shift`` columns stay within
    the tissue's margin minus `SIDE_MM`.

    Returns:
        Echo level after time-gain compensation, (size, size) float32 in dB relative to gland; and the lesion's area in
        this picture, (size, size) bool.
    """
    size = tissue.size
    side = math.ceil(SIDE_MM * size / FIELD_MM)
    first = tissue.margin + shift - side
    columns = min(fft.next_fast_len(size + 2 * side), tissue.echo.shape[1] - first)
    view = (slice(None), slice(first, first + columns))
    shown = (slice(0, size), slice(side, side + size))
    loss = np.exp(tissue.loss[view] * np.float32(-scanner.frequency * math.log(10) / 20))
    noise = np.float32(10 ** (NOISE_DB / 10))
    echo = tissue.echo[view] * loss
    echo = np.sqrt(echo * echo + noise)
    specular = tissue.specular[view] * loss
    spread = point_spread(echo.shape, size, scanner.frequency, scanner.focus, scanner.looks)
    level = np.log10(envelope(echo, specular, spread, rng)[shown] + np.float32(1e-12)) * np.float32(20)
    depth = np.arange(size, dtype=np.float32)[:, None] * np.float32(FIELD_MM / size)
    # The two-way time-gain compensation at each depth, dB.
    level += np.minimum(2 * scanner.frequency * scanner.tgc * depth / 10, scanner.tgc_limit).astype(np.float32)
    return level, np.ascontiguousarray(tissue.lesion[view][shown])


def compress(level: Field, scanner: Scanner) -> NDArray[np.uint8]:
    """Map echo levels to grey: white at the scanner's gain, black one dynamic range below."""
    grey = (level + np.float32(scanner.dynamic_range - scanner.gain)) * np.float32(255 / scanner.dynamic_range)
    return np.asarray(np.clip(grey, 0, 255).astype(np.uint8))


SHIFT_MM = 3.0  # the probe moves this far to either side between the frames of one phantom
MARKER = "synthetic: sonoforge phantom"


@dataclass(frozen=True, eq=False)
class PhantomImage:
    """One picture of the set."""

    pixels: NDArray[np.uint8]  # (H, W) uint8, grey
    mask: NDArray[np.bool_]  # (H, W) bool; the exact support of the lesion, empty for a normal picture
    label: int  # index into `CLASSES`
    group: str  # name of the phantom that the picture shows; its frames belong on one side of a split


def class_counts(count: int) -> tuple[int, ...]:
    """Return the pictures of each class by largest remainders; ties go to the earlier class."""
    exact = [count * share / sum(BALANCE) for share in BALANCE]
    counts = [math.floor(number) for number in exact]
    by_remainder = sorted(range(len(exact)), key=lambda label: round(counts[label] - exact[label], 9))
    for label in by_remainder[: count - sum(counts)]:
        counts[label] += 1
    return tuple(counts)


def generate_phantom(label: int, index: int, seed: int, size: int = 256) -> list[PhantomImage]:
    """Return the two or three frames of one phantom of a class; (seed, index) is the only source of randomness.

    All frames show the same tissue and lesion under the same scanner.  The probe has moved, so the speckle is new, and
    gain and compensation were readjusted.
    """
    root = np.random.SeedSequence((seed, index))
    phantom_seed, *frame_seeds = root.spawn(4)
    rng = np.random.default_rng(phantom_seed)
    frames = int(rng.integers(2, 4))
    marked = rng.random() < MARKED
    scanner = draw_scanner(rng)
    tissue = build_tissue(label, size, rng)
    images = []
    for frame_seed in frame_seeds[:frames]:
        rng = np.random.default_rng(frame_seed)
        shift = round(rng.uniform(-SHIFT_MM, SHIFT_MM) * size / FIELD_MM)
        touched = replace(
            scanner, gain=scanner.gain + 1.5 * rng.standard_normal(), tgc=scanner.tgc * rng.uniform(0.97, 1.03)
        )
        level, mask = scan(tissue, touched, shift, rng)
        pixels = compress(level, touched)
        if marked:
            draw_marks(pixels, mask, rng)
        images.append(PhantomImage(pixels, mask, label, f"phantom-{index:05d}"))
    return images


def generate_phantom_set(count: int, seed: int, size: int = 256) -> Iterator[PhantomImage]:
    """Generate a data set picture by picture, class after class, in the order of `CLASSES`.

    The same arguments give the same pixels, bit for bit, on one installation.

    Sides are 64 to 1024 pixels.

    Yields:
        `count` pictures; the last phantom of a class may show fewer frames than the others.
    """
    index = 0
    for label, wanted in enumerate(class_counts(count)):
        made = 0
        while made < wanted:
            frames = generate_phantom(label, index, seed, size)[: wanted - made]
            yield from frames
            made += len(frames)
            index += 1


def _png(pixels: NDArray[np.uint8], about: str) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Description", MARKER)
    text.add_text("Comment", about)
    return encoded(Image.fromarray(pixels), pnginfo=text, compress_level=3)


def write_phantom_set(folder: Path | str, count: int, seed: int, size: int = 256) -> Record:
    """Write the data set of `generate_phantom_set` in the layout of BUSI, with its groups, to a new or empty folder.

    Pictures are ``<class>/<class> (N).png`` with ``<class>/<class> (N)_mask.png`` beside each, N from 1; normal
    pictures have black masks. ``groups.csv`` has the columns file and group. Every PNG says in its text that it is
    synthetic. The folder only appears under its name once complete.

    Returns:
        ``images``, pictures of each class, and ``groups``, the number of phantoms.

    Raises:
        SonoforgeError: The folder is not empty or cannot be written.
    """
    root = Path(folder)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise SonoforgeError(f"{root}: already holds files; choose a new or empty folder")
    numbers = dict.fromkeys(CLASSES, 0)
    groups: list[tuple[str, str]] = []
    # One rename publishes the set: hundreds of single fsyncs would cost more than the simulation.
    with replacing_folder(root, durable=False, new=True) as temporary:
        for image in generate_phantom_set(count, seed, size):
            name = CLASSES[image.label]
            numbers[name] += 1
            stem = f"{name}/{name} ({numbers[name]})"
            (temporary / name).mkdir(parents=True, exist_ok=True)
            about = f"{name}, {image.group}, seed {seed}, {FIELD_MM:g} mm over {size} pixels"
            (temporary / f"{stem}.png").write_bytes(_png(image.pixels, about))
            (temporary / f"{stem}_mask.png").write_bytes(_png(image.mask.astype(np.uint8) * np.uint8(255), about))
            groups.append((f"{stem}.png", image.group))
        (temporary / "groups.csv").write_text(csv_text([("file", "group"), *groups]), encoding="utf-8")
    return {"images": numbers, "groups": len({group for _, group in groups})}


# Glyphs of 3 by 5 pixels, row by row, one octal digit a row: own drawing, so that no font library is involved.
with Path(__file__).with_name("glyphs.csv").open(encoding="utf-8", newline="") as _file:
    GLYPHS = {row["character"]: row["rows"] for row in csv.DictReader(_file)}


def draw_text(pixels: NDArray[np.uint8], text: str, row: int, column: int, scale: int) -> None:
    """Burn text of `GLYPHS` into a picture (H, W) uint8, cut at its borders; a dot has ``scale`` pixels."""
    for place, character in enumerate(text):
        dots = np.array([[int(digit) >> bit & 1 for bit in (2, 1, 0)] for digit in GLYPHS[character]], np.bool_)
        dots = np.kron(dots, np.ones((scale, scale), np.bool_))
        left = column + 4 * scale * place
        target = pixels[row : row + dots.shape[0], left : left + dots.shape[1]]
        target[dots[: target.shape[0], : target.shape[1]]] = 230


def draw_calipers(pixels: NDArray[np.uint8], box: tuple[int, int, int, int]) -> None:
    """Burn in four caliper crosses, joined by dotted lines, around a box: first and last row, first and last column."""
    top, bottom, left, right = box
    row, column = (top + bottom) // 2, (left + right) // 2
    reach = max(1, pixels.shape[0] // 100)
    pixels[row, left:right:4] = 220
    pixels[top:bottom:4, column] = 220
    for down, across in ((top, column), (bottom, column), (row, left), (row, right)):
        y = min(max(down, reach), pixels.shape[0] - 1 - reach)
        x = min(max(across, reach), pixels.shape[1] - 1 - reach)
        pixels[y, x - reach : x + reach + 1] = 245
        pixels[y - reach : y + reach + 1, x] = 245


def draw_marks(pixels: NDArray[np.uint8], mask: NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Burn a random selection of marks into a picture; calipers go around the mask, or anywhere if it is empty."""
    size = pixels.shape[0]
    calipers, ruler, text = rng.random(3) < (0.5, 0.7, 0.6)
    # The positions and sizes of lesions.
    row, column, height, width = size / FIELD_MM * rng.uniform((9, 12, 5, 5), (24, 28, 15, 15))
    side, hour, corner = rng.integers(2), int(rng.integers(1, 13)), rng.integers(2)
    if calipers:
        box = (int(row - height / 2), int(row + height / 2), int(column - width / 2), int(column + width / 2))
        if mask.any():
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            box = (int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1]))
        draw_calipers(pixels, box)
    if ruler:  # the depth scale in the right border: a tick every 5 mm, a longer one every 10 mm
        for tick in range(1, int(FIELD_MM // 5)):
            length = max(1, size // (40 if tick % 2 == 0 else 80))
            pixels[int(tick * 5 * size / FIELD_MM), -1 - length : -1] = 200
    if text:
        scale = max(1, size // 170)
        label = f"{('RT', 'LT')[side]} BREAST {hour}:00"
        draw_text(pixels, label, size - 8 * scale if corner else 2 * scale, 3 * scale, scale)
