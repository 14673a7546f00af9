"""Where do generated images help?  The rows of `training/studies/where-it-helps/README.md`, run one after the other.

    python training/studies/where-it-helps/run.py DATA WEIGHTS --rows 2,1 --out FOLDER

DATA holds the folders BUSI, BUS-BRA, BrEaST and, for row 6, BUS-UC; WEIGHTS holds torchvision's
``mobilenet_v2*.safetensors`` and ``squeezenet1_1*.safetensors``.  What is done is kept in FOLDER, and the same command
goes on, over days; ``--list`` prints the commands, to be run side by side or elsewhere.
"""

from __future__ import annotations

import argparse
import functools
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOMES = ("BUSI", "BUS-BRA", "BrEaST")
COUNTS = ("25", "50", "100", "200", "all")
PAIRS = {"BUSI": COUNTS, "BUS-BRA": COUNTS, "BrEaST": ("25", "50", "100", "all")}  # half of BrEaST has no 200
MANY_SEEDS = (("BUSI", "25"), ("BUS-BRA", "25"))  # each draws other pairs
LEFT_OUT = {
    "1": (("BUSI",), "none,drawn,drawn-few,windows,pasted", "0,1,2"),
    "2": (HOMES, "none,copies,pairs", "0,1"),
    "4": (HOMES, "none,copies,amplitude,style", "0,1"),
    "6": (("BUSI",), "none,copies,copies-64,flow", "0,1,2"),
    "6-BUS-BRA": (("BUS-BRA",), "none,copies,copies-64,flow", "0,1,2"),
}
"""Collections that are left out, arms and seeds, by row, and by the collection that a start of its own has not seen."""
WITHOUT = "BUS-BRA"
AS_MEASURED = ("guidance=0", "schedule=linear-decay", "ema_half_life=20000")  # of the flow that has not seen it
PROGRAM = ("-m", "sonoforge.runtime.cli.main")
STAGED = ("BUS-BRA", "BUSI")


def few_pairs(data: Path, weights: Path, out: Path) -> Iterator[list[str]]:
    """Row 2: a U-Net with few real pairs and SPADE's, at home and elsewhere; then the classifier's outlines."""
    for home, counts in PAIRS.items():
        others = [f"--elsewhere={folder_of(data, other)}" for other in HOMES if other != home]
        for count in counts:
            asked = {
                "arms": "real,augmented,both-augmented" if count == "25" else "real,augmented,both,both-augmented",
                "seeds": 10 if (home, count) in MANY_SEEDS else 2,
                "weights": file_of(weights, "mobilenet_v2"),
                "out": out / f"{home}-{count}",
                **({} if count == "all" else {"pairs": count}),
            }
            yield [str(HERE / "few_pairs.py"), str(folder_of(data, home)), *others, *flags(asked)]
    yield from left_out(data, weights, out, "2")


def in_features(data: Path, weights: Path, out: Path) -> Iterator[list[str]]:
    """Row 3: benign against malignant on few scans, and generated feature vectors; then the second look."""
    folders = [str(folder_of(data, home)) for home in HOMES]
    for name, again in (("generated-features.csv", []), ("generated-features-again.csv", ["--again"])):
        if not (out / name).is_file():
            asked = {"weights": file_of(weights, "mobilenet_v2"), "csv": out / name}
            yield [str(HERE / "generated_features.py"), *folders, *flags(asked), *again]


def left_out(data: Path, weights: Path, out: Path, row: str, start: str = "shipped") -> Iterator[list[str]]:
    """Rows 1, 2, 4 and 6: scans added to the training of a network that answers a collection it has not seen."""
    names, arms, seeds = LEFT_OUT[row]
    asked = {
        "arms": arms,
        "seeds": seeds,
        "backbone": file_of(weights, "mobilenet_v2"),
        "features": file_of(weights, "squeezenet1_1"),
        "epochs": 4,
        "start": start,
        "out": out / f"left-out-{row}",
    }
    homes = (*HOMES, "BUS-UC") if "flow" in arms else HOMES
    folders = [str(folder_of(data, home)) for home in homes]
    yield [str(HERE / "left_out_scanners.py"), *folders, *(f"--leave-out={name}" for name in names), *flags(asked)]


def from_starts(data: Path, weights: Path, out: Path) -> Iterator[list[str]]:
    """Row 6: drawn by a flow that started from ultrasound, the shipped one, or one that has not seen `WITHOUT`."""
    yield from left_out(data, weights, out, "6")
    features, made = file_of(weights, "squeezenet1_1"), out / f"without-{WITHOUT}"
    others = [f"--data={folder_of(data, name)}" for name in (*HOMES, "BUS-UC") if name != WITHOUT]
    coder = [str(HERE.parent / "generators/autoencoder.py"), str(made / "coder"), *others]
    yield [*coder, f"--features={features}", "--steps=4000"]
    shared = ["--set=gan.masks=true", "--set=gan.precision=bf16", "--set=gan.held_out=0.1", *others]
    for preset, start, own in (
        ("latent", "coder", ["--kimg=500", *(f"--set=gan.{own}" for own in AS_MEASURED)]),
        ("polish", "latent", ["--steps=1000", f"--set=gan.features={features}"]),
    ):
        train = [*PROGRAM, "gan", "train", "--recipe=flow", f"--preset={preset}", f"--out={made / preset}"]
        again = ["--resume"] if newest(made / preset) != made / preset else []
        yield [*train, f"--set=gan.start_from={newest(made / start)}", *own, *shared, *again]
    polished = str(newest(made / "polish"))
    yield from left_out(data, weights, out, f"6-{WITHOUT}", polished)
    for home, begun in (("BUSI", "shipped"), (WITHOUT, polished)):
        asked = {
            "recipe": "flow:latent",
            "start": begun,
            "pairs": 25,
            "arms": "real,augmented,both-augmented",
            "seeds": 10,
            "weights": file_of(weights, "mobilenet_v2"),
            "out": out / f"flow-{home}-25",
        }
        yield [str(HERE / "few_pairs.py"), str(folder_of(data, home)), *flags(asked)]


def newest(folder: Path) -> Path:
    """Return the newest run in a folder of runs, or the folder itself."""
    return max(folder.glob("0*"), default=folder)


def stages(data: Path, weights: Path, out: Path) -> Iterator[list[str]]:
    """Row 5: generators at five stages of their training, and what their scans are worth."""
    folders = [str(folder_of(data, home)) for home in HOMES]
    asked = {
        "features": file_of(weights, "squeezenet1_1"),
        "weights": file_of(weights, "mobilenet_v2"),
        "out": out / "stages",
    }
    yield [str(HERE / "training_stages.py"), *folders, *(f"--home={home}" for home in STAGED), *flags(asked)]


ROWS: dict[str, Callable[[Path, Path, Path], Iterator[list[str]]]] = {
    "1": functools.partial(left_out, row="1"),
    "2": few_pairs,
    "3": in_features,
    "4": functools.partial(left_out, row="4"),
    "5": stages,
    "6": from_starts,
}


def flags(asked: dict[str, object]) -> list[str]:
    return [part for name, value in asked.items() for part in (f"--{name}", str(value))]


def folder_of(data: Path, name: str) -> Path:
    inner = data / name / "Dataset_BUSI_with_GT"  # as it is published
    return inner if inner.is_dir() else data / name


def file_of(weights: Path, name: str) -> Path:
    found = sorted(weights.glob(f"{name}*.safetensors"))
    if not found:
        raise SystemExit(f"{weights}: found no {name}*.safetensors; give the folder of torchvision's ImageNet weights")
    return found[0]


def main() -> None:
    """Run the rows that were asked for, or list their commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--rows", default=",".join(ROWS), help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("study"), help="default: %(default)s")
    parser.add_argument("--list", action="store_true", help="print the commands")
    asked = parser.parse_args()
    rows = asked.rows.split(",")
    if unknown := set(rows) - set(ROWS):
        parser.error(f"--rows: found {', '.join(sorted(unknown))}, expected some of {', '.join(ROWS)}")
    for row in rows:
        for call in ROWS[row](asked.data, asked.weights, asked.out):
            if asked.list:
                print(shlex.join(["python", *call]))
            else:
                asked.out.mkdir(parents=True, exist_ok=True)
                subprocess.run([sys.executable, *call], check=True)


if __name__ == "__main__":
    main()
