"""``sonoforge serve``: the page on this machine, for a clinic's laptop, and ``POST /classify`` for its programs.

The body of a POST is an image file, or DICOM where the extra is installed.  The answer is the entry of ``sonoforge
classify --json``, 200; what cannot be answered is ``{"file", "ok": false, "error": {"code", "message"}}``, 4xx.

Runs until Ctrl-C.  Exit code 0 then, 2 when it cannot start.
"""

from __future__ import annotations

import logging
import webbrowser
from dataclasses import dataclass

from sonoforge.mobile.app_settings import AppSettings
from sonoforge.mobile.server import Server, Site
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome, argument, group, option
from sonoforge.runtime.notice import NOTICE

log = logging.getLogger(__name__)

EXAMPLES = """
sonoforge serve
sonoforge serve runs/00003-run-busi/bundle --port 9000 --open
curl --data-binary @scan.png http://localhost:8765/classify
sonoforge serve --host 192.168.1.20   # other machines of the network, too: unencrypted, without a password
"""

_HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge serve``."""

    bundle: str = argument("", help="folder or .zip of a classifier's bundle; without it, the one shipped")
    port: int = option(8765, help="port; 0 for a free one", limits=(0, 65535))
    host: str = option("127.0.0.1", help="address of this machine to listen on; the default is for this machine alone")
    most: int = option(100, help="largest upload in MB", limits=(1, 200), metavar="MB")
    open: bool = option(False, help="open the page in this machine's browser")
    app: AppSettings = group(AppSettings(), title="the app")


def main(config: Config) -> Outcome:
    """Serve until interrupted."""
    bundle = open_bundle(config.bundle or None)
    classifier = config.app.open_classifier(bundle)
    files = config.app.files(classifier, config.app.open_generator())
    hosts = frozenset((*_HERE, config.host.lower()))
    server = Server((config.host, config.port), Site(files, classifier, hosts, config.most * 1_000_000))
    if config.host not in _HERE:
        log.warning(
            "listening on %s: every machine that reaches it can send scans, UNENCRYPTED and without a password",
            config.host,
        )
    name = "localhost" if config.host in _HERE else config.host
    address = f"http://{name}:{server.server_port}/"
    say(f"serving   {address}   ({NOTICE[0].lower()}{NOTICE[1:-1]}; Ctrl-C ends)")
    if config.open:
        webbrowser.open(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        log.info("stopped")
    finally:
        server.server_close()
    return Outcome({"address": address})
