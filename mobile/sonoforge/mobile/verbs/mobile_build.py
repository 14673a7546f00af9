"""``sonoforge mobile build``: turn a classifier's bundle into an offline web app, and an app for Android.

The web app is a folder of files for any web server with https, or for ``sonoforge serve``; the Android app is one file,
which shows the same page without any server.  JSON: ``app`` (the folder), ``model`` ({"name", "version", "sha256"}),
``file``, ``clinic`` (as of ``sonoforge classify``), ``files`` (their number), ``bytes``, ``version``; with ``--apk``
also ``apk`` ({"file", "application", "version_code", "bytes", "sha256", "key" ("debug" or "own")}).
"""

import hashlib
from pathlib import Path
from typing import Any

from sonoforge.mobile import android_app, web_app
from sonoforge.mobile.android_app import AndroidTools, SigningKey, debug_key, find_tools, own_key
from sonoforge.mobile.settings import MobileBuildConfig
from sonoforge.mobile.verbs.serve import open_app, serve_command
from sonoforge.runtime import atomic
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.decision import in_words
from sonoforge.runtime.notice import NOTICE


def main(config: MobileBuildConfig) -> Outcome:
    """Build the app; see the top of this module for the result."""
    out = Path(config.out)
    if out.exists() and not (out / "service-worker.js").is_file():
        raise SonoforgeError(f"{out}: holds something other than an app; give --out a new folder")
    signer = _signer(config)
    classifier, files = open_app(config.app, config.bundle)
    manifest, about = classifier.bundle.manifest, web_app.summary(files)
    if signer:
        tools, key = signer
        android = android_app.describe_app(manifest, about["version"])
        apk = android_app.sign(android_app.build_unsigned(files, android, tools), key, tools)
    with atomic.replacing_folder(out) as folder:
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    say(f"app       {out}   ({NOTICE[0].lower()}{NOTICE[1:-1]})")
    say(f"model     {manifest.name} {manifest.version}, {classifier.file}")
    model = {**manifest.identity, "sha256": manifest.files[classifier.file].sha256}
    clinic = classifier.clinic.to_dict()
    result: dict[str, Any] = {"app": str(out), "model": model, "file": classifier.file, "clinic": clinic, **about}
    say(f"files     {about['files']}, {about['bytes'] / 1e6:.1f} MB to load once")
    say(f"version   {about['version']}")
    for sentence in in_words(manifest, classifier.clinic):
        say("%s", sentence)
    if signer:
        path = out.with_name(f"{out.name}.apk")
        atomic.write_bytes(path, apk)
        say(f"android   {path}, {len(apk) / 1e6:.1f} MB, {android.application}, Android 7 or later, no permission")
        say(f"signed    {key.keystore}{', a DEBUG KEY' if key.is_debug else ''}")
        result["apk"] = {
            "file": str(path),
            "application": android.application,
            "version_code": android.code,
            "bytes": len(apk),
            "sha256": hashlib.sha256(apk).hexdigest(),
            "key": "debug" if key.is_debug else "own",
        }
    say("phone     opens it from any web server with https, or from this machine as said next")
    return Outcome(result, serve_command(config.app, config.bundle))


def _signer(config: MobileBuildConfig) -> tuple[AndroidTools, SigningKey] | None:
    """Find what the Android app needs before the long work; return None if none is wanted."""
    if not config.apk:
        if config.key or config.key_alias:
            raise SonoforgeError("key: requires --apk, the file that it signs")
        return None
    if config.key_alias and not config.key:
        raise SonoforgeError("key_alias: requires --key, the keystore that holds this key")
    tools = find_tools()
    return tools, own_key(Path(config.key), config.key_alias) if config.key else debug_key(tools)
