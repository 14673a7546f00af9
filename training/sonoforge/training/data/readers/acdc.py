"""Read ACDC: cine cardiac MRI of 150 patients, two volumes each, with both ventricles and the myocardium outlined.

Bernard et al., "Deep Learning Techniques for Automatic MRI Cardiac Multi-Structures Segmentation and Diagnosis", IEEE
TMI 37(11), 2018.  As published: ``training/patient001/patient001_frame01.nii.gz``, ``patient001_frame01_gt.nii.gz`` and
``Info.cfg``, with lines ``ED: 1`` and ``ES: 12`` for the frames at end diastole and end systole; likewise below
``testing``.  Without ``Info.cfg``, the first frame is end diastole.
"""

import re
from pathlib import Path

from sonoforge.training.data.collections.importing import ImportSettings, PlannedPicture, Reader
from sonoforge.training.data.collections.volumes import LabelledVolume, plan_slices

STRUCTURES = {1: "right-ventricle", 2: "myocardium", 3: "left-ventricle"}
_VOLUME = re.compile(r"(?P<patient>patient\d{3})_frame(?P<frame>\d{2,})\.nii(\.gz)?")


def plan(folder: Path, settings: ImportSettings) -> list[PlannedPicture]:
    """List the slices in the order of the volumes' names."""
    volumes = []
    for path in sorted(folder.glob("**/patient[0-9][0-9][0-9]/patient[0-9][0-9][0-9]_frame*.nii*")):
        match = _VOLUME.fullmatch(path.name)
        split = "test" if "testing" in path.parts else "train"
        if match is None or (settings.splits and split not in settings.splits):
            continue
        name = path.name.partition(".")[0]
        labels = path.with_name(path.name.replace(name, f"{name}_gt"))
        facts = {"phase": _phase(path.parent, int(match["frame"])), "split": split}
        volumes.append(LabelledVolume(name, path, labels, STRUCTURES, match["patient"], facts))
    return plan_slices("heart", volumes)


def _phase(folder: Path, frame: int) -> str:
    """Return ``ED``, ``ES``, or nothing for any other frame."""
    try:
        text = (folder / "Info.cfg").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return "ED" if frame == 1 else "ES"
    frames = {name: int(number) for name, number in re.findall(r"^(ED|ES)\s*:\s*(\d+)", text, re.MULTILINE)}
    return next((name for name, number in frames.items() if number == frame), "")


READER = Reader(
    holds="patientNNN/patientNNN_frameNN.nii.gz",
    takes=("splits",),
    plan=plan,
    find_tables=lambda folder: sorted(folder.glob("**/patient[0-9][0-9][0-9]/Info.cfg")),
)
