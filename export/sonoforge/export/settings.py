"""The options of the verbs that write bundles; importable on the base install."""

from dataclasses import dataclass

from sonoforge.export.formats.table import FORMATS
from sonoforge.runtime.cli.options import argument, option, repeated_option, setting
from sonoforge.training.crossval.options import ComparisonConfig


@dataclass(frozen=True)
class RunConfig(ComparisonConfig):
    """Options of ``run``: a comparison, and the final model."""

    final_arm: str = option("real", help="arm of the final model, trained on all images", metavar="ARM")
    name: str = setting("", "run.name", help="name of the model in the bundle (default: the data set's)")


@dataclass(frozen=True)
class ExportConfig:
    """Settings of ``export``."""

    run: str = argument(help="run folder of run, train or gan train; or a bundle")
    formats: tuple[str, ...] = option(
        ("onnx",),
        help=f"all, or formats such as onnx,onnx-int8,executorch\nany of {', '.join(FORMATS)}; of a generator "
        + ", ".join(name for name, form in FORMATS.items() if form.generators),
    )
    data: str = option(
        "",
        help="images to check the files on (default: the run's own)\nphantom: simulated breast scans",
        metavar="FOLDER",
    )
    checkpoint: str = option("", help="generator: best, last or a step number\ndefault: best, if KID was measured")
    evidence: tuple[str, ...] = repeated_option(
        (),
        help="another run to cite in the model card; repeatable\n"
        "for a classifier, runs of crossval of the same recipe, with sealed folds or --protocol "
        "leave-one-collection-out; for a generator, its run of evaluate",
        metavar="RUN",
    )
    out: str = option("", help="folder of the bundle (default: RUN/bundle)", metavar="FOLDER")
    zip: bool = option(False, help="also pack the bundle as OUT.zip")
    sign: str = setting("", "export.sign", help="PEM file of an Ed25519 private key to sign the bundle with")
    triton: str = setting("", "export.triton", help="folder: also write the ONNX files as Triton's model repository")
