"""Wrap the web app's files in an Android app: one screen that shows the page and needs no permission.

aapt2 links resources, javac and D8 compile the Java (Debian's packages, and the dexer from npm), and the zip is written
here with fixed times and order, so that the same bundle gives the same bytes before signing.

Android only installs an update signed with the same key: whoever has the key can replace the app.
"""

import datetime
import getpass
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from sonoforge.mobile.web_app import BUNDLETOOL, PWA, read_files, source_folder
from sonoforge.runtime import atomic
from sonoforge.runtime.atomic import temporary_folder
from sonoforge.runtime.bundle.files import zip_bytes
from sonoforge.runtime.bundle.manifest import Manifest
from sonoforge.runtime.errors import SonoforgeError, reason, refusing

ANDROID = source_folder("android")
"""Manifest, resources and Java of the Android app."""

MIN_SDK = 24
"""Android 7.0 (2016), the first to check signatures of the whole file (v2)."""

# Compiling takes a second or two: the JVM's optimiser would cost more than it gains.
_QUICK_JAVA = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
# Already compressed, or read by Android in place (resources.arsc must be stored from Android 11 on).
_STORED = (".arsc", ".png", ".bin", ".onnx")
_LARGEST_CODE = 2_100_000_000  # accepted by stores
# Paths that `Addresses.java` serves.
_SERVED = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_SECONDS = 300
_PLATFORM = "android.jar"
_PACKAGES = json.loads(Path(__file__).with_name("debian_packages.json").read_text(encoding="utf-8"))
"""Debian's package of each program, and of the platform."""
_DEBIANS_PLATFORMS = Path("/usr/lib/android-sdk/platforms")  # of libandroid-23-java

PASSWORD = "SONOFORGE_KEYSTORE_PASSWORD"  # noqa: S105 - the variable's name
"""Environment variable with the password of the user's own keystore."""

# As Android's own tools set for debug keys, which protect nothing.
_DEBUG_PASSWORD, _DEBUG_ALIAS = "android", "androiddebugkey"

log = logging.getLogger(__name__)


class AndroidTools(NamedTuple):
    """Paths of the programs by name, and of ``android.jar`` to compile against, API level 23 or later."""

    programs: Mapping[str, str]
    platform: Path

    def run(self, program: str, arguments: Sequence[object], environment: Mapping[str, str] | None = None) -> None:
        """Run a program, such as ``aapt2``, with additional environment variables."""
        command = [self.programs[program], *map(str, arguments)]
        own: dict[str, Any] = {"env": {**os.environ, **(environment or {})}, "stdin": subprocess.DEVNULL}
        with refusing(
            f"{program}: did not run", f"install {_PACKAGES[program]} again", kinds=(OSError, subprocess.TimeoutExpired)
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False, **own)  # noqa: S603
        if done.returncode:
            lines = (done.stderr + done.stdout).splitlines()
            errors = [line for line in lines if "error" in line.lower() or "exception" in line.lower()]
            raise SonoforgeError(f"{program}: failed ({reason(' '.join(errors or lines))})")


def find_tools() -> AndroidTools:
    """Find the programs."""
    platform = find_platform()
    found = {name: shutil.which(name) for name in _PACKAGES} | {_PLATFORM: platform and str(platform)}
    missing = [name for name, path in found.items() if path is None]
    if platform is None or missing:
        packages = " ".join(dict.fromkeys(_PACKAGES[name] for name in missing))
        raise SonoforgeError(
            f"{', '.join(missing)} not found; install Debian's {packages} (see mobile/docs/android.md)"
        )
    return AndroidTools({name: path for name, path in found.items() if path}, platform)


def find_platform() -> Path | None:
    """Return the newest ``android.jar`` of the Android SDK in ``ANDROID_HOME``, else Debian's, or None."""
    home = os.environ.get("ANDROID_HOME")
    for folder in [*([Path(home) / "platforms"] if home else []), _DEBIANS_PLATFORMS]:
        found = {path: path.parent.name.removeprefix("android-") for path in folder.glob("android-*/android.jar")}
        numbered = [path for path, level in found.items() if level.isdigit() and int(level) >= 23]
        if numbered:
            return max(numbered, key=lambda path: int(found[path]))
    return None


class SigningKey(NamedTuple):
    """A key in a keystore (PKCS #12 or JKS), and the password for both."""

    keystore: Path
    password: str
    alias: str  # of the key; empty if it is the only one
    is_debug: bool


def own_key(keystore: Path, alias: str) -> SigningKey:
    """Return the user's own key, with the password from the environment or the terminal."""
    with refusing(f"{keystore}: cannot be read", "give a keystore made with keytool"), keystore.open("rb"):
        pass
    password = os.environ.get(PASSWORD)
    if password is None:
        if not sys.stdin.isatty():
            raise SonoforgeError(
                f"{keystore}: needs its password; set {PASSWORD}, or run this in a terminal to be asked"
            )
        password = getpass.getpass(f"password of {keystore}: ")
    return SigningKey(keystore, password, alias, is_debug=False)


def debug_key(tools: AndroidTools) -> SigningKey:
    """Return this user's debug key, creating it the first time."""
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
        log.warning("made a DEBUG KEY, %s: keep it, or an app signed with another will not replace this one", keystore)
    log.warning(
        "signing with a DEBUG KEY, for your own phones only; to give others the app, sign it with your own --key"
    )
    return SigningKey(keystore, _DEBUG_PASSWORD, _DEBUG_ALIAS, is_debug=True)


class AndroidApp(NamedTuple):
    """How Android identifies an app."""

    application: str  # unique name, so that apps of two bundles can be installed side by side
    label: str  # shown under its icon
    code: int  # minutes since 1970, larger for a later bundle
    version: str  # shown to people


def describe_app(manifest: Manifest, version: str) -> AndroidApp:
    """Describe a bundle's app; ``version`` is the web app's."""
    readable = re.sub("[^a-z0-9]+", "_", manifest.name.lower())[:40]
    unique = hashlib.sha256(manifest.name.encode()).hexdigest()[:8]
    text = f"{manifest.version} ({version})"
    created = manifest.raw["created"]
    try:
        date = datetime.datetime.fromisoformat(created)
        minutes = int(date.replace(tzinfo=date.tzinfo or datetime.timezone.utc).timestamp() // 60)  # UTC by default
    except (ValueError, OverflowError):
        minutes = 0
    if not 0 < minutes <= _LARGEST_CODE:
        raise SonoforgeError(f"manifest.json: created: {created!r:.80} is not a date such as 2026-11-20T12:00:00+00:00")
    return AndroidApp(f"sonoforge.app_{readable}_{unique}", f"sonoforge {manifest.name}", minutes, text)


def build_unsigned(files: Mapping[str, bytes], app: AndroidApp, tools: AndroidTools) -> bytes:
    """Build the unsigned app from the web app's files: the same files, app and tools give the same bytes."""
    unserved = [name for name in files if not _SERVED.fullmatch(name)]
    if unserved:
        raise SonoforgeError(f"{unserved[0]}: cannot be served in the app; use letters, digits, '.', '_' and '-'")
    with temporary_folder() as folder:
        linked = _link_resources(app, tools, folder)
        dex = _compile(tools, folder)
        with zipfile.ZipFile(linked) as resources:
            entries = {name: resources.read(name) for name in resources.namelist()}
        entries |= {"classes.dex": dex, **{f"assets/www/{name}": data for name, data in files.items()}}
        (folder / "loose.apk").write_bytes(zip_bytes(entries, lambda name: not name.endswith(_STORED)))
        tools.run("zipalign", ["4", folder / "loose.apk", folder / "aligned.apk"])
        return (folder / "aligned.apk").read_bytes()


def sign(unsigned: bytes, key: SigningKey, tools: AndroidTools) -> bytes:
    """Return the app with signatures of schemes v2 and v3."""
    with temporary_folder() as folder:
        (folder / "unsigned.apk").write_bytes(unsigned)
        schemes = ["--v1-signing-enabled", "false", "--v2-signing-enabled", "true", "--v3-signing-enabled", "true"]
        keystore = ["--ks", key.keystore.resolve(), "--ks-pass", f"env:{PASSWORD}"]
        alias = ["--ks-key-alias", key.alias] if key.alias else []
        out = ["--v4-signing-enabled", "false", "--out", folder / "signed.apk", folder / "unsigned.apk"]
        try:
            tools.run("apksigner", ["sign", *schemes, *keystore, *alias, *out], {PASSWORD: key.password})
        except SonoforgeError as error:
            raise SonoforgeError(
                f"{key.keystore}: {error}; check the password, and give the key's name with --set app.key_alias"
            ) from error
        return (folder / "signed.apk").read_bytes()


def _link_resources(app: AndroidApp, tools: AndroidTools, folder: Path) -> Path:
    """Compile the manifest and the resources; also write ``R.java``."""
    text = (ANDROID / "AndroidManifest.xml").read_text(encoding="utf-8")
    values = {"APPLICATION": app.application, "CODE": app.code, "VERSION": app.version, "LABEL": app.label}
    for key, value in {**values, "MIN_SDK": MIN_SDK}.items():
        # A backslash escapes in Android's resources.
        text = text.replace(f"@{key}@", escape(str(value).replace("\\", "\\\\"), {'"': "&quot;"}))
    (folder / "AndroidManifest.xml").write_text(text, encoding="utf-8")
    resources = folder / "res"
    shutil.copytree(ANDROID / "res", resources)
    for icon, name in (("icon-192.png", "mipmap-xxxhdpi/icon.png"), ("icon-512.png", "drawable-nodpi/icon_512.png")):
        (resources / name).parent.mkdir(exist_ok=True)
        (resources / name).write_bytes((PWA / "icons" / icon).read_bytes())
    tools.run("aapt2", ["compile", "--dir", resources, "-o", folder / "compiled.zip"])
    where = ["-I", tools.platform, "--manifest", folder / "AndroidManifest.xml", "--java", folder / "generated"]
    tools.run(
        "aapt2",
        ["link", *where, "--custom-package", "sonoforge.android", "-o", folder / "linked.apk", folder / "compiled.zip"],
    )
    return folder / "linked.apk"


def _compile(tools: AndroidTools, folder: Path) -> bytes:
    """Compile the Java to ``classes.dex``."""
    sources = [*sorted((ANDROID / "java").rglob("*.java")), *sorted((folder / "generated").rglob("*.java"))]
    options = ["--release", "8", "-encoding", "UTF-8", "-proc:none", "-Xlint:-options", "-classpath", tools.platform]
    tools.run("javac", [*(f"-J{option}" for option in _QUICK_JAVA), *options, "-d", folder / "classes", *sources])
    (folder / "bundletool.jar").write_bytes(read_files(BUNDLETOOL)["bundletool.jar"])
    dexer = [*_QUICK_JAVA, "-classpath", folder / "bundletool.jar", "com.android.tools.r8.D8"]
    options = ["--release", "--min-api", str(MIN_SDK), "--lib", tools.platform, "--output", folder]
    tools.run("java", [*dexer, *options, *sorted((folder / "classes").rglob("*.class"))])
    return (folder / "classes.dex").read_bytes()
