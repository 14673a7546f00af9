"""Read files from npm packages, each in the tested version and checked against its published hash."""

import base64
import hashlib
import io
import json
import logging
import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sonoforge.runtime import atomic
from sonoforge.runtime.atomic import temporary_folder
from sonoforge.runtime.errors import SonoforgeError, reason

log = logging.getLogger(__name__)

_SECONDS = 600


class NpmPackage(NamedTuple):
    """A package and the files wanted from it."""

    name: str
    version: str
    integrity: str  # SHA-512 of its ``.tgz`` in npm's form: ``sha512-`` and base64
    files: Sequence[str]  # paths in the package
    about: str = ""  # its licence and use

    @property
    def archive(self) -> str:
        """Name of the ``.tgz`` that ``npm pack`` writes."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


with Path(__file__).with_name("npm_packages.json").open(encoding="utf-8") as _file:
    ONNXRUNTIME_WEB, DICOM_PARSER, BUNDLETOOL = (NpmPackage(**row) for row in json.load(_file))


def read_files(package: NpmPackage, archive: Path | None = None) -> dict[str, bytes]:
    """Return the wanted files of a package by name.

    ``archive`` is its ``.tgz``; None means the cached one, which npm downloads the first time.
    """
    if archive is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        archive = cache / "sonoforge" / "npm" / package.archive
        if not archive.is_file():
            _load(package, archive)
    try:
        data = archive.read_bytes()
    except OSError as error:
        raise SonoforgeError(f"{archive}: cannot be read ({error.strerror}); check the path") from error
    found = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    if found != package.integrity:
        raise SonoforgeError(
            f"{archive}: its hash {found[:23]}... is not {package.integrity[:23]}... of {package.name} "
            f"{package.version}; remove the file and try again"
        )
    contents = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        for name in package.files:
            stream = tar.extractfile(f"package/{name}")
            if stream is None:
                raise SonoforgeError(f"{archive}: has no file {name}")
            contents[Path(name).name] = stream.read()
    return contents


def beside(archive: Path | None, package: NpmPackage) -> Path | None:
    """Return a package's ``.tgz`` from the folder of another one's; None if it is not there."""
    other = archive.with_name(package.archive) if archive else None
    return other if other and other.is_file() else None


def _load(package: NpmPackage, archive: Path) -> None:
    wanted = f"{package.name}@{package.version}"
    npm = shutil.which("npm")
    remedy = f"run 'npm pack {wanted}' on a machine with a network, and put the file into {archive.parent}"
    if npm is None:
        raise SonoforgeError(f"{wanted}: npm is not installed; install Node.js, or {remedy}")
    log.info("loading %s with npm, once", wanted)
    with temporary_folder() as folder:
        command = [npm, "pack", wanted, "--silent", "--pack-destination", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603
        except subprocess.TimeoutExpired as error:
            raise SonoforgeError(f"{wanted}: npm did not finish in {_SECONDS} s; {remedy}") from error
        loaded = folder / package.archive
        if done.returncode or not loaded.is_file():
            raise SonoforgeError(f"{wanted}: npm could not load it ({reason(done.stderr)}); {remedy}")
        atomic.write_bytes(archive, loaded.read_bytes())
