"""``sonoforge serve``: the page on this machine, for a clinic's laptop, and ``POST /classify`` for its programs.

The body of a POST is an image file, or DICOM where the extra is installed.  The answer is the entry of ``sonoforge
classify --json``, 200; what cannot be answered is ``{"file", "ok": false, "error": {"code", "message"}}``, 4xx.

Runs until Ctrl-C.  Exit code 0 then, 2 when it cannot start.
"""

from __future__ import annotations

import logging
import webbrowser
from dataclasses import dataclass
from pathlib import Path

from sonoforge.mobile import web_app
from sonoforge.mobile.server import Server, Site
from sonoforge.mobile.web_app import Additions
from sonoforge.runtime.bundle.generation import GeneratorManifest
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome, argument, option
from sonoforge.runtime.inference.classifier import Classifier
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
    file: str = option("model.onnx", help="model file of the bundle that answers", metavar="NAME")
    generator: str = option(
        "", help="generator's bundle (folder or .zip): adds a page that draws images with it", metavar="BUNDLE"
    )
    webgpu: bool = option(False, help="let the page offer the graphics processor (WebGPU); 27 MB more to load")
    most: int = option(100, help="largest upload in MB", limits=(1, 200), metavar="MB")
    open: bool = option(False, help="open the page in this machine's browser")
    crop: str = option(
        "bundle",
        help="what the network sees: as in the bundle's training, the scan found in each image, or whole images",
        choices=("bundle", "auto", "none"),
    )
    abstain: bool = option(False, help="say uncertain instead of a label where the bundle's policy hands a scan back")
    onnxruntime_web: str = option("", help="its .tgz, as npm pack writes it, instead of loading it", metavar="FILE")


def main(config: Config) -> Outcome:
    """Serve until interrupted."""
    bundle = open_bundle(config.bundle or None)
    archive = Path(config.onnxruntime_web) if config.onnxruntime_web else None
    generator = open_bundle(config.generator, GeneratorManifest) if config.generator else None
    crop = None if config.crop == "bundle" else config.crop
    files = web_app.app_files(bundle, config.file, archive, crop, config.abstain, Additions(generator, config.webgpu))
    classifier = Classifier(bundle, file=config.file, crop=crop, abstain=config.abstain)
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
