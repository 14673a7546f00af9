"""Layouts that are no folders of pictures in classes, and the command that makes one of each."""

import shlex
from collections.abc import Collection
from pathlib import Path

from sonoforge.runtime.errors import SonoforgeError

# What `data import` calls a layout -> what it is, and the files that it is known by.
_SIGNS = {
    "coco": (
        "COCO annotations",
        ("_annotations.coco.json", "*/_annotations.coco.json", "instances*.json", "annotations/instances*.json"),
    ),
    "yolo": ("YOLO labels", ("labels/*.txt", "labels/*/*.txt", "*/labels/*.txt")),
}
VOLUME = "volume"
"""How files that hold one are called among those that are passed over, see `images.inputs.kind_of_other`."""


def check_imported(root: Path, stems: Collection[str]) -> None:
    """Refuse a folder whose classes lie in annotations of objects.

    Args:
        root: The folder.
        stems: Names of its images without suffix, as those of YOLO's labels are.

    Raises:
        SonoforgeError: It holds annotations of a known kind.
    """
    for name, (what, patterns) in _SIGNS.items():
        for sign in (file for pattern in patterns for file in sorted(root.glob(pattern))):
            if sign.suffix == ".json" or sign.stem in stems:
                raise SonoforgeError(
                    f"{root}: found {what} ({sign.relative_to(root)}), expected a folder for each class or a table; "
                    f"{import_command(name, root)} writes one"
                )


def import_command(name: str, root: Path) -> str:
    """Return the command that writes pictures in class folders."""
    return f"sonoforge data import {name} {shlex.quote(str(root))} OUT"
