"""The settings of ``sonoforge export``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import argument, option, repeated_option

# Of `formats.table.FORMATS`, whose writers need torch.
FORMAT_NAMES = (
    "onnx",
    "onnx-fp16",
    "onnx-int8",
    "onnx-uint8",
    "ort",
    "torchscript",
    "torchscript-lite",
    "executorch",
    "executorch-int8",
    "tensorrt",
    "tensorrt-fp16",
    "tensorrt-int8",
    "tensorrt-server",
    "tensorrt-server-fp16",
    "tensorrt-server-int8",
)
GENERATOR_FORMAT_NAMES = ("onnx", "onnx-fp16", "torchscript", "executorch", "tensorrt", "tensorrt-fp16")

EXAMPLES = """
sonoforge export runs/00003-run-BUSI                              model.onnx alone
sonoforge export runs/00003-run-BUSI --formats all                every format that this machine can write
sonoforge export runs/00003-run-BUSI --formats onnx-int8,executorch --data BUSI/ --out phone --zip
sonoforge export my_bundle.zip --formats tensorrt-fp16 --data scans/ --out server
sonoforge export shipped --formats onnx-int8 --data BUSI/ --out small
sonoforge export runs/00003-run-BUSI --network shipped --out again    this network, what the run measured
sonoforge export runs/00003-run-all --evidence runs/00004-crossval-all --evidence runs/00005-validate
sonoforge export shipped --evidence runs/00005-validate --out carded    the network as it is, its card with more
sonoforge export runs/00005-gan-stylegan2-busi-malignant          a generator, for gan sample --bundle
sonoforge export runs/00005-gan-stylegan2-busi-malignant --reference shipped    and KID on the device
sonoforge export runs/00005-gan-stylegan2-busi-malignant --half-weights    half the size
sonoforge export runs/00005-gan-stylegan2-busi-malignant --evidence runs/00006-evaluate    its figures on the card

all leaves out what this machine cannot write or cannot check; given by name, a file that nothing here can run, such
as a TensorRT engine without a GPU, goes in unchecked and is marked so.

exit code: 0 every file in the bundle is as it should be; 1 one failed its gate and was left out; 2 wrong usage or input
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``export``."""

    run: str = argument(help="run folder of run, train or gan train; or a bundle (folder, .zip, or the word shipped)")
    formats: tuple[str, ...] = option(
        ("onnx",), help=f"all, or any of {', '.join(FORMAT_NAMES)}; of a generator {', '.join(GENERATOR_FORMAT_NAMES)}"
    )
    data: str = option(
        "", help="folder of images to check the files on, or phantom: simulated breast scans (default: the run's own)"
    )
    checkpoint: str = option(
        "", help="of a generator: best, last or a step number (default: best, if one was measured)"
    )
    network: str = option(
        "",
        help="bundle (folder, .zip, or the word shipped) whose network to keep, with the run's record of held-out "
        "images; both of the same recipe on the same images (default: the run's own network)",
    )
    evidence: tuple[str, ...] = repeated_option(
        (),
        help="run of crossval, of sealed folds or with --protocol leave-one-collection-out, or of validate "
        "--robustness with networks trained without the collection, all of the same recipe: for the card; may be "
        "repeated; of a generator, its run of evaluate",
        metavar="RUN",
    )
    reference: str = option(
        "",
        help="of a generator: classifier's bundle (folder, .zip, or the word shipped) in whose features to record the "
        "training images, so that a page can measure KID of what it draws",
        metavar="BUNDLE",
    )
    half_weights: bool = option(
        False,
        help="of a generator: round its weights to half precision and store them so: half the size, at the same speed",
    )
    out: str = option("", help="folder of the bundle (default: RUN/bundle, or the bundle itself)")
    zip: bool = option(False, help="also pack the bundle as OUT.zip")
