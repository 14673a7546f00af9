"""Do drawn scans, or scans in another scanner's style, help on a collection that no network has seen?

    python training/studies/where-it-helps/left_out_scanners.py BUSI/ BUS-BRA/ BrEaST/ --leave-out BUSI --out FOLDER \\
        --backbone mobilenet_v2.safetensors --features squeezenet1_1.safetensors

Each collection named by ``--leave-out`` is answered by networks of budget `collections` (one network, no teachers,
``--epochs``) that were trained on the others, and on `NUMBER` scans that an arm adds, as many of each other collection:

    none       nothing: the recipe, in which crops beside lesions stand for healthy scans
    drawn      whole scans by a generator that draws into masks: half healthy (an empty mask), half with a lesion
    drawn-few  a quarter of these
    windows    crops beside lesions and round them, as whole scans, at the generator's sharpness: placebo of `drawn`
    pasted     scans whose lesion is covered by tissue of their own, and scans with tissue pasted beside the lesion,
               at the generator's sharpness: placebo of `drawn`
    copies     scans again, as they are: placebo of the arms that follow
    amplitude  with low frequencies of another collection's scan (Xu et al., CVPR 2021)
    style      with another collection's statistics of a frozen network's feature maps (Huang and Belongie, ICCV 2017)
    pairs      drawn by SPADE into outlines of real lesions, distorted at random
    flow       drawn with their outlines by ``--start``, a flow that never saw the collection, classes as in `copies`
    copies-64  `copies` at the generator's sharpness: placebo of `flow`, as are `none` and `copies`

In `drawn`, `windows` and `pasted`, half are healthy, and both halves have the same marks of how they were made, so that
these tell nothing.  Generators and decoders see the training collections alone.  What is done is kept in FOLDER, and
the same command goes on; ``predictions.csv`` there is read by `sonoforge crossval --from` and `sonoforge compare`, and
``outlines.csv`` has the Dice of what the networks' outline head finds of each lesion, at `OUTLINE_SIDE` pixels.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from sonoforge.models import OUTLINE_BLOCK
from sonoforge.models.mobilenetv2 import resample
from sonoforge.runtime.atomic import replacing
from sonoforge.runtime.cli.main import run as command
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.initial_weights import load_backbone
from sonoforge.training.classifier.network import INFERENCE_BATCH, answer, pixel_views, to_tensor
from sonoforge.training.classifier.scan_views import Box, crop_around, crop_without, cut, lesion_box
from sonoforge.training.classifier.settings import BUDGETS, ClassifierSettings
from sonoforge.training.classifier.training import ClassifierJob, train_classifier
from sonoforge.training.crossval.balancing import GeneratorJob, draw_untrained
from sonoforge.training.crossval.folds import predictions_of
from sonoforge.training.data.cache import ImageCache, default_folder
from sonoforge.training.data.labelled_images import HALF, LabelledImages
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.split_plan import SplitPlan
from sonoforge.training.data.splits import check_sealed, make_plan
from sonoforge.training.evaluation.features import open_features
from sonoforge.training.gan.generator import load_generator, sample_into
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.start_from import refuse_seen_by_start
from sonoforge.training.segmentation.pairs import clean_maps, distort_maps
from sonoforge.training.statistics.predictions import Predictions, write_predictions
from sonoforge.training.statistics.results import LEAVE_ONE_OUT

Pixels = NDArray[np.uint8]
NUMBER, SIDE, DRAWN_SIDE, LEAST_STEPS = 800, 256, 64, 60
STYLE_SIDE, STYLE_STEPS, STYLE_BATCH = 128, 500, 8
OUTLINE_SIDE = 64
MAPS = ("benign", "malignant", "window")
"""What a pixel of the generator's label maps may be of: a lesion of either kind, or tissue in a window."""
LABEL_MAPS: dict[str, object] = {"recipe": "projected", "preset": "label-maps", "width": 12}
SPADE: dict[str, object] = {"recipe": "spade", "preset": "small-data", "width": 16, "batch": 16}


class Asked(NamedTuple):
    """What the command line says."""

    features: Path
    backbone: str
    out: Path
    epochs: int
    kimg: float
    start: str
    cache: Path


class Training(NamedTuple):
    """The scans with a lesion of the training collections, grey, at `SIDE` pixels."""

    grey: Pixels  # (N, S, S)
    masks: Pixels  # (N, S, S)
    labels: NDArray[np.int64]
    collections: NDArray[np.int64]
    classes: tuple[str, ...]
    folder: Path  # for what is trained
    seed: int
    asked: Asked

    def draw(self, number: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw scans, as many of each collection."""
        own = np.unique(self.collections)
        parts = np.array_split(np.arange(number), len(own))
        return np.concatenate(
            [rng.choice(np.flatnonzero(self.collections == c), len(part)) for c, part in zip(own, parts, strict=True)]
        )

    def other(self, index: int, rng: np.random.Generator) -> int:
        """Draw a scan of another collection."""
        return int(rng.choice(np.flatnonzero(self.collections != self.collections[index])))


class Added(NamedTuple):
    """One scan to add."""

    grey: Pixels
    mask: Pixels
    label: int


def at_drawn_sharpness(grey: Pixels) -> Pixels:
    small = Image.fromarray(grey).resize((DRAWN_SIDE, DRAWN_SIDE), Image.Resampling.BOX)
    return np.asarray(small.resize(grey.shape[::-1], Image.Resampling.BILINEAR))


def windows(scans: Training, rng: np.random.Generator) -> list[Added]:
    healthy, added = scans.classes.index("normal"), []
    for place, index in enumerate(scans.draw(NUMBER, rng)):
        grey, lesion = scans.grey[index], lesion_box(scans.masks[index])
        assert lesion is not None
        box = crop_without(grey, lesion, rng) if place % 2 else crop_around(grey.shape, lesion, rng)
        if box is not None:
            shown, mask = cut(grey, box, SIDE), cut(scans.masks[index], box, SIDE)
            added.append(Added(at_drawn_sharpness(shown), mask, healthy if place % 2 else int(scans.labels[index])))
    return added


def paste(grey: Pixels, lesion: Box, rng: np.random.Generator, *, covered: bool) -> Pixels | None:
    """Paste tissue of the lesion's depth over the lesion, or, where it is not to be ``covered``, beside it."""
    left, top, right, bottom = lesion
    wide, margin = right - left, 8
    starts = [x for x in range(0, SIDE - wide + 1, 4) if x + wide + margin <= left or x >= right + margin]
    if not starts:
        return None
    x = int(rng.choice(starts))
    patch = grey[top:bottom, x : x + wide][:, ::-1]
    if patch.mean() < 12:
        return None
    inside, pasted = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
    start = left if covered else int(rng.choice(starts))
    pasted[top:bottom, start : start + wide], inside[top:bottom, start : start + wide] = patch, 1
    soft = np.clip(1.5 * gaussian_filter(inside, 3), 0, 1) * (pasted > 0)
    return np.uint8(np.rint(soft * pasted + (1 - soft) * grey))


def pasted(scans: Training, rng: np.random.Generator) -> list[Added]:
    healthy, added, empty = scans.classes.index("normal"), [], np.zeros((SIDE, SIDE), np.uint8)
    for place, index in enumerate(scans.draw(2 * NUMBER, rng)):
        grey, mask, lesion = scans.grey[index], scans.masks[index], lesion_box(scans.masks[index])
        assert lesion is not None
        covered = place % 2 == 1
        shown = paste(grey, lesion, rng, covered=covered)
        if shown is not None:
            label = healthy if covered else int(scans.labels[index])
            added.append(Added(at_drawn_sharpness(shown), empty if covered else mask, label))
    halves = [[scan for scan in added if (scan.label == healthy) == wanted] for wanted in (True, False)]
    return [scan for half in halves for scan in half[: NUMBER // 2]]


def write_for_generator(scans: Training, folder: Path, rng: np.random.Generator, *, with_windows: bool) -> None:
    """Write whole scans with what each pixel is of, `MAPS` or neither, and windows with and without their lesion."""
    folder.mkdir(parents=True)
    for index, label in enumerate(scans.labels):
        shown: dict[str, Box | None] = {"whole": None}
        if with_windows:
            lesion = lesion_box(scans.masks[index])
            assert lesion is not None
            beside = crop_without(scans.grey[index], lesion, rng)
            around = crop_around((SIDE, SIDE), lesion, rng)
            shown["window"] = around if index % 2 or not beside else beside
        for name, box in shown.items():
            path = folder / f"{index}-{name}.png"
            Image.fromarray(cut(scans.grey[index], box, DRAWN_SIDE)).save(path)
            inside = cut(scans.masks[index], box, DRAWN_SIDE) >= HALF
            of = {scans.classes[label]: inside, "window": ~inside & (name == "window")}
            for kind in MAPS if with_windows else MAPS[:2]:
                Image.fromarray(np.uint8(255 * of.get(kind, np.zeros_like(inside)))).save(
                    path.with_stem(f"{path.stem}_mask_{kind}")
                )


def train_generator(scans: Training, recipe: dict[str, object], *, with_windows: bool) -> Path:
    seed = scans.seed + 1
    folder = scans.folder / f"{recipe['recipe']}-{seed}"
    if not (folder / "set").is_dir():
        making = folder / "making"
        rng = np.random.default_rng([seed, 1])
        write_for_generator(scans, making / "scans", rng, with_windows=with_windows)
        making.rename(folder / "set")
    options = recipe | {
        "data": folder / "set",
        "out": folder,
        "class": "scans",
        "image-size": DRAWN_SIDE,
        "precision": "bf16",
        "metrics": "none",
        "held-out": 0,
        "seed": seed,
    }
    flags = ["--data", str(options.pop("data")), "--out", str(options.pop("out"))]
    options["masks"] = "true"
    for name, value in options.items():
        flags += ["--set", f"gan.{name.replace('-', '_')}={value}"]
    if command(["gan", "train", *flags, "--resume", "--quiet"]):
        raise SystemExit(1)
    return max(folder.glob("*-gan-*"))


def drawn(scans: Training, rng: np.random.Generator) -> list[Added]:
    """Draw whole scans: into an empty mask healthy ones, into a real one, moved, one with a lesion."""
    recipe = LABEL_MAPS | {"features": scans.asked.features, "kimg": scans.asked.kimg}
    generator = load_generator(train_generator(scans, recipe, with_windows=True))
    healthy, chosen = scans.classes.index("normal"), scans.draw(NUMBER, rng)
    empty = np.zeros((SIDE, SIDE), np.uint8)
    masks = [
        np.roll(scans.masks[i], rng.integers(-24, 25, 2), (0, 1)) if n % 2 == 0 else empty for n, i in enumerate(chosen)
    ]
    inside = np.stack([cut(mask, None, DRAWN_SIDE) >= HALF for mask in masks])
    levels = np.uint8(255 * (inside[..., None] & of_kinds(scans, chosen)[:, None, None]))
    pictures = np.concatenate([*sample_into(generator, levels, len(levels), scans.seed)])[..., :1]
    return [
        Added(cut(picture[..., 0], None, SIDE), mask, int(scans.labels[i]) if mask.any() else healthy)
        for picture, mask, i in zip(pictures, masks, chosen, strict=True)
    ]


def of_kinds(scans: Training, chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of `MAPS` the lesions of these scans are of: (N, 3)."""
    return np.array([[scans.classes[scans.labels[i]] == kind for kind in MAPS] for i in chosen])


def pairs(scans: Training, rng: np.random.Generator) -> list[Added]:
    """Draw scans into outlines of real lesions, distorted, as `sonoforge segment` does."""
    recipe = SPADE | {"kimg": scans.asked.kimg / 4}
    generator = load_generator(train_generator(scans, recipe, with_windows=False))
    chosen = scans.draw(NUMBER, rng)
    whole = np.stack([cut(scans.masks[i], None, DRAWN_SIDE) >= HALF for i in chosen])
    moved = distort_maps(torch.from_numpy(whole).long(), torch.Generator().manual_seed(scans.seed)).numpy() > 0
    levels = np.uint8(255 * (moved[..., None] & of_kinds(scans, chosen)[:, None, None, :2]))
    pictures = np.concatenate([*sample_into(generator, levels, len(levels), scans.seed)])[..., :1]
    return [
        Added(cut(picture[..., 0], None, SIDE), cut(np.uint8(255 * mask), None, SIDE), int(scans.labels[i]))
        for picture, mask, i in zip(pictures, moved, chosen, strict=True)
        if mask.any()
    ]


def drawn_few(scans: Training, rng: np.random.Generator) -> list[Added]:
    return [scan for place, scan in enumerate(drawn(scans, rng)) if place % 8 < 2]  # one healthy, one with a lesion


def copies(scans: Training, rng: np.random.Generator) -> list[Added]:
    return [Added(scans.grey[i], scans.masks[i], int(scans.labels[i])) for i in scans.draw(NUMBER, rng)]


def amplitude(scans: Training, rng: np.random.Generator) -> list[Added]:
    """Mix the amplitudes below a tenth of the highest frequency with those of another collection's scan."""
    added, low = [], SIDE // 20
    for index in scans.draw(NUMBER, rng):
        own = np.fft.fftshift(np.fft.fft2(scans.grey[index].astype(float)))
        other = np.fft.fftshift(np.fft.fft2(scans.grey[scans.other(index, rng)].astype(float)))
        middle = slice(SIDE // 2 - low, SIDE // 2 + low + 1)
        mixed, share = np.abs(own), rng.uniform()
        mixed[middle, middle] = (1 - share) * mixed[middle, middle] + share * np.abs(other)[middle, middle]
        back = np.fft.ifft2(np.fft.ifftshift(mixed * np.exp(1j * np.angle(own)))).real
        added.append(Added(np.uint8(back.clip(0, 255)), scans.masks[index], int(scans.labels[index])))
    return added


def copies_64(scans: Training, rng: np.random.Generator) -> list[Added]:
    return [scan._replace(grey=at_drawn_sharpness(scan.grey)) for scan in copies(scans, rng)]


def flow(scans: Training, rng: np.random.Generator) -> list[Added]:
    """Draw by the start as it is, as many of each class as real scans drawn at random; those without an outline go."""
    real = as_images(copies(scans, rng), scans.classes)
    settings = GanSettings(recipe="flow", preset="latent", masks=True, start_from=scans.asked.start)
    counts = {label: count for label, count in enumerate(real.counts.tolist()) if count}
    own = draw_untrained(counts, real, GeneratorJob(settings, scans.seed, "cpu", scans.folder))
    assert own.masks is not None
    drawn = zip(own.pixels[..., 0], clean_maps(np.uint8(own.masks(DRAWN_SIDE) >= HALF)), own.labels, strict=True)
    return [Added(grey, cut(255 * mask, None, SIDE), int(label)) for grey, mask, label in drawn if mask.any()]


def refuse_seen(collection: Path, asked: Asked) -> None:
    """Refuse a start that was trained on scans of the collection left out."""
    source = ImageSource((str(collection),), 0, 0, asked.cache, budget(asked.epochs).preprocessing)
    try:
        refuse_seen_by_start(asked.start, load_images(source), asked.cache)
    except SonoforgeError as error:
        raise SystemExit(str(error)) from None


def moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    return maps.mean((2, 3), keepdim=True), maps.std((2, 3), keepdim=True) + 1e-4


def decoder() -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in ((128, 64), (64, 32)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2, mode="bilinear")]
    return nn.Sequential(*layers, nn.Conv2d(32, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 3, padding=1))


def train_style(scans: Training) -> Callable[[Tensor, Tensor], Tensor]:
    """Train a decoder of feature maps with another scan's moments; return what redraws one batch in another's style."""
    network = open_features("squeezenet1_1", weights=scans.asked.features)
    path = scans.folder / f"style-{scans.seed}.pt"
    torch.manual_seed(scans.seed)
    paint = decoder()

    def redraw(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        own, others = network.maps(content)[1], network.maps(style)
        (mean, spread), (to_mean, to_spread) = moments(own), moments(others[1])
        wanted = (own - mean) / spread * to_spread + to_mean
        both = nn.functional.interpolate(paint(torch.cat([wanted, own])), content.shape[2:], mode="bilinear")
        # What the style changes of a plain reconstruction is added to the scan, whose details thus stay.
        new, plain = both.chunk(2)
        return (content + new - plain).clamp(-1, 1), wanted, others

    if path.is_file():
        paint.load_state_dict(torch.load(path, weights_only=True))
    else:
        steps, rng = torch.optim.Adam(paint.parameters(), 1e-3), np.random.default_rng([scans.seed, 2])
        for _ in range(STYLE_STEPS):
            chosen = scans.draw(STYLE_BATCH, rng)
            styled, wanted, others = redraw(
                to_unit(scans.grey[chosen]), to_unit(scans.grey[[scans.other(i, rng) for i in chosen]])
            )
            seen = network.maps(styled)
            loss = (seen[1] - wanted).square().mean()
            for now, then in zip(seen[:3], others[:3], strict=True):
                loss = loss + 3 * sum((a - b).square().mean() for a, b in zip(moments(now), moments(then), strict=True))
            steps.zero_grad()
            loss.backward()
            steps.step()
        torch.save(paint.state_dict(), path)
    return lambda content, style: redraw(content, style)[0]


def to_unit(grey: Pixels) -> Tensor:
    whole = torch.from_numpy(grey[:, None].astype(np.float32)) / 127.5 - 1
    return nn.functional.interpolate(whole, (STYLE_SIDE, STYLE_SIDE), mode="area")


@torch.no_grad()
def style(scans: Training, rng: np.random.Generator) -> list[Added]:
    added = []
    with torch.enable_grad():
        redraw = train_style(scans)
    for index in scans.draw(NUMBER, rng):
        content = to_unit(scans.grey[[index]])
        change = redraw(content, to_unit(scans.grey[[scans.other(index, rng)]])) - content
        whole = nn.functional.interpolate(127.5 * change, (SIDE, SIDE), mode="bilinear")[0, 0].numpy()
        shown = np.uint8(np.rint((scans.grey[index] + whole).clip(0, 255)))
        added.append(Added(shown, scans.masks[index], int(scans.labels[index])))
    return added


ARMS: dict[str, Callable[[Training, np.random.Generator], list[Added]] | None] = {
    "none": None,
    "drawn": drawn,
    "windows": windows,
    "pasted": pasted,
    "copies": copies,
    "amplitude": amplitude,
    "style": style,
    "drawn-few": drawn_few,
    "pairs": pairs,
    "flow": flow,
    "copies-64": copies_64,  # new ones last, as an arm's place is part of its random numbers
}


def lesions(images: LabelledImages, folder: Path, seed: int, asked: Asked) -> Training:
    masks = images.masks(SIDE) if images.masks else np.zeros(0, np.uint8)
    found = np.array([i for i in range(len(images)) if lesion_box(masks[i])])
    grey = images.pixels[found].mean(axis=3).round().astype(np.uint8)
    collections = images.collections if images.collections is not None else np.zeros(len(images), np.int64)
    return Training(grey, masks[found], images.labels[found], collections[found], images.classes, folder, seed, asked)


def as_images(added: list[Added], classes: tuple[str, ...]) -> LabelledImages:
    masks = np.stack([scan.mask for scan in added])
    return LabelledImages(
        np.repeat(np.stack([scan.grey for scan in added])[..., None], 3, axis=3),
        np.array([scan.label for scan in added]),
        classes,
        masks=lambda side: np.stack([cut(mask, None, side) for mask in masks]),
    )


def write_sheet(path: Path, added: list[Added]) -> None:
    shown = [added[i].grey for i in np.linspace(0, len(added) - 1, 32).round().astype(int)]
    Image.fromarray(np.vstack([np.hstack(shown[row : row + 8]) for row in range(0, 32, 8)])).save(path)


def answers(cache: ImageCache, plan: SplitPlan, fold: int, arm: str, asked: Asked) -> NDArray[np.float64]:
    """Train one arm without one collection and answer that: (N, C), and the outlines' Dice, kept in a file."""
    name = list(cache.dataset.collections)[fold]
    path = asked.out / f"{arm}-{name}-seed{plan.seed}.npy"
    if path.is_file():
        return np.asarray(np.load(path, allow_pickle=False), np.float64)
    started, settings = time.process_time(), budget(asked.epochs)
    train, test = plan.train(fold), plan.test(fold)
    check_sealed(plan, fold, "classifier", train, cache)
    images, make = LabelledImages.of_set(cache, train), ARMS[arm]
    added = None
    if make is not None:
        folder = asked.out / f"without-{name}"
        folder.mkdir(exist_ok=True)
        rng = np.random.default_rng([plan.seed, list(ARMS).index(arm)])
        if arm == "flow":
            refuse_seen(cache.dataset.collections[name], asked)
        scans = make(lesions(images, folder, plan.seed, asked), rng)
        write_sheet(folder / f"{arm}-seed{plan.seed}.png", scans)
        added = as_images(scans, images.classes)
    device = torch.device("cpu")
    job = ClassifierJob(load_backbone(asked.backbone, cache), settings, plan.seed, device)
    members = train_classifier(images, added, job, checkpoint=path.with_suffix(".pt")).members
    tested = LabelledImages.of_set(cache, test)
    views = pixel_views(tested.pixels, settings.mirror)
    answered = answer(members, views, settings.frozen_blocks, device, look=settings.look).probabilities
    found = np.column_stack([answered, outline_dice(members[0], tested, settings.look)])
    with replacing(path) as file:
        np.save(file, found)
    print(f"{path.stem}: {(time.process_time() - started) / 60:.1f} processor minutes", flush=True)
    return found


@torch.inference_mode()
def outline_dice(net: Any, images: LabelledImages, look: int | None) -> NDArray[np.float64]:
    """Return the Dice of each lesion's outline as the first pass finds it, (N,); not a number without a lesion."""
    assert images.masks is not None
    assert look is not None
    masks, found = images.masks(OUTLINE_SIDE) >= HALF, []
    for start in range(0, len(images), INFERENCE_BATCH):
        own = to_tensor(images.pixels[start : start + INFERENCE_BATCH], torch.device("cpu"))
        seen = net.outline(net.features[:OUTLINE_BLOCK](resample(own, torch.tensor([[0.0, 0, 1, 1]] * len(own)), look)))
        found.append(nn.functional.interpolate(seen, (OUTLINE_SIDE, OUTLINE_SIDE), mode="bilinear")[:, 0].numpy() > 0)
    lesions = np.concatenate(found)
    both, sizes = (lesions & masks).sum((1, 2)), lesions.sum((1, 2)) + masks.sum((1, 2))
    return np.where(masks.any((1, 2)), 2 * both / np.maximum(sizes, 1), np.nan)


def write_outlines(path: Path, kept: list[tuple[Predictions, NDArray[np.float64]]]) -> None:
    """Write the Dice of each lesion by each arm's network."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["arm", "seed", "collection", "file", "group", "dice"])
        for own, dice in kept:
            scans = zip(own.collections, own.files, own.groups, dice, strict=True)
            writer.writerows([own.arm, own.seed, *scan, f"{value:.4f}"] for *scan, value in scans if value == value)


def budget(epochs: int) -> ClassifierSettings:
    return dataclasses.replace(BUDGETS["collections"], teachers=0, epochs=epochs, least_steps=LEAST_STEPS)


def main() -> None:
    """Train what is not done yet, then write the answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="folders of classes normal, benign, malignant, with masks")
    parser.add_argument("--leave-out", required=True, action="append", help="name of a collection to test; repeatable")
    parser.add_argument("--backbone", required=True, help="MobileNetV2's ImageNet weights, .safetensors")
    parser.add_argument("--features", required=True, type=Path, help="SqueezeNet's ImageNet weights, .safetensors")
    parser.add_argument("--arms", default=",".join(ARMS), help="default: %(default)s")
    parser.add_argument("--seeds", default="0,1", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--kimg", type=float, default=24, help="of each generator (default: %(default)s)")
    parser.add_argument(
        "--start", default="shipped", help="run or bundle that `flow` is drawn by (default: %(default)s)"
    )
    parser.add_argument("--cache", type=Path, default=default_folder(), help="of decoded images")
    parser.add_argument("--out", required=True, type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    asked = Asked(given.features, given.backbone, given.out, given.epochs, given.kimg, given.start, given.cache)
    source = ImageSource(tuple(given.data), 0, 0, given.cache, budget(given.epochs).preprocessing)
    cache = load_images(source)
    names, kept = list(cache.dataset.collections), list[tuple[Predictions, NDArray[np.float64]]]()
    tested = [names.index(name) for name in given.leave_out]
    for seed in map(int, given.seeds.split(",")):
        plan = make_plan(cache, LEAVE_ONE_OUT, seed=seed)
        for arm in given.arms.split(","):
            found = np.concatenate([answers(cache, plan, fold, arm, asked) for fold in tested])
            images = np.concatenate([plan.test(fold) for fold in tested])
            kept.append((predictions_of(arm, plan, images, found[:, :-1], cache.dataset), found[:, -1]))
    write_predictions(asked.out / "predictions.csv", [own for own, _ in kept], cache.dataset.classes)
    write_outlines(asked.out / "outlines.csv", kept)


if __name__ == "__main__":
    main()
