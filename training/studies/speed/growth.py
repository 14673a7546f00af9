"""Cost of each command against the number of images: processor and wall seconds, and peak memory.

    python training/studies/speed/growth.py --images BUSI --images BUS-BRA --images BrEaST --weights FILE \
        --csv growth.csv --picture .pictures/growth.png --page training/studies/speed/README.md

Each set holds the first N crops of one list, the classes mixed evenly: a crop of 60 to 90 % of each side of a scan, at
the scan's size, a little brighter or darker, every other one mirrored; a scan comes twice when all have come.  Without
``--images`` the scans are simulated.  Each command runs as a user types it, one after the other and once, in a folder
and with a cache of its own for each N; so each finds what those before it have kept, and no command gets on without
those that it names the output of.  Learning is kept short, so that what is told is the cost of the images.

Memory is that of a command's largest process, with the files that it maps.  A command that is stopped where learning
begins leaves what comes before.  The exponent is c of the best a + b N^c; none is given for fewer than four N, or where
the largest set costs less than 1.5 times the smallest.  ``--measured CSV`` draws and writes again what was measured.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from scipy.optimize import nnls

from sonoforge.runtime.atomic import write_bytes
from sonoforge.training.data.datasets import Dataset, Item, read_dataset
from sonoforge.training.reports.charts import LINE, colour, marker, png_bytes, styled

ABOUT = "Processor seconds an image, and peak memory, of each command against the number of images"
PROGRAM = [sys.executable, "-m", "sonoforge.runtime.cli.main"]
MARKER = "<!-- growth -->"
COUNTS = "175,350,700,1400,2800"

COMMANDS = """
data phantom           | 2800 | data import phantom simulated --images {count}
classify               | 2800 | classify scans --recursive --csv answers.csv
quality                | 2800 | quality scans --recursive --csv quality.csv
data audit             | 2800 | data audit --data scans
data audit, again      | 2800 | data audit --data scans
validate               | 1400 | validate --external site:scans --out validated
segment, two steps     | 1400 | segment --data scans --recipes none --arms real --set unet.steps=2 --out segmented
train, until it learns | 2800 | train --data scans --weights {weights} --epochs 1 --out begun
train, one epoch       |  700 | train --data scans --weights {weights} --epochs 1 --out trained
export                 |  700 | export trained/00000-train-real-scans --out bundle
crossval, one epoch    |  700 | crossval --data scans --set classifier.weights={weights} --arms real --folds 2 \
    --set classifier.epochs=1 --out folds
crossval --from        |  700 | crossval --from folds/00000-crossval-scans/predictions.csv
gan train, two steps   | 2800 | gan train --data scans --class all --recipe dcgan --size 64 --steps 2 \
    --set gan.width=8 --set gan.batch=8 --set gan.metrics=none --out gan
gan sample             | 1400 | gan sample gan/00000-gan-dcgan-scans-all --count {count} --out generated
evaluate RUN           |  700 | evaluate gan/00000-gan-dcgan-scans-all --features bundle \
    --set metrics.repeats=20 --out of-run
evaluate REAL FAKE     |  700 | evaluate scans simulated --size 64 --features bundle \
    --set metrics.repeats=20 --out of-folders
"""  # name in table and figure, most images, and what is typed after `sonoforge`
CASES = [line.split("|") for line in COMMANDS.strip().splitlines()]
COMMAND = {name.strip(): command for name, _, command in CASES}
MOST = {name.strip(): int(most) for name, most, _ in CASES}
UNTIL = {"train, until it learns": "second opinion: no scan on two sides"}  # stopped when it says this

MEASURE = """
import json, os, subprocess, sys, time
until, *command = sys.argv[1:]
begun, stopped = time.perf_counter(), False
process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
for line in process.stderr:
    sys.stderr.write(line)
    if until and until in line:
        process.kill()
        stopped = True
_, status, usage = os.wait4(process.pid, 0)
peak = usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)
costs = usage.ru_utime + usage.ru_stime, time.perf_counter() - begun, peak
print(json.dumps([stopped or status == 0 and not until, *(round(cost, 3) for cost in costs)]))
"""  # in a small process of its own: a program inherits the peak memory of the one that starts it


class Row(NamedTuple):
    """What one command cost with so many images."""

    case: str
    images: int
    cpu: float  # seconds, user and system, with all processes that it waited for
    wall: float
    memory: float  # MB


def crop(dataset: Dataset, item: Item, seed: int) -> tuple[Image.Image, Image.Image | None]:
    """Return a crop of a scan and of its masks, if it has any; the same seed gives the same crop."""
    rng = np.random.default_rng(seed)
    with Image.open(dataset.file(item.path)) as opened:
        scan = opened.convert("L")
    size = np.array(scan.size)
    part = np.round(rng.uniform(0.6, 0.9, 2) * size)
    corner = np.floor(rng.uniform(0, 1, 2) * (size - part))
    box, gain, mirrored = (*corner, *(corner + part)), rng.uniform(0.85, 1.15), rng.random() < 0.5

    def cut(picture: Image.Image, how: Image.Resampling) -> Image.Image:
        own = picture.resize(scan.size, how, box)
        return own.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else own

    masks = [np.asarray(Image.open(dataset.file(mask)).convert("L").resize(scan.size)) for mask in item.masks]
    mask = cut(Image.fromarray(np.max(masks, axis=0)), Image.Resampling.NEAREST) if masks else None
    return cut(scan, Image.Resampling.BILINEAR).point([min(255, round(gain * value)) for value in range(256)]), mask


def write_crops(folders: Sequence[str], target: Path, count: int) -> list[tuple[str, str]]:
    """Write crops of the folders' scans, and return the path and the group of each, in the order of use."""
    scans = [(dataset, item) for dataset in map(read_dataset, folders) for item in dataset.items]
    by_class: dict[str, list[tuple[Dataset, Item]]] = {}
    for index in np.random.default_rng(0).permutation(len(scans)):
        dataset, item = scans[index]
        by_class.setdefault(dataset.classes[item.label], []).append((dataset, item))
    mixed = sorted(((i + 0.5) / len(own), name, i) for name, own in by_class.items() for i in range(len(own)))
    written = []
    for index in range(count):
        _, name, place = mixed[index % len(mixed)]
        dataset, item = by_class[name][place]
        path = target / name / f"{index:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        scan, mask = crop(dataset, item, index)
        scan.save(path, compress_level=1)
        if mask:
            mask.save(path.with_name(f"{path.stem}_mask.png"), compress_level=1)
        written.append((f"{name}/{path.name}", f"{dataset.root} {item.group or item.path}"))
    return written


def link(crops: Sequence[tuple[str, str]], source: Path, target: Path) -> None:
    """Make a set of some of the crops."""
    for name, _ in crops:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        for file in source.glob(f"{name.removesuffix('.png')}*"):
            os.link(file, target / name.split("/")[0] / file.name)
    with (target / "groups.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("file", "group"), *crops])


def words(name: str, count: int, weights: object) -> list[str]:
    """Return what to type after ``sonoforge``."""
    return [word.format(count=count, weights=weights) for word in COMMAND[name].split()]


def measure(name: str, count: int, weights: Path, folder: Path) -> Row:
    """Run a command in a folder."""
    until = UNTIL.get(name, "")
    command = [sys.executable, "-I", "-S", "-c", MEASURE, until, *PROGRAM, *words(name, count, weights)]
    environment = {**os.environ, "SONOFORGE_CACHE": str(folder / "cache")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    ended, *costs = json.loads(done.stdout)
    if not ended:
        expected = f"the line {until!r}" if until else "exit code 0"
        raise SystemExit(f"{name}, {count} images: expected {expected}; it said:\n{done.stderr[-2000:]}")
    return Row(name, count, *costs)


def measure_all(given: argparse.Namespace, scratch: Path) -> Iterator[Row]:
    """Yield the rows, N after N."""
    folders = given.images
    if not folders:
        folders = [str(scratch / "phantoms")]
        phantoms = [*PROGRAM, "data", "import", "phantom", *folders, "--images", str(max(given.counts)), "--quiet"]
        subprocess.run(phantoms, check=True, stdout=subprocess.DEVNULL)
    crops = write_crops(folders, scratch / "crops", max(given.counts))
    print(f"{len(crops)} crops in {len({group for _, group in crops})} groups", file=sys.stderr)
    for count in given.counts:
        link(crops[:count], scratch / "crops", scratch / str(count) / "scans")
        for name in given.only or COMMAND:
            if given.only or count <= MOST[name]:
                yield measure(name, count, given.weights, scratch / str(count))


def fit_growth(counts: Sequence[float], costs: Sequence[float]) -> tuple[float, float, float]:
    """Return a, b and c of a + b N^c, the closest to the costs relative to them; a and b are not negative."""
    n, y = np.array(counts, float), np.array(costs)
    best = (np.inf, 0.0, 0.0, 0.0)
    for c in np.arange(0.05, 3.0, 0.01):
        (a, b), residual = nnls(np.column_stack([1 / y, (n / n[-1]) ** c / y]), np.ones(len(y)))
        best = min(best, (residual, a, b / n[-1] ** c, float(c)))
    return best[1:]


def table(rows: Sequence[Row]) -> str:
    """Return the table as Markdown: a row for each command; of one more image between the last two N."""
    heads = "command", "images", "processor seconds", "wall seconds", "memory, MB"
    lines = [f"| {' | '.join((*heads, 'ms an image more', 'kB an image more', 'exponent'))} |", f"|{8 * '---|'}"]
    for name in dict.fromkeys(row.case for row in rows):
        own = [row for row in rows if row.case == name]
        counts, cpu, wall, memory = np.array([row[1:] for row in own]).T
        told = len(own) >= 4 and cpu[-1] >= 1.5 * cpu[0]
        more = np.diff([cpu[-2:], memory[-2:]])[:, 0] / np.diff(counts[-2:]) if len(own) > 1 else None
        cells = [name, f"{counts[0]:.0f} to {counts[-1]:.0f}"]
        cells += [
            " ".join(f"{value:.{digits}f}" for value in values) for values, digits in ((cpu, 1), (wall, 1), (memory, 0))
        ]
        cells += ["-", "-"] if more is None else [f"{1e3 * more[0]:.1f}", f"{1e3 * more[1]:.0f}"]
        lines.append(f"| {' | '.join([*cells, f'{fit_growth(counts, cpu)[2]:.1f}' if told else '-'])} |")
    return "\n".join(lines)


@styled
def draw(rows: Sequence[Row]) -> Figure:
    """Draw processor seconds an image, and memory, against the number of images."""
    figure = Figure(figsize=(9.6, 5.8), layout="constrained")
    names, counts = list(dict.fromkeys(row.case for row in rows)), sorted({row.images for row in rows})
    span = max(counts[-1] / counts[0], 2)
    for column, axes in enumerate(figure.subplots(1, 2)):
        ends = {}
        for series, name in enumerate(names):
            points = [(row.images, row.memory if column else row.cpu / row.images) for row in rows if row.case == name]
            axes.loglog(
                *zip(*points, strict=True), marker(series) + "-", color=colour(series), linewidth=1.3, markersize=5
            )
            ends[name] = points[-1]
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.set(title=("processor seconds an image", "peak memory, MB")[column], xlabel="images")
        axes.set_xlim(counts[0] / span**0.03, counts[-1] * span**0.75)
        order = sorted(names, key=lambda name: ends[name][1])
        heights = np.log([ends[name][1] for name in order])
        gap = np.diff(np.log(axes.get_ylim()))[0] / 24
        for _ in range(500):  # labels that are too near push each other away
            lacking = np.maximum(0, gap - np.diff(heights)) / 2
            heights[1:] += lacking
            heights[:-1] -= lacking
        for name, height in zip(order, np.exp(heights), strict=True):
            (x, y), label = ends[name], counts[-1] * span**0.08
            axes.plot([x, label], [y, height], color=LINE, linewidth=0.8, zorder=0)
            axes.text(label, height, name, color=colour(names.index(name)), fontsize=8.5, va="center")
    return figure


def main() -> None:
    """Measure, or read what was measured; print the table, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", action="append", help="folder of scans, one folder per class; may be repeated")
    parser.add_argument("--weights", type=Path, help="of MobileNetV2, ImageNet (.safetensors)")
    parser.add_argument("--counts", default=COUNTS, help=f"sizes of the sets (default: {COUNTS})")
    parser.add_argument("--only", action="append", choices=COMMAND, help="at all counts; may be repeated")
    parser.add_argument("--measured", type=Path, help="a CSV of an earlier run: measure nothing")
    parser.add_argument("--csv", type=Path, help="also written where a command fails, of those before it")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--page", type=Path, help=f"write table and --picture between its two lines {MARKER}")
    given = parser.parse_args()
    if not given.measured and not (given.weights and given.weights.is_file()):
        parser.error(f"--weights: found {given.weights}, expected a .safetensors file of MobileNetV2")
    page = given.page and given.page.read_text(encoding="utf-8").split(f"{MARKER}\n")
    if page and (len(page) != 3 or not given.picture):
        parser.error(f"--page: expected two lines {MARKER} in {given.page}, and --picture")
    rows = []
    if given.measured:
        with given.measured.open(newline="", encoding="utf-8") as stream:
            rows = [Row(name, int(images), *map(float, costs)) for name, images, *costs in list(csv.reader(stream))[1:]]
    else:
        given.weights, given.counts = given.weights.resolve(), sorted(map(int, given.counts.split(",")))
        with tempfile.TemporaryDirectory() as scratch:
            for row in measure_all(given, Path(scratch)):
                rows.append(row)
                print(f"{row.case}, {row.images}: {row.cpu:.1f} s, {row.memory:.0f} MB", file=sys.stderr, flush=True)
                if given.csv:
                    with given.csv.open("w", newline="", encoding="utf-8") as stream:
                        csv.writer(stream, lineterminator="\n").writerows([Row._fields, *rows])
    print(table(rows))
    if given.picture:
        write_bytes(given.picture, png_bytes(draw(rows), ABOUT))
    if page:
        picture = f"![{ABOUT}]({os.path.relpath(given.picture, given.page.parent)})"
        page[1] = f"{table(rows)}\n\n{picture}\n"
        write_bytes(given.page, f"{MARKER}\n".join(page).encode())


if __name__ == "__main__":
    main()
