"""Wrap the web app's files into an Android app: one screen that shows the page, without any permission.

Resources are linked by aapt2, Java is compiled by javac and D8, and the zip is written here: with fixed times and
order, so that the same bundle gives the same bytes before they are signed.
"""

import datetime
import hashlib
import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from sonoforge.mobile.android_tools import PASSWORD, AndroidTools, SigningKey
from sonoforge.mobile.npm_package import BUNDLETOOL, read_files
from sonoforge.mobile.web_app import PWA, source_folder
from sonoforge.runtime.bundle.manifest import Manifest
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.temporary import temporary_folder

ANDROID = source_folder("android")
"""Manifest, resources and Java of the Android app."""

MIN_SDK = 24
"""Android 7.0 (2016): the first that checks signatures of the whole file (v2)."""

# Compiled in a second or two: the Java compiler's own optimiser would cost more than it gains.
_QUICK_JAVA = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
# Already compressed, or read by Android in place (resources.arsc must be stored from Android 11 on).
_STORED = (".arsc", ".png", ".npz", ".onnx")
_LARGEST_CODE = 2_100_000_000  # that stores accept
# Names that `Addresses.java` serves.
_SERVED = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


class AndroidApp(NamedTuple):
    """What Android knows an app by."""

    application: str  # its unique name; apps of two bundles lie beside each other on a phone
    label: str  # what a person reads under its icon
    code: int  # a later bundle's is larger: minutes since 1970
    version: str  # what a person reads


def describe_app(manifest: Manifest, version: str) -> AndroidApp:
    """Return what Android knows the app of a bundle by; ``version`` is that of the web app.

    Raises:
        SonoforgeError: The manifest's date is none, or not of our time.
    """
    readable = re.sub("[^a-z0-9]+", "_", manifest.name.lower())[:40]
    unique = hashlib.sha256(manifest.name.encode()).hexdigest()[:8]
    text = f"{manifest.version} ({version})"
    return AndroidApp(
        f"sonoforge.app_{readable}_{unique}", f"sonoforge {manifest.name}", _minutes(manifest.raw["created"]), text
    )


def _minutes(created: str) -> int:
    """Return the minutes from 1970 to a date; UTC where it names no time zone."""
    try:
        date = datetime.datetime.fromisoformat(created)
        minutes = int(date.replace(tzinfo=date.tzinfo or datetime.timezone.utc).timestamp() // 60)
    except (ValueError, OverflowError):
        minutes = 0
    if not 0 < minutes <= _LARGEST_CODE:
        raise SonoforgeError(
            f"manifest.json: created: found {created!r:.80}, expected a date such as 2026-11-20T12:00:00+00:00"
        )
    return minutes


def build_unsigned(files: Mapping[str, bytes], app: AndroidApp, tools: AndroidTools) -> bytes:
    """Return the app without a signature, from the web app's files: the same bytes for the same files, app and tools.

    Raises:
        SonoforgeError: A tool failed, or is missing.
    """
    unserved = [name for name in files if not _SERVED.fullmatch(name)]
    if unserved:
        raise SonoforgeError(f"{unserved[0]}: cannot be served in the app; expected letters, digits, '.', '_' and '-'")
    with temporary_folder() as folder:
        linked = _link_resources(app, tools, folder)
        dex = _compile(tools, folder)
        with zipfile.ZipFile(linked) as resources:
            entries = {name: resources.read(name) for name in resources.namelist()}
        entries |= {"classes.dex": dex, **{f"assets/www/{name}": data for name, data in files.items()}}
        (folder / "loose.apk").write_bytes(_zip(entries))
        tools.run("zipalign", ["4", folder / "loose.apk", folder / "aligned.apk"])
        return (folder / "aligned.apk").read_bytes()


def sign(unsigned: bytes, key: SigningKey, tools: AndroidTools) -> bytes:
    """Return the app with signatures of schemes v2 and v3.

    Raises:
        SonoforgeError: The keystore cannot be opened with this password, or holds no such key.
    """
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
                f"{key.keystore}: {error}; check the password, and name the key with --key-alias"
            ) from error
        return (folder / "signed.apk").read_bytes()


def _link_resources(app: AndroidApp, tools: AndroidTools, folder: Path) -> Path:
    """Compile the manifest and the resources; also writes ``R.java``."""
    text = (ANDROID / "AndroidManifest.xml").read_text(encoding="utf-8")
    values = {"APPLICATION": app.application, "CODE": app.code, "VERSION": app.version, "LABEL": app.label}
    for key, value in {**values, "MIN_SDK": MIN_SDK}.items():
        # A backslash escapes in Android's resources.
        text = text.replace(f"@{key}@", escape(str(value).replace("\\", "\\\\"), {'"': "&quot;"}))
    (folder / "AndroidManifest.xml").write_text(text, encoding="utf-8")
    resources = folder / "res"
    for file in sorted((ANDROID / "res").rglob("*.xml")):
        target = resources / file.relative_to(ANDROID / "res")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
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


def _zip(entries: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        for name, data in sorted(entries.items()):
            entry = zipfile.ZipInfo(name)  # of 1980: no clock
            entry.create_system = 3  # on Windows, too
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_STORED if name.endswith(_STORED) else zipfile.ZIP_DEFLATED
            package.writestr(entry, data)
    return buffer.getvalue()
