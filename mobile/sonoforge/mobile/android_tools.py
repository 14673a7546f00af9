"""The programs that make an Android app (Debian's packages, Java, and the dexer from npm), and the key that signs it.

Android takes a new version of an app only when the same key has signed it: whoever has the key can replace the app.
"""

import getpass
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime import atomic
from sonoforge.runtime.errors import SonoforgeError, reason
from sonoforge.runtime.temporary import temporary_folder

log = logging.getLogger(__name__)

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

PASSWORD = "SONOFORGE_KEYSTORE_PASSWORD"  # noqa: S105 - the variable's name
"""Environment variable with the password of a person's own keystore."""

# What Android's own tools give their debug keys: such a key protects nothing.
_DEBUG_PASSWORD, _DEBUG_ALIAS = "android", "androiddebugkey"


class AndroidTools(NamedTuple):
    """Paths of the programs."""

    programs: Mapping[str, str]  # by their names
    platform: Path  # ``android.jar``, Android's own classes and resources to compile against; API level 23 or later

    def run(self, program: str, arguments: Sequence[object], environment: Mapping[str, str] | None = None) -> None:
        """Run a program, such as ``aapt2``, to its end, with these variables besides this process's own.

        Raises:
            SonoforgeError: It failed, or did not end.
        """
        command = [self.programs[program], *map(str, arguments)]
        own: dict[str, Any] = {"env": {**os.environ, **(environment or {})}, "stdin": subprocess.DEVNULL}
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False, **own)  # noqa: S603
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


class SigningKey(NamedTuple):
    """A keystore and what opens it."""

    keystore: Path  # file, PKCS #12 or JKS
    password: str  # of the keystore and of the key in it
    alias: str  # name of the key in it; empty where there is only one
    is_debug: bool  # whether it is the key for trying out


def own_key(keystore: Path, alias: str) -> SigningKey:
    """Return a person's own key, with the password from the environment or from the terminal.

    Raises:
        SonoforgeError: The file cannot be read, or there is nobody to ask.
    """
    try:
        with keystore.open("rb"):
            pass
    except OSError as error:
        raise SonoforgeError(
            f"{keystore}: cannot be read ({error.strerror}); give a keystore made with keytool"
        ) from error
    password = os.environ.get(PASSWORD)
    if password is None:
        if not sys.stdin.isatty():
            raise SonoforgeError(
                f"{keystore}: found no password; set {PASSWORD}, or run this in a terminal to be asked"
            )
        password = getpass.getpass(f"password of {keystore}: ")
    return SigningKey(keystore, password, alias, is_debug=False)


def debug_key(tools: AndroidTools) -> SigningKey:
    """Return this user's debug key, which is made the first time.

    Raises:
        SonoforgeError: It cannot be made.
    """
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    keystore = state / "sonoforge" / "android-debug.p12"
    if not keystore.is_file():
        with temporary_folder() as folder:
            made = folder / keystore.name
            key = ["-alias", _DEBUG_ALIAS, "-keyalg", "RSA", "-keysize", "2048", "-validity", "10000"]
            store = ["-keystore", made, "-storetype", "PKCS12", "-storepass:env", PASSWORD]
            owner = ["-dname", "CN=sonoforge debug key"]
            tools.run("keytool", ["-genkeypair", *key, *store, *owner], {PASSWORD: _DEBUG_PASSWORD})
            keystore.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            atomic.write_bytes(keystore, made.read_bytes())
            keystore.chmod(0o600)
        log.warning(
            "made a DEBUG KEY, %s: keep it, or the next app signed with another will not replace this one", keystore
        )
    log.warning(
        "signing with a DEBUG KEY, for trying out on your own phones; to give others the app, name your own with --key"
    )
    return SigningKey(keystore, _DEBUG_PASSWORD, _DEBUG_ALIAS, is_debug=True)
