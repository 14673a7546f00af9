"""Write a data set of classes from a published one, a URL, or a simulation, as ``sonoforge data import`` does.

Folders written by ``gan sample`` have a manifest with the hash of each image. It is written last: without it the images
are incomplete.
"""

import json
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path, PurePosixPath

import numpy as np
import PIL

from sonoforge.runtime.atomic import write_bytes
from sonoforge.runtime.cli.progress import progress_bar
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.inputs import sha256_of
from sonoforge.runtime.images.synthetic import MANIFEST
from sonoforge.runtime.urls import clear_errors, is_url, open_url
from sonoforge.training.data.cache import default_folder
from sonoforge.training.data.collections.importing import write_set
from sonoforge.training.data.readers import open_reader
from sonoforge.training.data.unpacking import unpacked
from sonoforge.training.phantom.dataset import write_phantom_set
from sonoforge.training.settings.data import PHANTOM, URL, DataImportConfig
from sonoforge.training.statistics.results import Record


def import_set(config: DataImportConfig) -> Record:
    """Write the set ``config.set`` into the last of ``config.paths``.

    Returns:
        What ``sonoforge data import --json`` prints, see ``sonoforge settings "data import"``.

    Raises:
        SonoforgeError: Paths are missing, the source is not what it should be, or the folder holds something else.
    """
    *source, out = config.paths
    if len(source) != (config.set != PHANTOM):
        expected = "OUT" if config.set == PHANTOM else "URL OUT" if config.set == URL else "FOLDER OUT"
        raise SonoforgeError(f"data import {config.set} takes {expected}, not {' '.join(config.paths)}")
    if config.set == PHANTOM:
        return _simulate(config, out)
    if config.set == URL:
        return _fetch(config, source[0], out)
    return _convert(config, unpacked(Path(source[0]), default_folder()), Path(out))


def _convert(config: DataImportConfig, source: Path, out: Path) -> Record:
    if not source.is_dir():
        raise SonoforgeError(f"{source}: no such folder; give the unpacked set, see sonoforge data list")
    if out.resolve().is_relative_to(source.resolve()):
        raise SonoforgeError(f"{out}: is inside {source}; choose a folder beside it")
    reader = open_reader(config.set)
    reader.check(config.set, config.pictures)
    planned = reader.plan(source, config.pictures)
    if not planned:
        raise SonoforgeError(
            f"{source}: has no {reader.holds}; give {config.set} as published, see sonoforge data list"
        )
    provenance = {
        "set": config.set,
        **asdict(config.pictures),
        "tables": {table.name: sha256_of(table) for table in reader.find_tables(source)},
        "versions": {"sonoforge": version("sonoforge"), "numpy": np.__version__, "pillow": PIL.__version__},
    }
    return {"folder": str(out), **write_set(out, planned, provenance, resume=config.resume)}


def _fetch(config: DataImportConfig, url: str, out: str) -> Record:
    """Copy what is missing from a folder at a URL, and check it."""
    if not is_url(url):
        raise SonoforgeError(f"URL: {url} is not a URL such as s3://bucket/folder")
    files, root = open_url("URL", url)
    with clear_errors("URL", url):
        found = {name: about["size"] or 0 for name, about in files.find(root, detail=True).items()}
    if not found:
        raise SonoforgeError(f"{url}: holds no files; check the name")
    total = sum(found.values()) / 1e9
    if total > config.size_limit:
        raise SonoforgeError(
            f"{url}: holds {total:.1f} GB, more than the limit of {config.size_limit:g}; raise --set import.size_limit"
        )
    folder, copied = Path(out), 0
    # Manifests last, as where they are from: a folder with one is complete.
    ordered = sorted(found, key=lambda name: (name.endswith(f"/{MANIFEST}"), name))
    with progress_bar("copying", len(ordered)) as advance:
        for done, name in enumerate(ordered, start=1):
            target = folder / _inside(url, root, name)
            if not target.is_file() or target.stat().st_size != found[name]:
                with clear_errors("URL", url):
                    content = files.cat_file(name)
                write_bytes(target, content)
                copied += 1
            advance(done, None)
    _check_manifests(folder)
    return {"folder": out, "files": len(ordered), "copied": copied}


def _inside(url: str, root: str, name: str) -> PurePosixPath:
    """Return a file's path in the folder; refuse one that leads outside."""
    path = PurePosixPath(name.removeprefix(root).lstrip("/"))
    if not path.parts or ".." in path.parts or path.is_absolute():
        raise SonoforgeError(f"{url}: its file {name!r} leads outside the folder")
    return path


def _check_manifests(folder: Path) -> None:
    """Compare generated images with their manifests; remove damaged ones, so that they are copied again."""
    for manifest in sorted(folder.rglob(MANIFEST)):
        try:
            listed = {entry["file"]: entry["sha256"] for entry in json.loads(manifest.read_bytes())["images"]}
        except (ValueError, KeyError, TypeError):
            continue  # of something else
        for name, expected in listed.items():
            path = manifest.parent / name
            if path.parent != manifest.parent or not path.is_file():
                raise SonoforgeError(f"{manifest}: lists {name}, which is missing; generate the images again")
            if sha256_of(path) != expected:
                path.unlink()
                raise SonoforgeError(f"{path}: differs from its manifest and was removed; copy it again")


def _simulate(config: DataImportConfig, out: str) -> Record:
    asked = config.phantom
    start = time.perf_counter()
    written = write_phantom_set(out, asked.images, asked.seed, asked.size)
    return {
        "folder": out,
        **written,
        "seed": asked.seed,
        "size": asked.size,
        "seconds": round(time.perf_counter() - start, 3),
    }
