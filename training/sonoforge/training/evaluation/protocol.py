"""What an evaluation's figures depend on besides the generated images; evaluations may be compared only if it is equal.

The number of images, the resize filter, the network and the real images move FID and similar metrics more than
generators differ (Parmar, Zhang, Zhu, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation", CVPR 2022;
Chong, Forsyth, "Effectively Unbiased FID and Inception Score and Where to Find Them", CVPR 2020).

A protocol is plain JSON; it holds only the number of generated images, and no free text such as paths.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sonoforge.runtime.atomic import plain
from sonoforge.training.evaluation.image_set import ImageSet
from sonoforge.training.evaluation.spaces import Space
from sonoforge.training.run_folder import package_versions

Protocol = dict[str, Any]

_PACKAGES = ("sonoforge", "numpy", "pillow", "torch", "onnxruntime")
_ID = 16  # hex digits: 64 bits


def make_protocol(
    real: ImageSet, fakes: int, spaces: Sequence[Space], draws: Mapping[str, int], settings: Mapping[str, Any]
) -> Protocol:
    """Collect everything the figures depend on.

    ``draws`` are ``matched`` (images per set), ``repeats`` (pairs of halves) and ``seed``; ``settings`` maps each
    metric's name to its settings.
    """
    side, channels = real.pixels.shape[2:]
    values = {
        "number of real images": len(real),
        "number of generated images": fakes,
        "image size": side,
        "channels": channels,
        "resize of real images": real.resize,
        **draws,
        "real images": real.fingerprint,
        "real groups": hashlib.sha256(real.groups.astype("<i8").tobytes()).hexdigest()[:_ID],
        "spaces": [dict(space.protocol) for space in spaces],
        **settings,
        # Without the part after a plus sign: CPU and GPU builds of torch are one version.
        "versions": {name: found.partition("+")[0] for name, found in package_versions(_PACKAGES).items()},
    }
    protocol: Protocol = plain(values)
    return protocol


def protocol_id(protocol: Mapping[str, Any]) -> str:
    """Return 16 hex digits that are equal for equal protocols."""
    return hashlib.sha256(json.dumps(plain(protocol), sort_keys=True).encode()).hexdigest()[:_ID]
