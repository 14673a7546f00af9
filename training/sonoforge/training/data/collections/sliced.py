"""Pairs of a volume and its label map as planned pictures: one for each slice."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.collections.import_settings import ImportSettings
from sonoforge.training.data.collections.importing import Picture, PlannedPicture
from sonoforge.training.data.collections.volumes import check_same_grid, open_volume, slice_levels, slice_structures

COLUMNS = ("volume", "slice", "mm_x", "mm_y", "mm_z")
"""What ``groups.csv`` says of a slice: the volume, the slice's number in it, and the distances of its pixels in mm."""


@dataclass(frozen=True)
class LabelledVolume:
    """A volume, the label map of its structures, and whose it is."""

    name: str  # of the files that are written
    image: Path
    labels: Path
    structures: tuple[str, ...]  # names of the labels 1 to K
    patient: str
    facts: Mapping[str, str]  # further columns of groups.csv, the same ones for all volumes of a set
    window: tuple[float, float] | None = None  # see `volumes.slice_levels`


def plan_slices(class_name: str, volumes: list[LabelledVolume], settings: ImportSettings) -> list[PlannedPicture]:
    """List the slices of all volumes, in their order; of one that cannot be opened, a single picture that says why.

    With ``settings.outlined``, slices in which nothing is outlined are left out.
    """
    planned: list[PlannedPicture] = []
    for volume in volumes:
        try:
            planned += _slices(class_name, volume, settings)
        except SonoforgeError as error:
            facts = {**volume.facts, **dict.fromkeys(COLUMNS, ""), "volume": volume.name}
            read = functools.partial(_refuse, error)
            planned.append(PlannedPicture(f"{class_name}/{volume.name}.png", volume.patient, facts, read))
    return planned


def _slices(class_name: str, volume: LabelledVolume, settings: ImportSettings) -> list[PlannedPicture]:
    if not volume.labels.is_file():
        raise SonoforgeError(f"{volume.image}: found no {volume.labels.name} beside it, expected its label map")
    image = open_volume(volume.image)
    check_same_grid(image, open_volume(volume.labels))
    planned = []
    for number in range(image.shape[2]):
        if settings.outlined and not any(
            mask.any() for mask in slice_structures(volume.labels, number, volume.structures).values()
        ):
            continue
        steps = ["" if image.spacing is None else f"{step:g}" for step in image.spacing or (0, 0, 0)]
        facts = dict(zip(COLUMNS, (volume.name, str(number), *steps), strict=True))
        path = f"{class_name}/{volume.name}_slice{number + 1:03d}.png"
        read = functools.partial(_read, volume, number)
        planned.append(PlannedPicture(path, volume.patient, {**volume.facts, **facts}, read))
    return planned


def _read(volume: LabelledVolume, number: int) -> Picture:
    pixels = slice_levels(volume.image, number, volume.window)
    return Picture(pixels, structures=slice_structures(volume.labels, number, volume.structures))


def _refuse(error: SonoforgeError) -> Picture:
    raise error
