"""The programs that make an Android app: Debian's packages, Java, and the dexer from npm."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sonoforge.runtime.errors import SonoforgeError, reason

_SECONDS = 300
_PACKAGES = {
    "aapt2": "aapt",
    "zipalign": "zipalign",
    "apksigner": "apksigner",
    "javac": "default-jdk-headless",
    "java": "default-jdk-headless",
    "keytool": "default-jdk-headless",
}
"""Debian's package of each program."""

_PLATFORM = "android.jar"
_DEBIANS_PLATFORMS = Path("/usr/lib/android-sdk/platforms")  # of libandroid-23-java


class AndroidTools(NamedTuple):
    """Paths of the programs.

    Attributes:
        programs: Path of each program by its name.
        platform: ``android.jar``, Android's own classes and resources to compile against; API level 23 or later.
    """

    programs: Mapping[str, str]
    platform: Path

    def run(self, program: str, arguments: Sequence[object], environment: Mapping[str, str] | None = None) -> None:
        """Run a program to its end.

        Args:
            program: Its name, such as ``aapt2``.
            arguments: What it is given.
            environment: Variables besides this process's own.

        Raises:
            SonoforgeError: It failed, or did not end.
        """
        command = [self.programs[program], *map(str, arguments)]
        variables = {**os.environ, **(environment or {})}
        try:
            done = subprocess.run(  # noqa: S603 - our arguments
                command,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
                env=variables,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SonoforgeError(
                f"{program}: did not run ({reason(error)}); install {_PACKAGES[program]} again"
            ) from error
        if done.returncode:
            lines = (done.stderr + done.stdout).splitlines()
            errors = [line for line in lines if "error" in line.lower() or "exception" in line.lower()]
            raise SonoforgeError(f"{program}: failed ({reason(' '.join(errors or lines))})")


def find_tools() -> AndroidTools:
    """Find the programs.

    Raises:
        SonoforgeError: Some are missing; names the packages to install.
    """
    platform = find_platform()
    found = {name: shutil.which(name) for name in _PACKAGES} | {_PLATFORM: platform and str(platform)}
    missing = [name for name, path in found.items() if path is None]
    if platform is None or missing:
        packages = " ".join(dict.fromkeys({**_PACKAGES, _PLATFORM: "libandroid-23-java"}[name] for name in missing))
        raise SonoforgeError(f"found no {', '.join(missing)}; install Debian's {packages} (see mobile/docs/android.md)")
    return AndroidTools({name: path for name, path in found.items() if path}, platform)


def find_platform() -> Path | None:
    """Return the newest ``android.jar`` of the Android SDK in ``ANDROID_HOME``, else Debian's; None without either."""
    home = os.environ.get("ANDROID_HOME")
    for folder in [*([Path(home) / "platforms"] if home else []), _DEBIANS_PLATFORMS]:
        found = {path: path.parent.name.removeprefix("android-") for path in folder.glob("android-*/android.jar")}
        numbered = [path for path, level in found.items() if level.isdigit() and int(level) >= 23]
        if numbered:
            return max(numbered, key=lambda path: int(found[path]))
    return None
