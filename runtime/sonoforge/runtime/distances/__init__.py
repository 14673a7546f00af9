"""Measure how far apart two sets of images are, using only numpy.

Training and `sonoforge evaluate` share these implementations.  Start
with `kid`, which is unbiased at any number of images.
"""

from sonoforge.runtime.distances.fid_kid import kernel_distance as kid

__all__ = ["kid"]
