"""``classify`` on a folder of scans against a plain torchvision script that does the same, in one run.

    python training/studies/speed/classify.py FOLDER [--rounds 3] [--batch 32]

The torchvision script: PIL, ``torchvision.transforms`` and the network that the shipped bundle was made of, in eager
torch with its batch normalisation folded in, batches of 32, one thread a core; it writes a CSV of labels and
probabilities.  Its time is divided by that of ``sonoforge classify FOLDER --recursive --csv FILE``, once as a whole
process, start-up counted, and once in this process.  (Eager torch may be faster in smaller batches: ``--batch 1``.)
The labels of both sides are compared.  ``start_and_warm.py`` measures single answers.

The sides take turns, so that a busy machine slows all; medians of all rounds, by the clock and of CPU seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime
import torch
from PIL import Image
from start_and_warm import in_turns, ratio  # beside this file

from sonoforge.export.bundle.classifier import read_network
from sonoforge.runtime import open_bundle
from sonoforge.runtime.images.inputs import expand
from sonoforge.runtime.settings import ClassifyConfig
from sonoforge.runtime.verbs import classify


def plain_script(net: Any, files: list[str], target: Path, batch_size: int) -> None:
    """Classify the files as a script of a few lines does, and write a CSV."""
    from torchvision.transforms import Compose, Normalize, Resize, ToTensor  # after read_network

    manifest = open_bundle().manifest
    prepare = manifest.preprocessing
    side = (prepare.size, prepare.size)
    shares = torch.tensor([manifest.default[name] / manifest.reference[name] for name in manifest.classes])
    transform = Compose([Resize(side), ToTensor(), Normalize(prepare.mean, prepare.std)])
    with target.open("w", newline="", encoding="utf-8") as file, torch.inference_mode():
        writer = csv.writer(file)
        writer.writerow(["file", "label", *manifest.classes])
        for begin in range(0, len(files), batch_size):
            part = files[begin : begin + batch_size]
            batch = torch.stack([transform(Image.open(name).convert("RGB")) for name in part])
            here = net(batch)[1] * shares
            for name, p in zip(part, (here / here.sum(1, keepdim=True)).tolist(), strict=True):
                writer.writerow([name, manifest.classes[int(np.argmax(p))], *p])


def labels(path: Path) -> dict[str, str]:
    """Return the label of each file that a CSV holds."""
    with path.open(newline="", encoding="utf-8") as file:
        return {row["file"]: row["label"] for row in csv.DictReader(file)}


def throughput(folder: str, rounds: int, batch: int) -> dict[str, Any]:
    """Compare a folder's images a second."""
    files = expand([folder], True).files
    net = read_network(open_bundle())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(cores)
    with tempfile.TemporaryDirectory() as place:
        target = {side: Path(place) / f"{side}.csv" for side in ("torchvision", "process", "here")}
        command = [
            sys.executable,
            "-m",
            "sonoforge.runtime.cli.main",
            "classify",
            folder,
            "--recursive",
            "--quiet",
            "--csv",
        ]

        def here() -> None:
            target["here"].unlink(missing_ok=True)
            with contextlib.redirect_stdout(io.StringIO()):
                classify.main(ClassifyConfig(paths=(folder,), csv=str(target["here"]), recursive=True))

        def process() -> None:
            target["process"].unlink(missing_ok=True)
            subprocess.run([*command, str(target["process"])], check=True, stdout=subprocess.DEVNULL)

        tasks = {
            "torchvision": lambda: plain_script(net, files, target["torchvision"], batch),
            "process": process,
            "here": here,
        }
        plain_script(net, files[:32], target["torchvision"], batch)
        times = dict(zip(tasks, in_turns(rounds, *tasks.values()), strict=True))
        found = {side: labels(path) for side, path in target.items()}
    same = sum(found["torchvision"][name] == found["here"][name] for name in files)
    assert found["here"] == found["process"]
    return {
        "images": len(files),
        "cores": cores,
        "torchvision_batch": batch,
        "same_label": same,
        "images_per_s": {side: len(files) / own.wall for side, own in times.items()},
        "process": ratio(
            "torchvision script", "sonoforge classify, as a process", times["torchvision"], times["process"]
        ),
        "here": ratio("torchvision script", "sonoforge classify, here", times["torchvision"], times["here"]),
    }


def main() -> None:
    """Print the comparison as one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32, help="of the torchvision script")
    given = parser.parse_args()
    if not Path(given.folder).is_dir() or expand([given.folder], True).failures:
        parser.error(f"{given.folder}: found no folder with images, expected scans in it or in its subfolders")
    result = {
        **throughput(given.folder, given.rounds, given.batch),
        "onnxruntime": onnxruntime.__version__,
        "torch": torch.__version__,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
