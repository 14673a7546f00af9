"""Draw the latents of image i of a seed with nothing but SHA-256: the same in every language, without our library.

Recipe ``sha256-box-muller-1``.  ``seed`` and the image's ``index`` are whole numbers, 0 or more, in decimal digits
without leading zeros; the round r starts at 0.

1. Block b = 0, 1, ... is the SHA-256 of the ASCII text ``{seed}/{index}/{b}``, or ``{seed}/{index}/{b}/{r}`` in round r
   > 0, read as eight big-endian unsigned 32-bit numbers.  The blocks' numbers are concatenated.
2. Number x becomes u = (x + 0.5) / 2**32 in float64, which is exact and within (0, 1).
3. ``uniform``: latent number k is 2 * u[k] - 1.  ``normal`` (Box and Muller, "A Note on the Generation of Random
   Normal Deviates", 1958): with r = sqrt(-2 * log(u[2j])) and a = (2 * pi) * u[2j + 1], latent number 2j is
   r * cos(a) and number 2j + 1 is r * sin(a), all in float64.  With an odd size the last one is unused.
4. With a limit on normal latents (Brock, Donahue, Simonyan, BigGAN, ICLR 2019, section 3.1), numbers with a larger
   absolute value are replaced by the numbers at the same places in round 1, any still above it by round 2, and so on.
   The comparison is in float64.
5. Each number is rounded to float32.

Steps 1 and 2, and hence uniform latents, are exact to the bit.  IEEE 754 leaves the last bits of log, cos and sin to
the mathematics library, so a normal latent may differ in the last place of float32; on one machine, none of 400 000
numbers differed between numpy and JavaScript.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.generation import DISTRIBUTIONS
from sonoforge.runtime.errors import SonoforgeError

SMALLEST_LIMIT = 0.01  # one in 125 numbers is kept in each round


def draw_latent(
    seed: int, index: int, size: int, distribution: str = "normal", limit: float | None = None
) -> NDArray[np.float32]:
    """Draw the latent (Z,) float32 of one image by the recipe above.

    ``distribution`` is ``normal``, at most ``limit`` in size, or ``uniform`` in [-1, 1]; seed and index are 0 or more.
    """
    if seed < 0 or index < 0:
        raise SonoforgeError(f"seed, index: {seed} and {index} must not be negative")
    if distribution not in DISTRIBUTIONS:
        raise SonoforgeError(f"distribution: {distribution!r} is not one of {', '.join(DISTRIBUTIONS)}")
    if limit is not None and (distribution != "normal" or not limit >= SMALLEST_LIMIT):
        raise SonoforgeError(
            f"limit: {limit} with {distribution} latents; it must be {SMALLEST_LIMIT} or more, with normal latents"
        )
    if distribution == "uniform":
        return (2 * _uniform(seed, index, size, 0) - 1).astype(np.float32)
    values = _normal(seed, index, size, 0)
    attempt = 0
    while limit is not None and (beyond := np.abs(values) > limit).any():
        attempt += 1
        values[beyond] = _normal(seed, index, size, attempt)[beyond]
    return values.astype(np.float32)


def check_limit(distribution: str, *, styled: bool) -> None:
    """Refuse a limit on latents that become styles, or that are not normal."""
    if styled:
        raise SonoforgeError("truncation: this generator has styles; use psi instead")
    if distribution != "normal":
        raise SonoforgeError("truncation: this generator has uniform latents, which cannot be truncated")


def _uniform(seed: int, index: int, count: int, attempt: int) -> NDArray[np.float64]:
    """Return ``count`` numbers within (0, 1): steps 1 and 2."""
    end = f"/{attempt}" if attempt else ""
    blocks = (hashlib.sha256(f"{seed}/{index}/{block}{end}".encode()).digest() for block in range((count + 7) // 8))
    words = np.frombuffer(b"".join(blocks), ">u4")[:count]
    return np.asarray((words.astype(np.float64) + 0.5) / 2**32)


def _normal(seed: int, index: int, count: int, attempt: int) -> NDArray[np.float64]:
    """Return ``count`` standard normal numbers: step 3."""
    pairs = _uniform(seed, index, count + count % 2, attempt).reshape(-1, 2)
    radius = np.sqrt(-2 * np.log(pairs[:, 0]))
    angle = (2 * np.pi) * pairs[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(-1)[:count]
