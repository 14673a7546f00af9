"""ACDC: cine cardiac MRI of 150 patients, two volumes each with both ventricles and the myocardium outlined.

Bernard et al., "Deep Learning Techniques for Automatic MRI Cardiac Multi-Structures Segmentation and Diagnosis", IEEE
TMI 37(11), 2018.  As published: ``training/patient001/patient001_frame01.nii.gz``, ``patient001_frame01_gt.nii.gz``
and ``Info.cfg``, whose lines ``ED: 1`` and ``ES: 12`` name the frames at the end of diastole and of systole; the same
below ``testing``.  Without ``Info.cfg``, the first frame is the end of diastole.
"""

import re
from pathlib import Path

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.collections.import_settings import ImportSettings
from sonoforge.training.data.collections.importing import Collection, PlannedPicture
from sonoforge.training.data.collections.sliced import LabelledVolume, plan_slices

CLASS = "heart"
STRUCTURES = ("right-ventricle", "myocardium", "left-ventricle")
_VOLUME = re.compile(r"(?P<patient>patient\d{3})_frame(?P<frame>\d{2,})\.nii(\.gz)?")


def find_tables(folder: Path) -> list[Path]:
    """Return the tables of the set, one for each patient: none have to be there."""
    return sorted(folder.glob("**/patient[0-9][0-9][0-9]/Info.cfg"))


def find_volumes(folder: Path) -> list[LabelledVolume]:
    """Return all volumes in the order of their names; none where the folder holds another set."""
    volumes = []
    for path in sorted(folder.glob("**/patient[0-9][0-9][0-9]/patient[0-9][0-9][0-9]_frame*.nii*")):
        match = _VOLUME.fullmatch(path.name)
        if match is None:
            continue
        name = path.name.partition(".")[0]
        phase = _phase(path.parent, int(match["frame"]))
        split = "test" if "testing" in path.parts else "train"
        volumes.append(
            LabelledVolume(
                name, path, path.with_name(path.name.replace(name, f"{name}_gt")), STRUCTURES, match["patient"],
                {"phase": phase, "split": split},
            )
        )  # fmt: skip
    return volumes


def plan(folder: Path, settings: ImportSettings) -> list[PlannedPicture]:
    """List the slices; see `importing.Collection`."""
    volumes = find_volumes(folder)
    if not volumes:
        raise SonoforgeError(
            f"{folder}: found no patientNNN/patientNNN_frameNN.nii.gz, expected ACDC as published; see sonoforge data "
            "list"
        )
    kept = [volume for volume in volumes if not settings.splits or volume.facts["split"] in settings.splits]
    return plan_slices(CLASS, kept, settings)


def _phase(folder: Path, frame: int) -> str:
    """``ED``, ``ES``, or nothing where the frame is neither."""
    try:
        text = (folder / "Info.cfg").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return "ED" if frame == 1 else "ES"
    frames = {name: int(number) for name, number in re.findall(r"^(ED|ES)\s*:\s*(\d+)", text, re.MULTILINE)}
    return next((name for name, number in frames.items() if number == frame), "")


COLLECTION = Collection("acdc", ("outlined", "splits"), find_tables, plan)
