"""The settings of the verbs of sonoforge.runtime: read for --help without what the verbs import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sonoforge.runtime.cli.options import argument, group, option


def crop_option() -> Any:
    """Declare ``--crop`` of a verb that classifies."""
    return option(
        "bundle",
        help="input of the network: bundle: as in training; auto: the scan area found in each image; none: "
        "whole images",
        choices=("bundle", "auto", "none"),
    )


def prevalence_option() -> Any:
    """Declare ``--prevalence`` of a verb that classifies."""
    return option(
        "",
        help="share of each class where the scans are from: screening, referral or SHARES\n"
        "SHARES are such as normal=.6,benign=.3,malignant=.1; default: equal shares",
        metavar="SHARES",
    )


def sensitivity_option() -> Any:
    """Declare ``--sensitivity`` of a verb that classifies."""
    return option(0.95, help="sensitivity at which each question, such as lesion or not, is answered", limits=(0, 1))


@dataclass(frozen=True)
class ClassifyConfig:
    """Settings of ``sonoforge classify``."""

    EXAMPLES: ClassVar[str] = """
sonoforge classify scan.png
sonoforge classify scans/ --recursive --csv answers.csv
sonoforge classify scans/ --html answers.html
sonoforge classify scans/ --csv answers.csv --resume
sonoforge classify scans/ --csv answers.csv --cluster 10.0.0.5:6379    on the machines of a Ray cluster
sonoforge classify scans/ --overlay looked-at/
sonoforge classify 'scans/*.png' --json --quiet > answers.json
sonoforge classify - < scan.png
sonoforge classify --watch incoming/ --csv answers.csv
sonoforge classify scan.png --bundle bundle.zip --file model.int8.onnx
sonoforge classify scans/ --prevalence screening --sensitivity 0.9

exit code: 0 every file was answered; 2 at least one could not be (the others still are)
"""
    ESSENTIAL: ClassVar[str] = "recursive csv html overlay bundle"

    paths: tuple[str, ...] = argument((), help="images, folders and globs, which may be quoted; - for standard input")
    bundle: str = option(
        "", help="folder or .zip of a bundle, or its run's folder (default: the shipped one)", metavar="PATH"
    )
    file: str = option("model.onnx", help="model file of the bundle to use, such as model.int8.onnx")
    provider: str = option("CPUExecutionProvider", help="execution provider of onnxruntime; see sonoforge doctor")
    crop: str = crop_option()
    prevalence: str = prevalence_option()
    sensitivity: float = sensitivity_option()
    abstain: bool = option(False, help="give no label where the bundle's policy is to abstain, and say why")
    overlay: str = option("", help="also write heat maps that explain each answer to this folder", metavar="FOLDER")
    html: str = option(
        "", help="also write one page of all scans and answers, the most suspicious first", metavar="PAGE"
    )
    csv: str = option("", help="also append each answer to this CSV file", metavar="FILE")
    jsonl: str = option("", help="also append each answer to this file, as one JSON object per line", metavar="FILE")
    resume: bool = option(False, help="classify only files that are not yet in --csv or --jsonl")
    beside: bool = option(False, help="also write each answer next to its image: NAME.sonoforge.json")
    sr: str = option(
        "", help="also write answers to DICOM files as structured reports to this folder", metavar="FOLDER"
    )
    sc: str = option(
        "", help="also write pictures of answers to DICOM files as secondary captures to this folder", metavar="FOLDER"
    )
    anonymous: bool = option(False, help="name files by a hash of their contents in all output")
    watch: str = option("", help="classify each scan that appears in this folder, until Ctrl-C", metavar="FOLDER")
    recursive: bool = option(False, help="also search subfolders")
    threads: int = option(1, help="threads per inference", limits=(1, 256))
    workers: int = option(
        0,
        help="files to classify in parallel; 0: one per core, at most 8; with --cluster as many as fit",
        limits=(0, 256),
    )
    cluster: str = option(
        "",
        help="classify on a Ray cluster: local, to start one here, or its address (HOST:6379)",
        metavar="ADDRESS",
    )


_OF_FILES = (
    "paths overlay html csv jsonl resume beside sr sc anonymous watch recursive cluster"  # that are there already
)


@dataclass(frozen=True)
class ListenConfig:
    """Settings of ``sonoforge listen``."""

    EXAMPLES: ClassVar[str] = """
sonoforge listen
storescu localhost 11112 -aec SONOFORGE scan.dcm    DCMTK's, to try it
sonoforge listen --send-to PACS@192.168.1.5:104
sonoforge listen --host 0.0.0.0 --callers US1@192.168.1.7,PACS@192.168.1.5 --send-to PACS@192.168.1.5:104
sonoforge listen --host 0.0.0.0 --certificate own.pem --key own.key --authority hospital.pem

exit code: 0 every object was answered; 2 at least one could not be, or it cannot listen
"""
    ESSENTIAL: ClassVar[str] = "out host callers send_to keep"

    out: str = option(
        "dicom-inbox", help="folder of the answers, and of what is not yet answered or sent", metavar="FOLDER"
    )
    port: int = option(11112, help="port; 0: any free one", limits=(0, 65535))
    host: str = option("127.0.0.1", help="address to listen on; the default is for this machine only")
    ae_title: str = option("SONOFORGE", help="AE title of this side", metavar="TITLE")
    callers: tuple[str, ...] = option(
        (), help="take scans only from these: TITLE or TITLE@ADDRESS (default: from everyone)", metavar="CALLER,..."
    )
    send_to: str = option("", help="send reports to this archive", metavar="TITLE@HOST:PORT")
    reports: tuple[str, ...] = option(
        ("sr", "sc"),
        help="reports to write: sr: structured report; sc: picture (secondary capture)",
        choices=("sr", "sc"),
        metavar="KIND,...",
    )
    keep: bool = option(False, help="keep answered scans in the folder; else they are removed")
    most: int = option(100, help="largest scan in MB", limits=(1, 4000), metavar="MB")
    room: float = option(10.0, help="most scans that wait to be answered, in GB", limits=(0.001, None), metavar="GB")
    rate: float = option(50.0, help="most scans a second; who sends more is slowed down", limits=(0.01, 10000))
    associations: int = option(16, help="most associations at a time", limits=(1, 200))
    certificate: str = option("", help="speak TLS, with this certificate", metavar="PEM")
    key: str = option("", help="key of the certificate, if that file does not hold it", metavar="PEM")
    authority: str = option(
        "", help="take scans only from callers with a certificate of this authority, and send in TLS", metavar="PEM"
    )
    answers: ClassifyConfig = group(ClassifyConfig(), title="the answers", without=_OF_FILES.split())


@dataclass(frozen=True)
class AdaptConfig:
    """Settings of ``sonoforge adapt``."""

    EXAMPLES: ClassVar[str] = """
sonoforge adapt --data ours/ --out our-bundle    ours/normal, ours/benign, ...
sonoforge adapt bundle.zip --data ours.csv       columns file, label and group
sonoforge classify scans/ --bundle our-bundle    answers as it was adapted

A folder has one folder for each class: ours/normal, ours/benign, ours/malignant.
A CSV file has columns file, label and, of patients, group.

Twenty to eighty labelled scans, as they come in the clinic: class shares are counted, so leave none out and add none
for balance.  Scans of one patient belong in one group; without groups each file counts as a patient, but for repeats.
Scans without a label, in a folder unlabelled or with an empty label, help to tell how far out the clinic's scans lie.

exit code: 0 the site bundle is written; 1 it would do harm, and nothing is written; 2 too few scans
"""
    ESSENTIAL: ClassVar[str] = "data out sensitivity"

    bundle: str = argument("", help="folder or .zip of a bundle (default: the shipped one)")
    data: str = option(
        "",
        help="labelled scans of the clinic: a folder with one of each class, or a CSV of file, label and group",
        metavar="PATH",
    )
    out: str = option("site-bundle", help="new folder for the site bundle", metavar="FOLDER")
    sensitivity: float = sensitivity_option()
    threads: int = option(1, help="threads per inference", limits=(1, 256))
    workers: int = option(0, help="files to answer in parallel; 0: one per core, at most 8", limits=(0, 256))


@dataclass(frozen=True)
class QualityConfig:
    """Settings of ``sonoforge quality``."""

    EXAMPLES: ClassVar[str] = """
sonoforge quality scan.png
sonoforge quality scans/ --recursive --csv quality.csv --html quality.html
sonoforge quality generated/ --against real/ --json > distances.json

exit code: 0 every file was measured; 2 at least one could not be (the others still are)
"""
    ESSENTIAL: ClassVar[str] = "recursive csv html against bundle"

    paths: tuple[str, ...] = argument(help="images, folders and globs, which may be quoted; masks are skipped")
    against: str = option(
        "", help="folder of reference images: also measure the distance between the two sets", metavar="FOLDER"
    )
    bundle: str = option(
        "", help="folder or .zip of a bundle, or its run's folder (default: the shipped one)", metavar="PATH"
    )
    csv: str = option("", help="also write one row per file to this CSV file", metavar="FILE")
    html: str = option("", help="also write one page of all scans, the worst first", metavar="PAGE")
    recursive: bool = option(False, help="also search subfolders")
    threads: int = option(1, help="threads per inference", limits=(1, 256))


@dataclass(frozen=True)
class GanSampleConfig:
    """Settings of ``sonoforge gan sample``."""

    EXAMPLES: ClassVar[str] = """
sonoforge gan sample --bundle shipped --class malignant    needs no training
sonoforge gan sample runs/00000-gan-dcgan-thesis-busi-malignant --count 227
sonoforge gan sample --bundle generator.zip --count 16 --out generated/
sonoforge gan sample runs/00000-gan-dcgan-thesis-busi-malignant --checkpoint best --seed 7 --out generated/malignant
sonoforge gan sample runs/00001-gan-lsgan-busi --class normal --count 10000 --out normal.zip
sonoforge gan sample runs/00001-gan-lsgan-busi --class normal --truncation 1.5 --out normal.npz
sonoforge gan sample runs/00002-gan-stylegan2-busi-malignant --psi 0.7 --count 227
sonoforge gan sample runs/00000-gan-dcgan-thesis-busi-malignant --count 4 --interpolate 9
sonoforge gan sample runs/00003-gan-ga-gan-herlev --class all --count 4000 --out s3://bucket/herlev-generated

The shipped generator draws breast scans of 64 x 64 pixels.
For better single images of less variety: --psi for StyleGAN 1 to 3 (the truncation of styles, Karras 2019), and
--truncation for the others with normal latents (that of latents, Brock 2019; not began).
With masks trained jointly, each image comes with its mask: NAME.png and NAME_mask.png; with masks of several
structures, NAME_mask_STRUCTURE.png.
"""
    ESSENTIAL: ClassVar[str] = "bundle count class_name seed out"

    run: str = argument("", help="run folder of sonoforge gan train, or one of its checkpoints")
    bundle: str = option(
        "",
        help="in place of RUN, without torch: folder or .zip of a generator's bundle, or shipped",
        metavar="PATH",
    )
    count: int = option(64, help="number of images to generate\nwith --interpolate, of strips", limits=(1, None))
    class_name: str = option(
        "",
        help="class to generate, if the generator has several\nall: --count images of each, in a folder per class",
        aliases=("class",),
        renamed=True,
    )
    seed: int = option(0, help="random seed; image i depends on the seed and i only", limits=(0, None))
    psi: float | None = option(
        None, help="StyleGAN: truncation of the styles; 1: none, 0: always the mean image", limits=(-2, 2)
    )
    psi_cutoff: int | None = option(
        None, help="StyleGAN: number of coarse styles to truncate (default: all)", limits=(1, None)
    )
    truncation: float | None = option(
        None,
        help="other generators: truncation of the latents at this value, for fewer artefacts and less variety",
        limits=(0.01, None),
    )
    interpolate: int | None = option(
        None, help="write strips of this many images that interpolate from one to the next", limits=(2, 100)
    )
    out: str = option(
        "",
        help="folder, .zip or .npz for the images, or a folder at a URL: s3://bucket/folder (default: generated/ in "
        "the run folder)",
        takes_url=True,
    )
    checkpoint: str = option("last", help="last, best (lowest KID), or a step number")
    batch: int = option(64, help="batch size on a GPU", limits=(1, None))
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")


def trust_option() -> Any:
    """Declare ``--trust`` of a verb that runs all files of a bundle."""
    return option(
        False,
        help="also run files that are programs or unchecked (all but ONNX and ORT): only from an author you trust",
    )


@dataclass(frozen=True)
class VerifyConfig:
    """Settings of ``sonoforge verify``."""

    EXAMPLES: ClassVar[str] = """
sonoforge verify
sonoforge verify runs/00003-run-busi/bundle
sonoforge verify bundle.zip --json
sonoforge verify my-own-bundle --trust

exit code: 0 the bundle passes; 1 it fails; 2 there is no bundle to check
"""

    bundle: str = argument("", help="folder or .zip of a bundle (default: the shipped one)")
    trust: bool = trust_option()


@dataclass(frozen=True)
class BenchConfig:
    """Settings of ``sonoforge bench``."""

    EXAMPLES: ClassVar[str] = """
sonoforge bench
sonoforge bench bundle.zip --formats onnx,onnx-int8 --out speed/
sonoforge bench new.zip --against old.zip --seconds 10
sonoforge bench bundle.zip --threads 4 --batches 1,16,64 --json

exit code: 0 success; 1 a file failed or none could be measured; 2 there is no bundle
"""
    ESSENTIAL: ClassVar[str] = "formats against threads batches out"

    bundle: str = argument("", help="folder or .zip of a bundle (default: the shipped one)")
    formats: tuple[str, ...] = option((), help="only these formats, such as onnx,onnx-int8", metavar="NAME,...")
    trust: bool = trust_option()
    threads: int = option(1, help="threads per inference", limits=(1, 256))
    batches: tuple[int, ...] = option((1, 8, 32), help="batch sizes", limits=(1, 1024), metavar="N,...")
    seconds: float = option(3.0, help="seconds of timing per file", limits=(0.01, 3600))
    rounds: int = option(3, help="number of rounds the timing of each file is spread over", limits=(1, 100))
    against: str = option("", help="another bundle to compare with", metavar="PATH")
    image: str = option("", help="image to time, in place of the golden ones", metavar="FILE")
    out: str = option("", help="also write bench.json and bench.png to this folder", metavar="FOLDER")


@dataclass(frozen=True)
class DoctorConfig:
    """``sonoforge doctor`` has no settings of its own."""

    EXAMPLES: ClassVar[str] = """
sonoforge doctor
sonoforge doctor --json

exit code: 0, whatever is missing; 1 when the base install itself is broken
"""


@dataclass(frozen=True)
class CompletionConfig:
    """Settings of ``sonoforge completion``."""

    EXAMPLES: ClassVar[str] = """
sonoforge completion bash > ~/.sonoforge.bash    source this file in ~/.bashrc
sonoforge completion zsh > ~/.zfunc/_sonoforge
sonoforge completion fish > ~/.config/fish/completions/sonoforge.fish

zsh: ~/.zshrc has fpath+=~/.zfunc before compinit.
New shells complete; after an update of sonoforge, print the script again.
"""

    shell: str = argument(help="bash, zsh or fish", choices=("bash", "zsh", "fish"))
