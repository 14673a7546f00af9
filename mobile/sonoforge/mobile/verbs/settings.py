"""The settings of the verbs of sonoforge.mobile: read for --help without what the verbs import."""

from dataclasses import dataclass
from typing import ClassVar

from sonoforge.runtime.cli.options import argument, group, option
from sonoforge.runtime.verbs.settings import crop_option, prevalence_option, sensitivity_option


@dataclass(frozen=True)
class AppSettings:
    """How the app answers, and what it carries beside its classifier."""

    file: str = option("model.onnx", help="model file of the bundle to use", metavar="NAME")
    generator: str = option(
        "", help="generator's bundle: adds a page that generates images\na folder or .zip", metavar="BUNDLE"
    )
    webgpu: bool = option(False, help="offer to run on the GPU (WebGPU); 27 MB more to load")
    crop: str = crop_option()
    prevalence: str = prevalence_option()
    sensitivity: float = sensitivity_option()
    abstain: bool = option(False, help="show uncertain in place of a label where the bundle's policy is to abstain")
    onnxruntime_web: str = option(
        "",
        help="the .tgz of onnxruntime-web, as npm pack writes it, in place of a download\n"
        "that of dicom-parser may lie beside it",
        metavar="FILE",
    )


@dataclass(frozen=True)
class MobileBuildConfig:
    """Settings of ``sonoforge mobile build``."""

    EXAMPLES: ClassVar[str] = """
sonoforge mobile build --out app/
sonoforge mobile build runs/00003-run-busi/bundle --out app/
sonoforge mobile build --out app/ --apk   # also app.apk, for Android
sonoforge mobile build bundle.zip --file model.int8.onnx --out app/
sonoforge mobile build --prevalence screening --sensitivity 0.9 --out app/
sonoforge mobile build --generator runs/00005-gan-dcgan-busi/bundle --out app/   # draws synthetic images, too
sonoforge mobile build --out app/ --apk --key release.p12   # for the password, or $SONOFORGE_KEYSTORE_PASSWORD

app.apk is for Android 7 or later.
The first time, npm loads onnxruntime-web, which runs the network in the browser, and dicom-parser; without a network,
give their .tgz.
"""
    ESSENTIAL: ClassVar[str] = "out apk key generator prevalence"

    bundle: str = argument("", help="folder or .zip of a classifier's bundle (default: the shipped one)")
    out: str = option("app", help="folder of the app; one that an earlier build wrote is replaced", metavar="FOLDER")
    apk: bool = option(False, help="also write FOLDER.apk, the same app for Android")
    key: str = option("", help="keystore to sign the .apk with, in place of a debug key", metavar="KEYSTORE")
    key_alias: str = option("", help="name of the key, if the keystore holds several", metavar="NAME")
    app: AppSettings = group(AppSettings(), title="the app")


@dataclass(frozen=True)
class ServeConfig:
    """Settings of ``sonoforge serve``."""

    EXAMPLES: ClassVar[str] = """
sonoforge serve
sonoforge serve runs/00003-run-busi/bundle --port 9000 --open
curl --data-binary @scan.png http://localhost:8765/classify
sonoforge serve --prevalence normal=.6,benign=.3,malignant=.1
sonoforge serve --host 0.0.0.0   # phones and other machines of the network, too: without a password
"""
    ESSENTIAL: ClassVar[str] = "port host open prevalence generator"

    bundle: str = argument("", help="folder or .zip of a classifier's bundle (default: the shipped one)")
    port: int = option(8765, help="port; 0: any free one", limits=(0, 65535))
    host: str = option(
        "127.0.0.1",
        help="address to listen on; the default is for this machine only\nany other: over https, which phones want, "
        "where the extra phone is installed",
    )
    most: int = option(100, help="largest upload in MB", limits=(1, 200), metavar="MB")
    studies: str = option(
        "", help="also take DICOM by STOW-RS, POST /studies: answers and reports go to this folder", metavar="FOLDER"
    )
    open: bool = option(False, help="open the page in the browser")
    app: AppSettings = group(AppSettings(), title="the app")
