"""``sonoforge data fetch URL OUT``: copy a folder of images from a URL, and check those that say what they must be.

Folders that ``gan sample`` has written have a manifest with the hash of each image, which is written last: without it
the images are not complete.

A URL of DICOMweb (``https://archive/dicom-web/studies/UID``, or ``studies?PatientID=...``) is asked for its objects.
"""

import json
import shlex
from pathlib import Path, PurePosixPath

from sonoforge.runtime.atomic import write_bytes
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.cli.progress import progress_bar
from sonoforge.runtime.dicom_network.web_client import fetch_instance, find_instances, is_dicomweb
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.synthetic import MANIFEST
from sonoforge.runtime.urls import is_url, open_url, told
from sonoforge.training.checked_file import sha256_of
from sonoforge.training.verbs.settings.data import DataFetchConfig


def main(config: DataFetchConfig) -> Outcome:
    """Copy what is missing.

    The result: ``folder``, ``files`` (in all) and ``copied`` (this time).
    """
    if not is_url(config.url):
        raise SonoforgeError(f"URL: found {config.url}, expected a URL such as s3://bucket/folder")
    if is_dicomweb(config.url):
        return _fetch_studies(config)
    files, root = open_url("URL", config.url)
    with told("URL", config.url):
        found = {name: about["size"] for name, about in files.find(root, detail=True).items()}
    if not found:
        raise SonoforgeError(f"{config.url}: found no files, expected a folder of images; check the name")
    total = sum(found.values()) / 1e9
    if total > config.size_limit:
        raise SonoforgeError(
            f"{config.url}: found {total:.1f} GB, expected at most {config.size_limit:g}; see --size-limit"
        )
    out, copied = Path(config.out), 0
    # Manifests last, as where they are from: a folder with one is complete.
    ordered = sorted(found, key=lambda name: (name.endswith(f"/{MANIFEST}"), name))
    with progress_bar("copying", len(ordered)) as advance:
        for done, name in enumerate(ordered, start=1):
            target = out / _inside(config.url, root, name)
            if not target.is_file() or target.stat().st_size != found[name]:
                with told("URL", config.url):
                    content = files.cat_file(name)
                write_bytes(target, content)
                copied += 1
            advance(done, None)
    _check(out)
    say("%s: %d files, %d of them copied now", out, len(ordered), copied)
    return Outcome(
        {"folder": config.out, "files": len(ordered), "copied": copied},
        f"sonoforge data audit --data {shlex.quote(config.out)}",
    )


def _fetch_studies(config: DataFetchConfig) -> Outcome:
    """Copy the objects of studies from an archive."""
    instances, left = find_instances(config.url), round(config.size_limit * 1e9)
    copied = 0
    with progress_bar("copying", len(instances)) as advance:
        for done, instance in enumerate(instances, start=1):
            size = fetch_instance(instance, Path(config.out), left)
            left, copied = left - size, copied + (size > 0)
            advance(done, None)
    say("%s: %d files, %d of them copied now", config.out, len(instances), copied)
    return Outcome(
        {"folder": config.out, "files": len(instances), "copied": copied},
        f"sonoforge classify {shlex.quote(config.out)} --recursive",
    )


def _inside(url: str, root: str, name: str) -> PurePosixPath:
    """Return a file's path in the folder, which it must not lead out of."""
    path = PurePosixPath(name.removeprefix(root).lstrip("/"))
    if not path.parts or ".." in path.parts or path.is_absolute():
        raise SonoforgeError(f"{url}: found a file named {name!r}, expected paths inside the folder")
    return path


def _check(folder: Path) -> None:
    """Compare generated images with their manifests; what is damaged is removed, so that it is copied again.

    Raises:
        SonoforgeError: An image is missing or another.
    """
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
                raise SonoforgeError(f"{path}: is not what its manifest lists, and was removed; copy it again")
