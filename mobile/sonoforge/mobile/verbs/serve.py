"""``sonoforge serve``: the page on this machine, for a clinic's laptop, and ``POST /classify`` for its programs.

The body of a POST is an image file, or DICOM where the extra is installed: as it is, in chunks or in a form.  The
answer is the entry of ``sonoforge classify --json``, 200; what cannot be answered is ``{"file", "ok": false, "error":
{"code", "message"}}``, 4xx.  ``GET /health`` says that it runs, and with which model.

Runs until Ctrl-C.  Exit code 0 then, 2 when it cannot start.
"""

import logging
import webbrowser

from sonoforge.mobile.server import Server, Site
from sonoforge.mobile.verbs.app import open_app
from sonoforge.mobile.verbs.settings import ServeConfig
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.inference.decision import in_words
from sonoforge.runtime.notice import NOTICE

log = logging.getLogger(__name__)

_HERE = ("localhost", "127.0.0.1", "::1")


def main(config: ServeConfig) -> Outcome:
    """Serve until interrupted."""
    app = open_app(config.app, config.bundle)
    hosts = frozenset((*_HERE, config.host.lower()))
    server = Server((config.host, config.port), Site(app.files, app.classifier, hosts, config.most * 1_000_000))
    if config.host not in _HERE:
        log.warning(
            "listening on %s: every machine that reaches it can send scans, UNENCRYPTED and without a password",
            config.host,
        )
    name = f"[{config.host}]" if ":" in config.host else "localhost" if config.host in _HERE else config.host
    address = f"http://{name}:{server.server_port}/"
    say(f"serving   {address}   ({NOTICE[0].lower()}{NOTICE[1:-1]}; Ctrl-C ends)")
    for sentence in in_words(app.classifier.bundle.manifest, app.classifier.clinic):
        say("%s", sentence)
    if config.open:
        webbrowser.open(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        log.info("stopped")
    finally:
        server.server_close()
    return Outcome({"address": address})
