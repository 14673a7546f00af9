"""Any class folders of volumes and clips: one picture for each slice or distinct frame.

NIfTI and MetaImage are volumes (`volumes`); ``NAME_seg``, ``NAME_mask`` and the like beside a volume ``NAME`` are its
label map, whose labels are structures called ``structure-1`` and so on.  DICOM of several frames, films, animations
and TIFF of several pages are clips, of which near-equal frames are left out as ``classify`` leaves them out; pictures
of one frame stay what they are.

All pictures of a file are one group: of DICOM the patient, where the header names one, as a hash.
"""

import contextlib
import functools
import threading
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.clip_files import clip_frames, is_clip
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.file_kinds import FILM_SUFFIXES
from sonoforge.runtime.images.folders import mask_of
from sonoforge.runtime.inference.clips import distinct_frames
from sonoforge.training.data.collections.import_settings import ImportSettings
from sonoforge.training.data.collections.importing import Collection, Picture, PlannedPicture, short_names
from sonoforge.training.data.collections.volumes import COLUMNS, LabelledVolume, level_window, open_volume, plan_slices
from sonoforge.training.data.datasets import UNNAMED, Dataset, Item, read_dataset, structure_of
from sonoforge.training.data.masks import HALF
from sonoforge.training.data.patients import dicom_patient

_VOLUMES = (".nii.gz", ".nii", ".mhd")
_MOST_BYTES = 1 << 30  # of the distinct frames of a clip, which are decoded once
_decoding = threading.Lock()  # several frames of a clip are asked for at once


def find_tables(folder: Path) -> list[Path]:
    """Return no tables: there are none."""
    return []


def plan(folder: Path, settings: ImportSettings) -> list[PlannedPicture]:
    """List the slices and frames in the order of the data set; see `importing.Collection`.

    Raises:
        SonoforgeError: The folder cannot be read, or a clip's distinct frames would fill the memory.
    """
    dataset = read_dataset(folder, fewest_classes=1, also=(*_VOLUMES, *FILM_SUFFIXES))
    window, names = level_window(settings), short_names(item.path for item in dataset.items)
    volumes = {_base(item.path): item.path for item in dataset.items if _base(item.path) != item.path}
    maps = {image: path for base, path in volumes.items() if (image := _image_of(base)) in volumes}
    planned: list[PlannedPicture] = []
    for item in dataset.items:
        if item.path in maps.values():
            continue
        file, name, class_name = dataset.file(item.path), names[item.path], dataset.classes[item.label]
        of = item.group or dicom_patient(file) or name, {"split": item.split, "device": item.device}
        if _base(item.path) in volumes:
            found = maps.get(_base(item.path))
            labels = dataset.file(found) if found else None
            structures = _structures(labels) if labels else ()
            planned += plan_slices(class_name, [LabelledVolume(name, file, labels, structures, *of, window)], settings)
        else:
            planned += _frames(dataset, item, f"{class_name}/{name}", of)
    return planned


def _base(path: str) -> str:
    """Return the path of a volume without its suffix, and any other as it is."""
    return next((path[: -len(end)] for end in _VOLUMES if path.lower().endswith(end)), path)


def _image_of(base: str) -> str:
    """Return the volume that one with this name is the label map of; empty for another name."""
    path = PurePosixPath(base)
    named = mask_of(path.name)
    return path.with_name(named[0]).as_posix() if named else ""


def _structures(labels: Path) -> tuple[str, ...]:
    """Name the labels of a map; one that cannot be read is refused when its slices are."""
    try:
        return tuple(f"structure-{number}" for number in range(1, int(open_volume(labels).voxels().max()) + 1))
    except SonoforgeError:
        return ()


def _frames(dataset: Dataset, item: Item, path: str, of: tuple[str, Mapping[str, str]]) -> list[PlannedPicture]:
    """List the picture of a file, or the distinct frames of a clip."""
    file = dataset.file(item.path)
    several, numbers = is_clip(file), [1]
    if several:
        with contextlib.suppress(SonoforgeError):  # it is raised again when the picture is read
            numbers = list(_distinct(file))
    none = dict.fromkeys(COLUMNS, "")
    group, facts = of
    return [
        PlannedPicture(
            f"{path}_frame{number:04d}.png" if several else f"{path}.png",
            group,
            {**facts, **none, "volume": item.path, "slice": str(number - 1)} if several else {**facts, **none},
            functools.partial(_read, dataset, item, number if several else 0),
        )
        for number in numbers
    ]


def _read(dataset: Dataset, item: Item, number: int) -> Picture:
    file = dataset.file(item.path)
    if number:
        with _decoding:
            return Picture(_distinct(file)[number])
    masks = [
        (structure_of(mask), np.asarray(read_image(dataset.file(mask)).convert("L")) >= HALF) for mask in item.masks
    ]
    unnamed = tuple(mask for name, mask in masks if name == UNNAMED)
    return Picture(np.asarray(read_image(file)), unnamed, {name: mask for name, mask in masks if name != UNNAMED})


@functools.lru_cache(maxsize=2)
def _distinct(file: Path) -> dict[int, NDArray[np.uint8]]:
    """Return the frames of a clip that differ from the one kept before them, by their numbers from 1."""
    kept: dict[int, NDArray[np.uint8]] = {}
    size = 0
    for number, frame in distinct_frames(clip_frames(file)):
        kept[number] = np.asarray(frame)
        size += kept[number].nbytes
        if size > _MOST_BYTES:
            raise SonoforgeError(f"{file}: holds more than {_MOST_BYTES >> 20} MB of distinct frames; cut the clip")
    return kept


COLLECTION = Collection("frames", "volume, clip or picture in class folders", ("outlined", "window"), find_tables, plan)
"""``data import frames``."""
