"""``sonoforge serve``: serve the page on a clinic's laptop, and ``POST /classify`` for its programs.

The body of a POST is an image file, or DICOM where the extra is installed.  The answer is the entry of ``sonoforge
classify --json`` with status 200, or ``{"file", "ok": false, "error": {"code", "message"}}`` with a 4xx status.  ``GET
/health`` says that it is running, and which model it has.

It serves other machines (``--host``) over https if the extra ``phone`` is installed, and says how to connect a phone.
It runs until Ctrl-C, then exits with 0; it exits with 2 if it cannot start.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import shlex
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from sonoforge.mobile import HERE
from sonoforge.mobile.server import AUTHORITY, EVERY_ADDRESS, Server, Site, reachable_name
from sonoforge.mobile.settings import AppSettings, ServeConfig
from sonoforge.mobile.web_app import app_files
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome, options, typed
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.decision import AtClinic, in_words
from sonoforge.runtime.notice import NOTICE

if TYPE_CHECKING:
    from sonoforge.mobile.certificate import Certificate

log = logging.getLogger(__name__)


def open_app(app: AppSettings, path: str) -> tuple[Classifier, dict[str, bytes]]:
    """Load the classifier behind the app and make the app's files; an empty path means the shipped bundle."""
    crop = None if app.crop == "bundle" else app.crop
    asked = AtClinic(app.prevalence, app.sensitivity, app.abstain)
    classifier = Classifier(open_bundle(path or None), crop=crop, asked=asked)
    return classifier, app_files(classifier, Path(app.onnxruntime_web) if app.onnxruntime_web else None)


def serve_command(app: AppSettings, path: str) -> str:
    """Return the command that shows the same app to the phones of this network."""
    words = ["sonoforge", "serve", *[path] * bool(path), "--host", EVERY_ADDRESS[0]]
    for option in options(ServeConfig).values():
        if option.path[0] == "app" and (value := getattr(app, option.path[1])) != option.default:
            words += typed(option, value)
    return shlex.join(words)


def main(config: ServeConfig) -> Outcome:
    """Serve until interrupted."""
    classifier, files = open_app(config.app, config.bundle)
    name = reachable_name(config.host).lower()
    site = Site(files, classifier, frozenset((*HERE, config.host.lower(), name)), config.most * 1_000_000)
    with Server((config.host, config.port), site) as server:
        certificate = None if name in HERE else _certificate(name)
        if certificate:
            server.encrypt(certificate)
        shown = f"[{name}]" if ":" in name else "localhost" if name in HERE else name
        address = f"{'https' if certificate else 'http'}://{shown}:{server.server_port}/"
        say(f"serving   {address}   ({NOTICE[0].lower()}{NOTICE[1:-1]}; Ctrl-C ends)")
        for sentence in in_words(classifier.bundle.manifest, classifier.clinic):
            say("%s", sentence)
        if certificate:
            _tell_phones(address, certificate.fingerprint)
        if name not in HERE:
            how = "without a password" if certificate else "UNENCRYPTED and without a password"
            log.warning("listening on %s: every machine that reaches it can send scans, %s", config.host, how)
            if not certificate:
                log.warning("for https, which phones need for offline use: pip install 'sonoforge[phone]'")
        if config.open:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            log.info("stopped")
    return Outcome({"address": address})


def _certificate(name: str) -> Certificate | None:
    """Return what https needs; None if the extra is not installed."""
    if not all(importlib.util.find_spec(package) for package in ("cryptography", "segno")):
        return None
    from sonoforge.mobile.certificate import certificate_for  # noqa: PLC0415 - an extra

    return certificate_for(name)


def _tell_phones(address: str, fingerprint: str) -> None:
    """Say how a phone on this network gets the app, and what it will show."""
    import segno  # noqa: PLC0415 - an extra

    drawn = io.StringIO()
    segno.make(address, micro=False).terminal(drawn, compact=True)
    if sys.stdout.isatty() and _can_encode(drawn.getvalue()):
        say("%s", drawn.getvalue())
    half = len(fingerprint) // 2 + 1
    say("phone     go past its warning only if the certificate has this SHA-256:")
    say("          %s\n          %s", fingerprint[:half], fingerprint[half:])
    say("offline   on the phone, install %s%s", address, AUTHORITY)
    say('          as a CA certificate; open the app again, then "Add to Home screen"')


def _can_encode(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return False
    return True
