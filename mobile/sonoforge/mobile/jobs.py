"""Build the app, and serve it: the work of ``sonoforge mobile build`` and ``sonoforge serve``."""

import hashlib
import io
import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sonoforge.mobile import HERE, android_app, web_app
from sonoforge.mobile.android_app import AndroidTools, SigningKey, debug_key, find_tools, own_key
from sonoforge.mobile.observation import AccessLog
from sonoforge.mobile.server import Server, Site, host_of
from sonoforge.mobile.settings import AppSettings, MobileBuildConfig, ServeConfig
from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import SonoforgeError, not_installed, refusing
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.decision import AtClinic, in_words

log = logging.getLogger(__name__)

EVERY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 - names of all addresses; nothing is bound here
_ELSEWHERE = {socket.AF_INET: "203.0.113.1", socket.AF_INET6: "2001:db8::1"}  # of no machine: RFC 5737 and 3849


def open_app(app: AppSettings, path: str, page: bool = True) -> tuple[Classifier, dict[str, bytes]]:
    """Load the classifier behind the app and, for its page, make its files; an empty path means the shipped bundle."""
    crop = None if app.crop == "bundle" else app.crop
    asked = AtClinic(app.prevalence, app.sensitivity, app.abstain)
    classifier = Classifier(open_bundle(path or None), crop=crop, asked=asked)
    archive = Path(app.onnxruntime_web) if app.onnxruntime_web else None
    return classifier, web_app.app_files(classifier, archive) if page else {}


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


def reachable_name(host: str) -> str:
    """Return the name or address where other machines reach a host; send nothing."""
    if host not in EVERY_ADDRESS:
        return host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    what, remedy = f"host: {host} needs a network, but this machine has none", "join one, or give an address"
    with refusing(what, remedy, OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((_ELSEWHERE[family], 9))
        return str(probe.getsockname()[0])


def serve(config: ServeConfig, begun: Callable[[str, list[str], str], None]) -> str:
    """Serve the app until interrupted, answer what is in work, and return the URL.

    ``begun`` gets the URL, how the app answers, and its certificate's SHA-256 (empty without https) once it is bound.
    """
    if config.open and not config.page:
        raise SonoforgeError("open: there is no page with --set serve.page=false")
    classifier, files = open_app(config.app, config.bundle, config.page)
    name = reachable_name(config.host).lower()
    others = {host_of(other if "//" in other else f"//{other}") for other in config.names} - {""}
    hosts = frozenset((*HERE, config.host.lower(), name, *others))
    site = Site(files, classifier, hosts, config.most * 1_000_000, config.queue)
    access_log = AccessLog(config.log) if config.log else None
    with Server((config.host, config.port), site, access_log) as server:
        fingerprint = ""
        # The packages of the extra phone.
        if name not in HERE and not not_installed("phone", "cryptography", "segno"):
            from sonoforge.mobile.certificate import certificate_for  # noqa: PLC0415 - an extra

            certificate = certificate_for(name)
            server.encrypt(certificate)
            fingerprint = certificate.fingerprint
        shown = f"[{name}]" if ":" in name else "localhost" if name in HERE else name
        address = f"{'https' if fingerprint else 'http'}://{shown}:{server.server_port}/"
        begun(address, in_words(classifier.bundle.manifest, classifier.clinic), fingerprint)
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        try:
            while serving.is_alive():
                serving.join(1.0)  # Windows would not interrupt an endless wait
        except KeyboardInterrupt:
            log.info("ending: requests in work are answered, for %g s at most; Ctrl-C again ends at once", config.grace)
            if left := server.end(config.grace):
                log.warning("%d connections were not answered in time; --set serve.grace allows more", left)
            log.info("stopped")
    return address


def qr_code(text: str) -> str:
    """Return a QR code drawn with half blocks, for a terminal of dark letters or light ones."""
    import segno  # noqa: PLC0415 - an extra

    drawn = io.StringIO()
    segno.make(text, micro=False).terminal(drawn, compact=True)
    return drawn.getvalue()
