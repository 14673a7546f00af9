"""Import torchvision, also where it was built for another torch than the one installed."""

import re
from types import ModuleType

import torch

_placeholders: list[torch.library.Library] = []


def import_torchvision() -> ModuleType:
    """Import torchvision, also beside a torch of another build (a CPU torch with a CUDA torchvision).

    Such a pair cannot load torchvision's compiled operators, and the import then stops because a
    detection operator (``nms``) is unknown.  MobileNetV2 uses none of them, so each unknown operator
    is declared, without an implementation: calling one still fails, loudly.
    """
    for _ in range(16):
        try:
            import torchvision  # noqa: PLC0415 - the point of this function
        except RuntimeError as error:
            unknown = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if unknown is None:
                raise
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(f"{unknown[1]}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _placeholders.append(library)
        else:
            module: ModuleType = torchvision
            return module
    raise RuntimeError("torchvision could not be imported: its operators do not match this torch")
