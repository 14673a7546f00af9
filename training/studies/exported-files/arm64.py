"""Compare the answers of a bundle's files by ARM64 builds of their engines, emulated, with those by x86 builds.

    bash training/studies/exported-files/arm64.sh TREE
    python training/studies/exported-files/arm64.py TREE BUNDLE DATA [--count 25] [--seed 0] [--jobs 1] --out FILE.csv

TREE is what ``arm64.sh`` made, BUNDLE has the files (``sonoforge export RUN --formats all``), and DATA the collections,
of each of which COUNT scans are drawn.  Run it as root, for ``chroot``, in an environment with executorch and
ai-edge-litert.  First ``sonoforge verify`` runs in the tree.  Then every scan is answered by `Classifier`, as
``sonoforge classify`` does, here and in the tree: from ONNX and ORT files as they are, from the others through a
stand-in for onnxruntime's session.  ExecuTorch's Python package needs torch, whose ARM64 wheels need CUDA, so
``export/docs/executorch_rows.cpp`` runs the ``.pte`` files there, with the libraries of ExecuTorch's own wheel.

Probabilities are the network's.  Of a golden image, x86's are those that the exporter recorded.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.runners import needs_trust, open_file

COLLECTIONS = ("BUSI", "BUS-BRA", "BrEaST", "BUS-UC")
FIELDS = ("label", "verdict", "set", "normal", "benign", "malignant", "seconds")
ENGINES = {"onnx", "ort", "executorch", "litert"}
PROGRAM = "/opt/executorch_rows"
INSIDE = {"PYTHONPATH": "/opt/site:/opt/sonoforge/runtime:/opt/sonoforge/export", "OMP_NUM_THREADS": "1"}
QEMU_CPU = "cortex-a76"
"""A phone's core of 2018, with 8-bit dot products and 16-bit arithmetic; ``max`` takes twice as long."""

Outputs = list[NDArray[Any]]


class OtherEngine:
    """What `Classifier` asks of onnxruntime's session, answered by another engine."""

    def __init__(self, form: str, path: Path, shapes: Mapping[str, Sequence[int]]) -> None:
        self.path, self.shapes = path, shapes
        self.program = form.startswith("executorch") and Path(PROGRAM).is_file()
        self.answer = None if self.program else open_file(form, path)

    def run(self, names: list[str], inputs: dict[str, NDArray[Any]]) -> Outputs:
        (images,) = inputs.values()
        return self.rows(images) if self.answer is None else self.answer([images])

    def rows(self, images: NDArray[Any]) -> Outputs:
        """Run ``executorch_rows.cpp``."""
        command = [PROGRAM, str(self.path), str(images.shape[-1])]
        sent = np.ascontiguousarray(images, np.float32).tobytes()
        done = subprocess.run(command, input=sent, stdout=subprocess.PIPE, check=True)
        found = np.frombuffer(done.stdout, np.float32).reshape(len(images), -1)
        ends = np.cumsum([np.prod(shape) for shape in self.shapes.values()])
        parts = np.split(found, ends[:-1], axis=1)
        return [part.reshape(-1, *shape) for part, shape in zip(parts, self.shapes.values(), strict=True)]


class Recorded(Classifier):
    """A classifier that remembers the network's answer."""

    last: NDArray[np.float32]

    def predict(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        found = super().predict(pixels)
        self.last = found["probabilities"]
        return found


def answer(folder: Path, file: str, scans: Iterable[Path], out: Path) -> None:
    """Write the answers of one file on this machine, native or emulated."""
    bundle = open_bundle(folder)
    form = bundle.manifest.files[file].format
    classifier = Recorded(bundle) if needs_trust(form) else Recorded(bundle, file=file)
    if needs_trust(form):
        classifier._session = OtherEngine(form, folder / file, bundle.manifest.outputs)
    classes = bundle.classes
    with out.open("w", newline="", encoding="utf-8") as target:
        rows = csv.writer(target)
        for number, row in enumerate(classifier.predict(bundle.golden()["pixels"])["probabilities"], 1):
            rows.writerow([f"golden-{number}", classes[row.argmax()], "", "", *row, ""])
        for scan in scans:
            started = time.perf_counter()
            said = classifier.classify(scan).to_dict()
            seconds = f"{time.perf_counter() - started:.1f}"
            yes = [f"{name}?" for name, finding in said["findings"].items() if finding["positive"]]
            sets = " ".join([*said["set"], *yes])
            rows.writerow([scan.name, said["label"], said["verdict"], sets, *classifier.last[0], seconds])
            target.flush()


def draw(data: Path, count: int, seed: int, into: Path) -> list[Path]:
    """Copy the scans that are drawn into a folder, named after their collections."""
    into.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name in COLLECTIONS:
        every = [path for path in sorted((data / name).rglob("*")) if path.suffix in {".png", ".jpg"}]
        every = [path for path in every if "_mask" not in path.name]
        for index in np.random.default_rng(seed).choice(len(every), min(count, len(every)), replace=False):
            named = into / f"{name}-{every[index].name.replace(' ', '')}"
            drawn.append(Path(shutil.copy(every[index], named)))
    return drawn


def fill(tree: Path, folder: Path) -> None:
    """Copy this checkout and a bundle into the tree."""
    checkout = Path(__file__).resolve().parents[3]
    for room in ("runtime", "export"):
        shutil.copytree(checkout / room, tree / "opt" / "sonoforge" / room, dirs_exist_ok=True)
    shutil.copy(__file__, tree / "opt" / "arm64.py")
    shutil.rmtree(tree / "opt" / "bundle", ignore_errors=True)
    shutil.copytree(folder, tree / "opt" / "bundle")


def in_tree(tree: Path, *command: object) -> str:
    """Run a Python command within the tree, emulated; return what it prints."""
    inside = [f"{name}={value}" for name, value in INSIDE.items()]
    started = ["chroot", str(tree), "env", *inside, "python3", *map(str, command)]
    environment = {**os.environ, "QEMU_CPU": QEMU_CPU}
    done = subprocess.run(started, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{tree}: {' '.join(started)}: {done.stdout}{done.stderr[-2000:]}")
    return done.stdout


def compare(tree: Path, folder: Path, file: str, scans: Sequence[Path]) -> list[list[str]]:
    """Answer with one file here and in the tree, and return both answers to each scan in one row."""
    emulated = tree / "opt" / f"answers-{file}.csv"
    names = [f"/opt/scans/{scan.name}" for scan in scans]
    in_tree(tree, "/opt/arm64.py", "answer", "/opt/bundle", file, f"/opt/{emulated.name}", *names)
    with tempfile.TemporaryDirectory() as place:
        native = Path(place) / "answers.csv"
        answer(folder, file, scans, native)
        both = [list(csv.reader(path.open(encoding="utf-8"))) for path in (native, emulated)]
    recorded = open_bundle(folder).golden()["probabilities"].astype(str)
    for row, values in zip(both[0], recorded, strict=False):
        row[4:7] = values
    return [[file, scan, *here, *there] for (scan, *here), (_, *there) in zip(*both, strict=True)]


def main() -> None:
    """Compare, and write the answers."""
    if sys.argv[1] == "answer":
        folder, file, out, *scans = sys.argv[2:]
        answer(Path(folder), file, map(Path, scans), Path(out))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tree", "bundle", "data"):
        parser.add_argument(name, type=Path)
    for name, default in (("count", 25), ("seed", 0), ("jobs", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    fill(options.tree, options.bundle)
    scans = draw(options.data, options.count, options.seed, options.tree / "opt" / "scans")
    print(in_tree(options.tree, "-m", "sonoforge.runtime.cli.main", "verify", "/opt/bundle", "--trust"))
    entries = open_bundle(options.bundle).manifest.files
    files = [name for name, entry in entries.items() if entry.format.split("-")[0] in ENGINES]
    with ThreadPoolExecutor(options.jobs) as pool, options.out.open("w", newline="", encoding="utf-8") as target:
        rows = csv.writer(target)
        rows.writerow(["file", "scan", *(f"{machine}_{field}" for machine in ("x86", "arm64") for field in FIELDS)])
        for found in pool.map(lambda file: compare(options.tree, options.bundle, file, scans), files):
            rows.writerows(found)
            target.flush()


if __name__ == "__main__":
    main()
