"""``sonoforge mobile build``: turn a classifier's bundle into an offline web app, and an app for Android."""

from sonoforge.mobile.jobs import build_app
from sonoforge.mobile.settings import MobileBuildConfig
from sonoforge.mobile.verbs.serve import serve_command
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.notice import NOTICE


def main(config: MobileBuildConfig) -> Outcome:
    """Build the app."""
    about, says, keystore = build_app(config)
    say(f"app       {about['app']}   ({NOTICE[0].lower()}{NOTICE[1:-1]})")
    say(f"model     {about['model']['name']} {about['model']['version']}, {about['file']}")
    say(f"files     {about['files']}, {about['bytes'] / 1e6:.1f} MB to load once")
    say(f"version   {about['version']}")
    for sentence in says:
        say("%s", sentence)
    if apk := about.get("apk"):
        size = f"{apk['bytes'] / 1e6:.1f} MB"
        say(f"android   {apk['file']}, {size}, {apk['application']}, Android 7 or later, no permission")
        say(f"signed    {keystore}{', a DEBUG KEY' if apk['key'] == 'debug' else ''}")
    say("phone     opens it from any web server with https, or from this machine as said next")
    return Outcome(about, serve_command(config.app, config.bundle))
