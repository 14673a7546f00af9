"""``sonoforge mobile build``: a classifier's bundle as an offline web app.

The app is a folder of files for any web server with https, or for ``sonoforge serve``.  JSON: ``app`` (the folder),
``model`` ({"name", "version", "sha256"}), ``file``, ``files`` (their number), ``bytes``, ``version``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sonoforge.mobile import web_app
from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome, argument, option
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.notice import NOTICE

EXAMPLES = """
sonoforge mobile build --out app/
sonoforge mobile build runs/00003-run-busi/bundle --out app/
sonoforge mobile build bundle.zip --file model.int8.onnx --out app/

The first time, npm loads onnxruntime-web, which runs the network in the browser; without a network, give its .tgz.
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge mobile build``."""

    bundle: str = argument("", help="folder or .zip of a classifier's bundle; without it, the one shipped")
    out: str = option("app", help="folder of the app; one that an earlier build wrote is replaced", metavar="FOLDER")
    file: str = option("model.onnx", help="model file of the bundle that answers", metavar="NAME")
    crop: str = option(
        "bundle",
        help="what the network sees: as in the bundle's training, the scan found in each image, or whole images",
        choices=("bundle", "auto", "none"),
    )
    abstain: bool = option(False, help="say uncertain instead of a label where the bundle's policy hands a scan back")
    onnxruntime_web: str = option("", help="its .tgz, as npm pack writes it, instead of loading it", metavar="FILE")


def main(config: Config) -> Outcome:
    """Build the app; see the top of this module for the result."""
    bundle = open_bundle(config.bundle or None)
    out = Path(config.out)
    if out.exists() and not (out / "service-worker.js").is_file():
        raise SonoforgeError(f"{out}: found something other than an app; give --out a new folder")
    archive = Path(config.onnxruntime_web) if config.onnxruntime_web else None
    crop = None if config.crop == "bundle" else config.crop
    files = web_app.app_files(bundle, config.file, archive, crop, config.abstain)
    with atomic.replacing_folder(out) as folder:
        web_app.write_files(files, folder)
    manifest, about = bundle.manifest, web_app.summary(files)
    say(f"app       {out}   ({NOTICE[0].lower()}{NOTICE[1:-1]})")
    say(f"model     {manifest.name} {manifest.version}, {config.file}")
    say(f"files     {about['files']}, {about['bytes'] / 1e6:.1f} MB to load once")
    say(f"version   {about['version']}")
    model = {**manifest.identity, "sha256": manifest.files[config.file].sha256}
    result = {"app": str(out), "model": model, "file": config.file, **about}
    return Outcome(result, f"sonoforge serve '{config.bundle}' --open" if config.bundle else "sonoforge serve --open")
