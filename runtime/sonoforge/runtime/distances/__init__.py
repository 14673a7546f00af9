"""How far two sets of images are apart: one metric, one file, numpy alone.

These are the only implementations in the project: training, `sonoforge evaluate` and `sonoforge quality --against`
measure with the same formulas, on a workstation as on a device without torch.

`kid` is the one to start with: unbiased at any number of images.
"""

from sonoforge.runtime.distances.fid_kid import kernel_distance as kid

__all__ = ["kid"]
