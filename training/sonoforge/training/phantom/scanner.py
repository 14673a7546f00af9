"""Simulate the scanner of the breast phantom: from tissue to a B-mode picture.

The echo of a cloud of scatterers much finer than the resolution is a circular complex Gaussian field, filtered by the
point-spread function; its magnitude follows Rayleigh's law (Wagner, Smith, Sandrik & Lopez, IEEE Trans. Sonics
Ultrason. 30:156-163, 1983).  The field is simulated at baseband, so the pixel grid need only hold the bandwidth of the
pulse.  The point-spread function is assumed separable and linear in the echoes (Jensen, Field: A program for simulating
ultrasound systems, Med Biol Eng Comput 34, 1996, with the convolution model of Bamber & Dickinson, Phys Med Biol 25,
1980).  Its lateral part changes with every row: the lateral spectrum of each row is multiplied by that depth's transfer
function, which is exact and costs no more than one fixed width.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from sonoforge.training.phantom.tissue import FIELD_MM, Field, Tissue

SPEED_MM_PER_US = 1.54  # sound in soft tissue
F_NUMBER = 2.8  # depth over aperture, kept by dynamic focusing on receive
STEERING = 5.0  # degrees between the looks of spatial compounding
CYCLES = 3.0  # length of the pulse, full width at half maximum
NOISE_DB = -74.0  # electronic noise at the receiver, relative to the echo of gland at the probe
SIDE_MM = 1.25  # extra tissue on either side, so that circular convolution stays outside the picture


@dataclass(frozen=True)
class Scanner:
    """Settings of one examination."""

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


def tgc_decibels(scanner: Scanner, depth_mm: Field) -> Field:
    """Return the two-way time-gain compensation at each depth, dB, up to the scanner's limit."""
    return np.asarray(np.minimum(2 * scanner.frequency * scanner.tgc * depth_mm / 10, scanner.tgc_limit))


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
    level += tgc_decibels(scanner, depth).astype(np.float32)
    return level, np.ascontiguousarray(tissue.lesion[view][shown])


def compress(level: Field, scanner: Scanner) -> NDArray[np.uint8]:
    """Map echo levels to grey: white at the scanner's gain, black one dynamic range below."""
    grey = (level + np.float32(scanner.dynamic_range - scanner.gain)) * np.float32(255 / scanner.dynamic_range)
    return np.asarray(np.clip(grey, 0, 255).astype(np.uint8))
