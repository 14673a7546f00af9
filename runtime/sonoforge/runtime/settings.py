"""Declare the options of the verbs of sonoforge.runtime; importable without what the verbs import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sonoforge.runtime.cli.options import argument, group, option, setting


def sensitivity_option() -> Any:
    """Declare ``--sensitivity`` for a verb that classifies."""
    return option(0.95, help="sensitivity at which questions are answered", limits=(0, 1))


def threads_option() -> Any:
    """Declare the number of threads for one inference."""
    return setting(1, "model.threads", help="threads per inference", limits=(1, 256))


def workers_option() -> Any:
    """Declare how many files to answer at a time."""
    return setting(0, "model.workers", help="files to answer in parallel (0: one per core, at most 8)", limits=(0, 256))


@dataclass(frozen=True)
class AnswerSettings:
    """How a verb that classifies answers."""

    crop: str = setting(
        "bundle",
        "model.crop",
        help="network input: bundle: as in training; auto: the scan area found in each image; none: whole images",
        choices=("bundle", "auto", "none"),
    )
    prevalence: str = option(
        "",
        help="class shares at the clinic: screening, referral or SHARES\n"
        "SHARES such as normal=.6,benign=.3,malignant=.1; default: those that the bundle names",
        metavar="SHARES",
    )
    sensitivity: float = sensitivity_option()
    abstain: bool = option(False, help="give no label if the bundle's policy is to abstain")


@dataclass(frozen=True)
class ClassifyConfig(AnswerSettings):
    """Settings of ``sonoforge classify``."""

    paths: tuple[str, ...] = argument((), help="images, folders, quoted globs; - for standard input", aliases=("data",))
    bundle: str = option("", help="bundle, or a run's folder (default: the shipped one)", metavar="PATH")
    file: str = setting("model.onnx", "model.file", help="model file of the bundle, such as model.int8.onnx")
    overlay: str = option("", help="also write heat maps to this folder", metavar="FOLDER")
    html: str = option("", help="also write a page of all scans, most suspicious first", metavar="PAGE")
    csv: str = option("", help="also append each answer to this CSV file", metavar="FILE")
    resume: bool = option(False, help="skip files that are already in --csv")
    sr: str = option("", help="also write DICOM structured reports here", metavar="FOLDER")
    sc: str = option("", help="also write DICOM secondary captures here", metavar="FOLDER")
    anonymous: bool = option(False, help="name files by a hash of their contents in all output")
    watch: str = option("", help="classify scans as they appear in this folder", metavar="FOLDER")
    recursive: bool = option(False, help="also search subfolders")
    threads: int = threads_option()
    workers: int = workers_option()


@dataclass(frozen=True)
class ListenConfig:
    """Settings of ``sonoforge listen``."""

    out: str = option("dicom-inbox", help="folder for answers and waiting scans", metavar="FOLDER")
    port: int = option(11112, help="port; 0: any free one", limits=(0, 65535))
    host: str = option("127.0.0.1", help="address to listen on; default: local only")
    ae_title: str = setting("SONOFORGE", "dicom.ae_title", help="AE title of this machine")
    callers: tuple[str, ...] = option(
        (),
        help="only from TITLE or TITLE@ADDRESS\ndefault: scans are taken from everyone",
        metavar="CALLER,...",
    )
    send_to: str = option("", help="archive to send reports to\nTITLE@HOST:PORT", metavar="ARCHIVE")
    reports: tuple[str, ...] = option(
        ("sr", "sc"),
        help="reports to write\nsr: structured report; sc: picture (secondary capture)",
        choices=("sr", "sc"),
        metavar="KIND,...",
    )
    keep: bool = option(False, help="keep answered scans")
    most: int = setting(100, "dicom.most", help="largest scan in MB", limits=(1, 4000))
    room: float = setting(10.0, "dicom.room", help="most unanswered scans to keep, in GB", limits=(0.001, None))
    associations: int = setting(16, "dicom.associations", help="most associations at a time", limits=(1, 200))
    certificate: str = option("", help="use TLS with this certificate", metavar="PEM")
    key: str = option("", help="key of the certificate, if in another file", metavar="PEM")
    authority: str = option(
        "",
        help="accept only certificates of this authority\nand send to the archive over TLS",
        metavar="PEM",
    )
    answers: ClassifyConfig = group(
        ClassifyConfig(),
        title="the answers",
        flags="bundle prevalence sensitivity abstain",
        # Of files that exist already.
        without=("paths", "overlay", "html", "csv", "resume", "sr", "sc", "anonymous", "watch", "recursive"),
    )


@dataclass(frozen=True)
class AdaptConfig:
    """Settings of ``sonoforge adapt``."""

    bundle: str = argument("", help="folder or .zip of a bundle (default: the shipped one)")
    data: str = option(
        "",
        help="the clinic's labelled scans: a folder per class, or a CSV",
        metavar="PATH",
    )
    out: str = option("site-bundle", help="new folder for the site bundle", metavar="FOLDER")
    sensitivity: float = sensitivity_option()
    threads: int = threads_option()
    workers: int = workers_option()


@dataclass(frozen=True)
class QualityConfig:
    """Settings of ``sonoforge quality``."""

    paths: tuple[str, ...] = argument(help="images, folders or quoted globs; masks are skipped", aliases=("data",))
    bundle: str = option("", help="bundle, or a run's folder (default: the shipped one)", metavar="PATH")
    csv: str = option("", help="also write one row per file to this CSV file", metavar="FILE")
    html: str = option("", help="also write one page of all scans, the worst first", metavar="PAGE")
    recursive: bool = option(False, help="also search subfolders")


@dataclass(frozen=True)
class GanSampleConfig:
    """Settings of ``sonoforge gan sample``."""

    run: str = argument("", help="run folder of gan train, or one of its checkpoints")
    bundle: str = option(
        "",
        help="instead of RUN, without torch: a generator's bundle\nfolder, .zip, or shipped",
        metavar="PATH",
    )
    count: int = option(64, help="images to generate", limits=(1, None))
    class_name: str = option(
        "",
        help="class to generate, if there are several\nall: --count images of each, in a folder per class",
        aliases=("class",),
        renamed=True,
    )
    seed: int = option(0, help="random seed; image i depends only on it and i", limits=(0, None))
    psi: float | None = option(None, help="StyleGAN: truncation of styles (1: none, 0: mean image)", limits=(-2, 2))
    truncation: float | None = option(
        None,
        help="other generators: truncation of the latents\nfewer artefacts and less variety",
        limits=(0.01, None),
    )
    into: str = option(
        "",
        help="draw into the masks of this folder, in turn\nNAME_mask.png and so on, or any black-and-white pictures",
        metavar="FOLDER",
    )
    out: str = option(
        "",
        help="folder, .zip or .npz, or s3://bucket/folder\ndefault: generated/ in the run folder",
        metavar="PATH",
        takes_url=True,
    )
    checkpoint: str = option("last", help="last, best (lowest KID) or a step number")
    batch: int = setting(64, "sample.batch", help="batch size on a GPU", limits=(1, None))
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")


def trust_option() -> Any:
    """Declare ``--trust`` for a verb that runs all files of a bundle."""
    return option(
        False,
        help="also run files other than ONNX and ORT\nthey are programs, or unchecked: only from an author you trust",
    )


@dataclass(frozen=True)
class VerifyConfig:
    """Settings of ``sonoforge verify``."""

    bundle: str = argument("", help="folder or .zip of a bundle (default: the shipped one)")
    key: str = option("", help="it must be signed with this Ed25519 key (the public one)", metavar="PEM")
    trust: bool = trust_option()


@dataclass(frozen=True)
class BenchConfig:
    """Settings of ``sonoforge bench``."""

    bundle: str = argument("", help="folder or .zip of a bundle (default: the shipped one)")
    formats: tuple[str, ...] = option((), help="only these formats, such as onnx,onnx-int8", metavar="NAME,...")
    trust: bool = trust_option()
    threads: int = threads_option()
    batches: tuple[int, ...] = option((1, 8, 32), help="batch sizes", limits=(1, 1024), metavar="N,...")
    seconds: float = setting(3.0, "bench.seconds", help="seconds of timing per file", limits=(0.01, 3600))
    rounds: int = setting(3, "bench.rounds", help="rounds that the timing of a file is spread over", limits=(1, 100))


@dataclass(frozen=True)
class DoctorConfig:
    """``sonoforge doctor`` has no settings of its own."""


@dataclass(frozen=True)
class SettingsConfig:
    """Options of ``sonoforge settings``."""

    words: tuple[str, ...] = argument((), help="a verb, or words to look for in keys and help")
    recipes: tuple[str, ...] = option((), help="show these GAN recipes instead, or all", metavar="NAME,...")
    page: bool = option(False, help="print a Markdown page")
