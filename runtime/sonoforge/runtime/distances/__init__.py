"""How far two sets of images are apart: one metric, one file, numpy alone.

These are the only implementations in the project: training, `sonoforge evaluate` and `sonoforge quality --against`
measure with the same formulas, on a workstation as on a device without torch.

`kid` is the one to start with: unbiased at any number of images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sonoforge.runtime.distances.kernel import kernel_distance as kid

__all__ = ["kid"]


def __getattr__(name: str) -> Any:
    """Import the public function on first use: numpy is not for ``sonoforge --help``."""
    if name != "kid":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sonoforge.runtime.distances.kernel import kernel_distance  # noqa: PLC0415

    return kernel_distance
