"""Read class folders of volumes and clips: one picture for each slice or distinct frame.

NIfTI and MetaImage are volumes, one for each time point; ``NAME_seg``, ``NAME_mask`` and the like beside a volume
``NAME`` are its label map, whose labels become structures called ``structure-1`` and so on.  A volume without a label
that others of its class have gets empty masks for it, as training requires.  DICOM with several frames, videos,
animations and TIFF with several pages are clips; near-equal frames are left out, as in ``classify``; single pictures
stay unchanged.  All pictures of a file are one group: for DICOM the patient, as a hash, if the header has one.
"""

import contextlib
import functools
import threading
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images import clip_files, decoding, file_kinds, folders
from sonoforge.runtime.inference.clips import distinct_frames
from sonoforge.training.data.collections import volumes
from sonoforge.training.data.collections.importing import ImportSettings, Picture, PlannedPicture, Reader, short_names
from sonoforge.training.data.datasets import UNNAMED, Dataset, Item, read_dataset, structure_of
from sonoforge.training.data.labelled_images import HALF
from sonoforge.training.data.patients import dicom_patient

_VOLUMES = (".nii.gz", ".nii", ".mhd")
_MOST_BYTES = 1 << 30  # of a clip's distinct frames, which are decoded once
_decoding = threading.Lock()  # several frames of a clip are requested at once


def plan(folder: Path, settings: ImportSettings) -> list[PlannedPicture]:
    """List the slices and frames in the order of the data set."""
    dataset = read_dataset(folder, fewest_classes=1, also=(*_VOLUMES, *file_kinds.FILM_SUFFIXES))
    window, names = volumes.level_window(settings), short_names(item.path for item in dataset.items)
    bases = {item.path: _base(item.path) for item in dataset.items}
    # Reversed: of several with one name, the first counts.
    files = {base: path for path, base in reversed(bases.items()) if base != path}
    maps = {files[image]: path for base, path in files.items() if (image := _image_of(base)) in files}
    labels_of = [(item.label, dataset.file(maps[item.path])) for item in dataset.items if item.path in maps]
    structures = {
        label: {n: f"structure-{n}" for n in volumes.labels_in(path for own, path in labels_of if own == label)}
        for label in range(len(dataset.classes))
    }
    planned: list[PlannedPicture] = []
    for item in dataset.items:
        if item.path in maps.values():
            continue
        file, name, class_name = dataset.file(item.path), names[item.path], dataset.classes[item.label]
        group, facts = item.group or dicom_patient(file) or name, {"split": item.split, "device": item.device}
        if (base := bases[item.path]) in files:
            labels = dataset.file(maps[item.path]) if item.path in maps else None
            problem = _problem(item.path, base, files, maps)
            volume = volumes.LabelledVolume(name, file, labels, structures[item.label], group, facts, window, problem)
            planned += volumes.plan_slices(class_name, [volume])
        else:
            planned += _frames(dataset, item, f"{class_name}/{name}", group, facts)
    return planned


def _base(path: str) -> str:
    """Return a volume's path without its suffix, and any other unchanged."""
    return next((path[: -len(end)] for end in _VOLUMES if path.lower().endswith(end)), path)


def _image_of(base: str) -> str:
    """Return the volume with a label map of this name; empty for other names."""
    path = PurePosixPath(base)
    named = folders.mask_of(path.name)
    return path.with_name(named[0]).as_posix() if named else ""


def _problem(path: str, base: str, files: Mapping[str, str], maps: Mapping[str, str]) -> str:
    """Say why a file is neither a volume nor the label map of one; empty if it is a volume."""
    if files[base] != path:
        return f"lies beside {files[base]}, which has the same name; keep one of them"
    if not (image := _image_of(base)):
        return ""
    if image in files:
        return f"the label map of {files[image]} is {maps[files[image]]}; join them in one file"
    return f"is named as a label map, but no volume {image} lies beside it; rename or remove it"


def _frames(dataset: Dataset, item: Item, path: str, group: str, facts: Mapping[str, str]) -> list[PlannedPicture]:
    """List the picture of a file, or the distinct frames of a clip."""
    file, empty = dataset.file(item.path), dict.fromkeys(volumes.COLUMNS, "")
    if not clip_files.is_clip(file):
        read = functools.partial(_read, dataset, item)
        return [PlannedPicture(f"{path}.png", group, {**facts, **empty}, read)]
    numbers = [1]
    with contextlib.suppress(SonoforgeError):  # it is raised again when the picture is read
        numbers = list(_distinct(file))
    return [
        PlannedPicture(
            f"{path}_frame{number:04d}.png",
            group,
            {**facts, **empty, "volume": item.path, "slice": str(number - 1)},
            functools.partial(_read_frame, file, number),
        )
        for number in numbers
    ]


def _read(dataset: Dataset, item: Item) -> Picture:
    masks = [
        (structure_of(mask), np.asarray(decoding.read_image(dataset.file(mask)).convert("L")) >= HALF)
        for mask in item.masks
    ]
    unnamed = tuple(mask for name, mask in masks if name == UNNAMED)
    named = {name: mask for name, mask in masks if name != UNNAMED}
    return Picture(np.asarray(decoding.read_image(dataset.file(item.path))), unnamed, named)


def _read_frame(file: Path, number: int) -> Picture:
    with _decoding:
        return Picture(_distinct(file)[number])


@functools.lru_cache(maxsize=2)
def _distinct(file: Path) -> dict[int, NDArray[np.uint8]]:
    """Return the frames of a clip that differ from the last one kept, by their numbers from 1."""
    kept: dict[int, NDArray[np.uint8]] = {}
    size = 0
    for number, frame in distinct_frames(clip_files.clip_frames(file)):
        kept[number] = np.asarray(frame)
        size += kept[number].nbytes
        if size > _MOST_BYTES:
            raise SonoforgeError(f"{file}: holds more than {_MOST_BYTES >> 20} MB of distinct frames; cut the clip")
    return kept


READER = Reader("volume, clip or picture in class folders", ("window",), plan)
