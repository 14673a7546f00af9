"""Read SLiver07: abdominal CT with the liver outlined, 20 training volumes.

Heimann et al., "Comparison and Evaluation of Methods for Liver Segmentation From CT Datasets", IEEE TMI 28(8), 2009.
As published, in one or several folders: ``liver-orig001.mhd`` and ``.raw``, ``liver-seg001.mhd`` and ``.raw``; label 1
is the liver.  In other sets of this layout, label 2 marks lesions.
"""

import re
from pathlib import Path

from sonoforge.training.data.collections.importing import ImportSettings, PlannedPicture, Reader
from sonoforge.training.data.collections.volumes import LabelledVolume, labels_in, level_window, plan_slices

STRUCTURES = {1: "liver", 2: "lesion"}
WINDOW = (-160.0, 240.0)
"""Default Hounsfield units, which show the liver."""
_VOLUME = re.compile(r"liver-orig(?P<number>\d{3})\.mhd")


def _find_headers(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("**/liver-orig*.mhd") if _VOLUME.fullmatch(path.name))


def plan(folder: Path, settings: ImportSettings) -> list[PlannedPicture]:
    """List the slices in the order of the volumes' names."""
    window = level_window(settings) or WINDOW
    masks = {path.name: path for path in folder.glob("**/liver-seg*.mhd")}
    pairs = []
    for path in _find_headers(folder):
        name = path.name.replace("orig", "seg")
        pairs.append((path, masks.get(name, path.with_name(name))))
    structures = dict(STRUCTURES) if 2 in labels_in(labels for _, labels in pairs) else {1: STRUCTURES[1]}
    volumes = [LabelledVolume(path.stem, path, labels, structures, path.stem, {}, window) for path, labels in pairs]
    return plan_slices("liver", volumes)


READER = Reader("liver-origNNN.mhd", ("window",), plan, _find_headers)
