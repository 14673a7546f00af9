"""Build the app, and serve it: the work of ``sonoforge mobile build`` and ``sonoforge serve``."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sonoforge.mobile import HERE, android_app, web_app
from sonoforge.mobile.android_app import AndroidTools, SigningKey, debug_key, find_tools, own_key
from sonoforge.mobile.server import Server, Site, reachable_name
from sonoforge.mobile.settings import AppSettings, MobileBuildConfig, ServeConfig
from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.decision import AtClinic, in_words

log = logging.getLogger(__name__)


def open_app(app: AppSettings, path: str) -> tuple[Classifier, dict[str, bytes]]:
    """Load the classifier behind the app and make the app's files; an empty path means the shipped bundle."""
    crop = None if app.crop == "bundle" else app.crop
    asked = AtClinic(app.prevalence, app.sensitivity, app.abstain)
    classifier = Classifier(open_bundle(path or None), crop=crop, asked=asked)
    return classifier, web_app.app_files(classifier, Path(app.onnxruntime_web) if app.onnxruntime_web else None)


def build_app(config: MobileBuildConfig) -> tuple[dict[str, Any], list[str], str]:
    """Write the web app and, if asked for, the Android app beside it.

    Return what ``sonoforge mobile build --json`` prints, how the app answers, and the keystore that signed the Android
    app, empty without one.
    """
    out = Path(config.out)
    if out.exists() and not (out / "service-worker.js").is_file():
        raise SonoforgeError(f"{out}: holds something other than an app; give --out a new folder")
    signer = _signer(config)
    classifier, files = open_app(config.app, config.bundle)
    manifest, app = classifier.bundle.manifest, web_app.summary(files)
    about: dict[str, Any] = {
        "app": str(out),
        "model": {**manifest.identity, "sha256": manifest.files[classifier.file].sha256},
        "file": classifier.file,
        "clinic": classifier.clinic._asdict(),
        **app,
    }
    if signer:
        tools, key = signer
        android = android_app.describe_app(manifest, app["version"])
        apk = android_app.sign(android_app.build_unsigned(files, android, tools), key, tools)
        about["apk"] = {
            "file": str(out.with_name(f"{out.name}.apk")),
            "application": android.application,
            "version_code": android.code,
            "bytes": len(apk),
            "sha256": hashlib.sha256(apk).hexdigest(),
            "key": "debug" if key.is_debug else "own",
        }
    with atomic.replacing_folder(out) as folder:
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    if signer:
        atomic.write_bytes(about["apk"]["file"], apk)
    return about, in_words(manifest, classifier.clinic), str(key.keystore) if signer else ""


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


def serve(config: ServeConfig, begun: Callable[[str, list[str], str], None]) -> str:
    """Serve the app until interrupted, and return its URL.

    ``begun`` is called once the port is bound, with the URL, how the app answers, and the SHA-256 of its certificate,
    empty without https.
    """
    classifier, files = open_app(config.app, config.bundle)
    name = reachable_name(config.host).lower()
    site = Site(files, classifier, frozenset((*HERE, config.host.lower(), name)), config.most * 1_000_000)
    with Server((config.host, config.port), site) as server:
        fingerprint = ""
        # The packages of the extra phone.
        if name not in HERE and all(importlib.util.find_spec(package) for package in ("cryptography", "segno")):
            from sonoforge.mobile.certificate import certificate_for  # noqa: PLC0415 - an extra

            certificate = certificate_for(name)
            server.encrypt(certificate)
            fingerprint = certificate.fingerprint
        shown = f"[{name}]" if ":" in name else "localhost" if name in HERE else name
        address = f"{'https' if fingerprint else 'http'}://{shown}:{server.server_port}/"
        begun(address, in_words(classifier.bundle.manifest, classifier.clinic), fingerprint)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            log.info("stopped")
    return address


def qr_code(text: str) -> str:
    """Return a QR code drawn with half blocks, for a terminal of dark letters or light ones."""
    import segno  # noqa: PLC0415 - an extra

    drawn = io.StringIO()
    segno.make(text, micro=False).terminal(drawn, compact=True)
    return drawn.getvalue()
