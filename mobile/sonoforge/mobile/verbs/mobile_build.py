"""``sonoforge mobile build``: a classifier's bundle as an offline web app, and as an app for Android.

The web app is a folder of files for any web server with https, or for ``sonoforge serve``; the Android app is one file,
which shows the same page without any server.  JSON: ``app`` (the folder), ``model`` ({"name", "version", "sha256"}),
``file``, ``files`` (their number), ``bytes``, ``version``; with ``--apk`` also ``apk`` ({"file", "application",
"version_code", "bytes", "sha256", "key" ("debug" or "own")}); with ``--generator`` also ``generator`` (as ``model``).
"""

import hashlib
from pathlib import Path
from typing import Any

from sonoforge.mobile import android_app, web_app
from sonoforge.mobile.android_app import AndroidApp, Signer
from sonoforge.mobile.android_tools import debug_key, find_tools, own_key
from sonoforge.mobile.verbs.app import files_of, open_classifier, open_generator
from sonoforge.mobile.verbs.settings import MobileBuildConfig
from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.notice import NOTICE


def main(config: MobileBuildConfig) -> Outcome:
    """Build the app; see the top of this module for the result."""
    bundle = open_bundle(config.bundle or None)
    out = Path(config.out)
    if out.exists() and not (out / "service-worker.js").is_file():
        raise SonoforgeError(f"{out}: found something other than an app; give --out a new folder")
    signer = _signer(config)
    generator = open_generator(config.app)
    files = files_of(config.app, open_classifier(config.app, bundle), generator)
    manifest, about = bundle.manifest, web_app.summary(files)
    apk = android_app.build_apk(files, manifest, about["version"], signer) if signer else None
    with atomic.replacing_folder(out) as folder:
        web_app.write_files(files, folder)
    say(f"app       {out}   ({NOTICE[0].lower()}{NOTICE[1:-1]})")
    say(f"model     {manifest.name} {manifest.version}, {config.app.file}")
    sha256 = manifest.files[config.app.file].sha256
    if generator:
        drawn = generator.manifest
        say(f"draws     {drawn.name} {drawn.version} ({web_app.about_distance(generator, sha256)})")
    say(f"files     {about['files']}, {about['bytes'] / 1e6:.1f} MB to load once")
    say(f"version   {about['version']}")
    model = {**manifest.identity, "sha256": sha256}
    result: dict[str, Any] = {"app": str(out), "model": model, "file": config.app.file, **about}
    if generator:
        result["generator"] = generator.manifest.identity
    if signer and apk:
        result["apk"] = _write_apk(out.with_name(f"{out.name}.apk"), apk[0], apk[1], signer)
    return Outcome(result, f"sonoforge serve '{config.bundle}' --open" if config.bundle else "sonoforge serve --open")


def _signer(config: MobileBuildConfig) -> Signer | None:
    """Find what the Android app needs before the long work; None where none is wanted."""
    if not config.apk:
        if config.key or config.key_alias:
            raise SonoforgeError("key: found without --apk; add --apk, whose file it signs")
        return None
    if config.key_alias and not config.key:
        raise SonoforgeError("key_alias: found without --key; give the keystore that holds this key")
    tools = find_tools()
    return Signer(tools, own_key(Path(config.key), config.key_alias) if config.key else debug_key(tools))


def _write_apk(path: Path, app: AndroidApp, data: bytes, signer: Signer) -> dict[str, Any]:
    atomic.write_bytes(path, data)
    key = "debug" if signer.key.is_debug else "own"
    sha256 = hashlib.sha256(data).hexdigest()
    say(f"android   {path}, {len(data) / 1e6:.1f} MB, {app.application}, Android 7 or later, no permission")
    say(f"signed    {signer.key.keystore}{', a DEBUG KEY' if signer.key.is_debug else ''}")
    about = {"file": str(path), "application": app.application, "version_code": app.code}
    return {**about, "bytes": len(data), "sha256": sha256, "key": key}
