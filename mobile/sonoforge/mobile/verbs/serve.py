"""``sonoforge serve``: serve the page on a clinic's laptop, and ``POST /classify`` for its programs."""

import contextlib
import logging
import shlex
import sys
import webbrowser

from sonoforge.mobile import HERE
from sonoforge.mobile.jobs import EVERY_ADDRESS, qr_code, serve
from sonoforge.mobile.server import AUTHORITY
from sonoforge.mobile.settings import AppSettings, ServeConfig
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome, options, typed
from sonoforge.runtime.errors import install_extra
from sonoforge.runtime.notice import NOTICE

log = logging.getLogger(__name__)


def serve_command(app: AppSettings, path: str) -> str:
    """Return the command that shows the same app to the phones of this network."""
    words = ["sonoforge", "serve", *[path] * bool(path), "--host", EVERY_ADDRESS[0]]
    for option in options(ServeConfig).values():
        if option.path[0] == "app" and (value := getattr(app, option.path[1])) != option.default:
            words += typed(option, value)
    return shlex.join(words)


def main(config: ServeConfig) -> Outcome:
    """Serve until interrupted."""

    def begun(address: str, says: list[str], fingerprint: str) -> None:
        say(f"serving   {address}   ({NOTICE[0].lower()}{NOTICE[1:-1]}; Ctrl-C ends)")
        for sentence in says:
            say("%s", sentence)
        if fingerprint:
            _tell_phones(address, fingerprint)
        if config.host.lower() not in HERE:
            how = "without a password" if fingerprint else "UNENCRYPTED and without a password"
            log.warning("listening on %s: every machine that reaches it can send scans, %s", config.host, how)
            if not fingerprint:
                log.warning("for https, which phones need for offline use, run %s", install_extra("phone"))
        if config.open:
            webbrowser.open(address)

    return Outcome({"address": serve(config, begun)})


def _tell_phones(address: str, fingerprint: str) -> None:
    """Say how a phone on this network gets the app, and what it will show."""
    drawn = qr_code(address)
    with contextlib.suppress(UnicodeEncodeError):  # a terminal without its blocks
        if sys.stdout.isatty() and drawn.encode(sys.stdout.encoding):
            say("%s", drawn)
    half = len(fingerprint) // 2 + 1
    say("phone     go past its warning only if the certificate has this SHA-256:")
    say("          %s\n          %s", fingerprint[:half], fingerprint[half:])
    say("offline   on the phone, install %s%s", address, AUTHORITY)
    say('          as a CA certificate; open the app again, then "Add to Home screen"')
