"""How fast the ONNX family of formats answers, as ratios to the float32 ONNX file in the same run.

    python training/studies/speed/formats.py IMAGES [--bundle BUNDLE] [--count 32] [--rounds 10] [--threads 1]

IMAGES is a folder of images; the shipped model, or that of BUNDLE, is converted here.  One image at a time; the formats
take turns on each image, so that other work on the machine slows all of them, and each figure is the median of
processor time over all images and rounds.  Two rows begin with the decoded image and not with the network's input: the
file that resizes by itself, and float32 behind Pillow and numpy.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sonoforge.export.bundle.classifier import read_network
from sonoforge.export.formats.half_precision import to_half
from sonoforge.export.formats.onnx_graph import to_ort, with_preprocessing
from sonoforge.export.formats.quantisation import write_int8
from sonoforge.export.formats.source import Source
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.inference.runners import open_file


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--bundle", help="folder or .zip of a classifier's bundle (default: the shipped one)")
    for name, default in (("count", 32), ("rounds", 10), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    files = sorted(path for path in options.images.rglob("*.png") if "mask" not in path.name)
    images = [read_image(path) for path in files[:: max(1, len(files) // options.count)][: options.count]]
    bundle = open_bundle(options.bundle)
    model, prepare = bundle.read("model.onnx"), bundle.manifest.preprocessing
    calibration = np.stack([prepare.resize(image) for image in images])
    inputs = [prepare.normalise(image[None]) for image in calibration]
    # Four axes: a batch of one, and one channel where the image is grey.
    pixels = [np.atleast_3d(np.asarray(image))[None] for image in images]

    contents = {
        "onnx": model,
        "onnx-fp16": to_half(model),
        "onnx-int8": write_int8(Source(read_network(bundle), model, calibration, prepare)),
        "ort": to_ort(model),
        "onnx-uint8": with_preprocessing(model, prepare),
    }
    with tempfile.TemporaryDirectory() as folder:
        answers = {}
        for name, content in contents.items():
            path = Path(folder) / name
            path.with_suffix(".ort" if name == "ort" else ".onnx").write_bytes(content)
            answers[name] = open_file(name, path.with_suffix(".ort" if name == "ort" else ".onnx"), options.threads)

    def run(name: str, index: int) -> None:
        answers[name]([pixels[index] if name == "onnx-uint8" else inputs[index]])

    def resize_and_run(index: int) -> None:
        answers["onnx"]([prepare.normalise(prepare.resize(images[index])[None])])

    rows: dict[str, Callable[[int], None]] = {name: lambda i, name=name: run(name, i) for name in contents}  # type: ignore[misc]
    rows["Pillow, numpy and onnx"] = resize_and_run
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(options.rounds):
        for index in range(len(images)):
            for name, row in rows.items():
                started = time.process_time()
                row(index)
                seconds[name].append(time.process_time() - started)
    base = np.median(seconds["onnx"])
    print(f"{len(images)} images, {options.rounds} rounds, {options.threads} thread(s): time as a ratio to onnx")
    for name, times in seconds.items():
        size = f"{len(contents[name]) / 1e6:6.2f} MB" if name in contents else ""
        print(f"{name:24} {np.median(times) / base:5.2f}  {size}")


if __name__ == "__main__":
    main()
