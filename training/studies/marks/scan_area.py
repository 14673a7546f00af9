"""How well the scan is found in exported screens, and how much is cut from pictures that are only scan.

    python training/studies/marks/scan_area.py DATA [--count 300] [--worst sheet.png]

DATA holds the folders BUSI, BUS-BRA, BrEaST, BUS-UC and MIAS.  First, screens are drawn at random round real scans
(position, background, banner, lines of text, ruler with ticks, grey bar, logo, second small picture, frame, JPEG), and
the box found is compared with the true one (intersection over union).  Second, every real picture is searched as it is:
the share of its area that is kept, and of its lesion's mask; of a mammogram the share of its largest part brighter than
40. ``--worst`` draws the 36 worst screens: green the truth, red what was found.
"""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sonoforge.runtime.images.scan_area import _parts, find_scan_area

_WORDS = ("MI 1.2", "TIS 0.4", "BREAST", "Gain 54", "DR 66", "12L", "FR 23 Hz", "Frq 12.0", "D 4.0 cm", "07/05/2018")
_BACKGROUNDS = (
    (0, 0, 0),
    (0, 0, 0),
    (0, 0, 0),
    (12, 12, 14),
    (40, 40, 48),
    (10, 20, 60),
    (128, 128, 128),
    (255, 255, 255),
)
_Box = tuple[int, int, int, int]


def draw_screen(scan: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, _Box]:
    """Draw an exported screen round a scan, and say where the scan lies."""
    width, height = (int(side * rng.uniform(1.15, 1.9)) + 60 for side in scan.size)
    background = _BACKGROUNDS[rng.integers(len(_BACKGROUNDS))]
    screen = Image.new("RGB", (width, height), background)
    left = int(rng.integers(25, width - scan.width - 24))
    top = int(rng.integers(25, height - scan.height - 24))
    right, bottom = left + scan.width, top + scan.height
    screen.paste(scan.convert("RGB"), (left, top))
    draw = ImageDraw.Draw(screen)
    ink = (0, 0, 0) if sum(background) > 380 else tuple(int(c) for c in rng.integers(140, 256, 3))
    if rng.random() < 0.6:
        draw.rectangle((0, 0, width, 18), fill=tuple(int(c) for c in rng.integers(0, 120, 3)))
        draw.text((6, 3), "HOSPITAL  DOE^JANE  F 47  ID 000123", fill=(230, 230, 230))
    room = {"left": left - 12, "right": width - right - 12, "top": top - 26, "bottom": height - bottom - 10}
    for side in ("left", "right"):
        if room[side] > 50 and rng.random() < 0.7:
            x, y = (4 if side == "left" else width - 48), int(rng.integers(24, 60))
            for line in range(int(rng.integers(2, 12))):
                draw.text((x, y + 13 * line), str(rng.choice(_WORDS))[:7], fill=ink)
    for side in ("top", "bottom"):
        if room[side] > 14 and rng.random() < 0.7:
            y = 22 if side == "top" else height - 14
            for x in range(8, width - 70, int(rng.integers(70, 160))):
                draw.text((x, y), str(rng.choice(_WORDS)), fill=ink)
    if room["right"] > 8 and rng.random() < 0.7:
        x = right + int(rng.integers(4, 8))
        draw.line((x, top, x, bottom), fill=ink)
        for tick in range(top, bottom, int(rng.integers(10, 50))):
            draw.line((x, tick, x + 5, tick), fill=ink)
    if room["left"] > 24 and rng.random() < 0.6:
        x, tall = left - int(rng.integers(20, 24)), min(scan.height, 160)
        for y in range(tall):
            draw.line((x, top + y, x + 11, top + y), fill=(255 - 255 * y // tall,) * 3)
    if room["bottom"] > 90 and right - left > 150 and rng.random() < 0.4:
        small = scan.convert("RGB").resize((90, 60))
        screen.paste(small, (4, height - 66))
    if rng.random() < 0.3:
        draw.ellipse((width - 22, 20, width - 4, 38), fill=(30, 90, 200))
    if rng.random() < 0.3:
        draw.rectangle((left - 6, top - 6, right + 5, bottom + 5), outline=ink)
    if rng.random() < 0.5:
        buffer = io.BytesIO()
        screen.save(buffer, "JPEG", quality=int(rng.integers(75, 96)))
        screen = Image.open(buffer).convert("RGB")
    return screen, (left, top, right, bottom)


def overlap(a: _Box, b: _Box) -> float:
    """Intersection over union of two boxes."""
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0, across) * max(0, down)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def scans(folder: Path) -> list[Path]:
    """The pictures of a data set, without its masks."""
    return sorted(p for p in folder.rglob("*") if p.suffix in (".png", ".jpg") and "_mask" not in p.name)


def _masks(scan: Path) -> NDArray[Any] | None:
    files = sorted(scan.parent.glob(f"{scan.stem}_mask*.png"))
    return np.any([np.asarray(Image.open(f).convert("L")) > 0 for f in files], axis=0) if files else None


def untouched(folder: Path, every: int) -> None:
    """Print what is kept of the pictures as they are."""
    kept, lesion, lost, unknown = [], [], [], 0
    for file in scans(folder)[::every]:
        picture = Image.open(file)
        area = find_scan_area(picture)
        kept.append(area.kept)
        unknown += area.outline == "unknown"
        mask = _masks(file)
        if folder.name == "MIAS":
            mask = _breast(np.asarray(picture.convert("L")))
        if mask is not None and mask.any():
            left, top, right, bottom = area.box
            share = mask[top:bottom, left:right].sum() / mask.sum()
            lesion.append(share)
            if share < 1:
                lost.append(f"{file.name} {share:.3f}")
    q = np.quantile(kept, (0.01, 0.05, 0.25, 0.5))
    whole = np.mean(np.array(lesion) >= 0.97)
    print(f"{folder.name}: left whole: {np.mean(np.array(kept) == 1):.3f}, as unknown: {unknown / len(kept):.3f}")
    print(f"{folder.name}: {len(kept)} pictures; kept at 1, 5, 25, 50 %: {q.round(3)}; mask >= 0.97: {whole:.4f}")
    print(f"  any mask pixel lost: {len(lost)} ({len(lost) / max(1, len(lesion)):.4f}) {lost[:8]}")


def _breast(levels: NDArray[Any]) -> NDArray[Any]:
    """The breast of a mammogram: the largest part brighter than 40, on a grid of 8 pixels."""
    small = levels[: levels.shape[0] // 8 * 8, : levels.shape[1] // 8 * 8].reshape(levels.shape[0] // 8, 8, -1, 8)
    grid = small.mean((1, 3)) > 40
    return _parts(grid)[0].repeat(8, 0).repeat(8, 1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worst", type=Path)
    parser.add_argument("--every", type=int, default=1, help="search each n-th of the pictures as they are")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    results = []
    for name in ("BUSI", "BUS-BRA", "BrEaST", "BUS-UC"):
        files = scans(arguments.data / name)
        found = []
        for index in rng.permutation(len(files))[: arguments.count]:
            screen, truth = draw_screen(Image.open(files[index]), rng)
            area = find_scan_area(screen)
            found.append((overlap(area.box, truth), files[index].name, screen, area.box, truth))
        results += found
        q = np.quantile([f[0] for f in found], (0.01, 0.05, 0.1, 0.5))
        good = np.mean([f[0] >= 0.9 for f in found])
        print(f"{name}: {len(found)} screens; IoU at 1, 5, 10, 50 %: {q.round(3)}; >= 0.90: {good:.3f}")
    results.sort(key=lambda f: f[0])
    if arguments.worst:
        sheet = Image.new("RGB", (9 * 220, 4 * 180), (60, 0, 90))
        for at, (iou, _, screen, box, truth) in enumerate(results[:36]):
            draw = ImageDraw.Draw(screen)
            draw.rectangle(truth, outline=(0, 255, 0), width=3)
            draw.rectangle(box, outline=(255, 0, 0), width=3)
            draw.text((3, 3), f"{iou:.2f}", fill=(255, 255, 0))
            screen.thumbnail((216, 176))
            sheet.paste(screen, (at % 9 * 220, at // 9 * 180))
        sheet.save(arguments.worst)
    for name in ("BUSI", "BUS-BRA", "BrEaST", "BUS-UC", "MIAS"):
        untouched(arguments.data / name, arguments.every)
    screen = draw_screen(Image.open(scans(arguments.data / "BUSI")[0]), rng)[0].resize((800, 600))
    times = []
    for _ in range(20):
        started = time.perf_counter()
        find_scan_area(screen)
        times.append(1000 * (time.perf_counter() - started))
    print(f"800 x 600 pixels: median {np.median(times):.1f} ms, slowest {max(times):.1f} ms")


if __name__ == "__main__":
    main()
