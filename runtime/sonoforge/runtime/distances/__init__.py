"""How far two sets of images are apart, in numpy alone.

Training, `sonoforge evaluate` and `sonoforge quality --against` share these implementations, on a workstation as on a
device without torch.  Start with `kid`, which is unbiased at any number of images.
"""

from sonoforge.runtime.distances.fid_kid import kernel_distance as kid

__all__ = ["kid"]
