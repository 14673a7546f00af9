"""``sonoforge gan show`` and truncation by psi, on small generators."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from generator_checkpoints import small_checkpoint
from program import refused, succeed
from sonoforge.training.gan import looks
from sonoforge.training.gan.generator import load_generator, sample, sample_latent

COUNT = 3
RECIPES = ("stylegan2", "stylegan3-t", "dcgan")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run folder of each recipe; dcgan knows two classes."""
    found = {recipe: tmp_path_factory.mktemp("runs") / recipe for recipe in RECIPES}
    for recipe, folder in found.items():
        small_checkpoint(folder, recipe, 2 if recipe == "dcgan" else 0, side=32)
    return found


def _show(run: Path, *options: object) -> dict[str, Any]:
    small = ["--count", COUNT, "--device", "cpu"]
    result: dict[str, Any] = succeed("gan", "show", run, *_class(run), *small, *options).json
    return result


def _class(run: Path) -> list[str]:
    return ["--class", "a"] if run.name == "dcgan" else []


@pytest.fixture(scope="module")
def shown(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of all looks of each run."""
    for run in runs.values():
        _show(run)
    return {recipe: run / "looks" for recipe, run in runs.items()}


def _record(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "looks.json").read_text())
    return record


def _cell(folder: Path, look: str, file: str, row: int, column: int) -> NDArray[np.uint8]:
    """The image in one place of a sheet, at its own size."""
    layout = _record(folder)["looks"][look]["layout"]
    top, left = (
        start + place * layout["step"] + (layout["apart"] if place else 0)
        for start, place in ((layout["top"], row), (layout["left"], column))
    )
    pixels = np.asarray(Image.open(folder / file))[top : top + layout["cell"], left : left + layout["cell"]]
    factor = layout["cell"] // 32
    assert np.array_equal(pixels, pixels[::factor, ::factor].repeat(factor, 0).repeat(factor, 1))
    return pixels[::factor, ::factor]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_look_that_applies_is_there_and_says_that_it_is_synthetic(
    shown: dict[str, Path], runs: dict[str, Path], recipe: str
) -> None:
    folder = shown[recipe]
    record = _record(folder)
    expected = {"mixing"} if recipe == "dcgan" else set()
    assert set(record["not_applicable"]) == expected
    assert set(record["looks"]) == looks.LOOKS.keys() - expected
    assert record["synthetic"] is True and record["recipe"] == recipe and record["step"] == 7
    assert "not a medical device" in record["use"]
    files = {file: digest for look in record["looks"].values() for file, digest in look["files"].items()}
    assert {path.name for path in folder.iterdir()} == {*files, "looks.json"}
    for file, digest in files.items():
        content = (folder / file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
        with Image.open(folder / file) as picture:
            picture.load()
            if file.endswith(".gif"):
                about = json.loads(picture.info["comment"])
                assert about["synthetic"] is True and "shows no patient" in about["Description"]
                assert about["generator_sha256"] == record["generator_sha256"]
            else:
                text = picture.text  # type: ignore[attr-defined]
                assert text["sonoforge:synthetic"] == "true" and "shows no patient" in text["Description"]
                assert text["sonoforge:generator_sha256"] == record["generator_sha256"]
                assert text["Software"] == "sonoforge gan show"
    for look in record["looks"].values():
        if "layout" in look:
            (file,) = [name for name in look["files"] if name.endswith(".png")]
            assert Image.open(folder / file).size == (look["layout"]["width"], look["layout"]["height"])


def test_columns_of_psi_are_those_of_sampling(shown: dict[str, Path], runs: dict[str, Path], tmp_path: Path) -> None:
    folder, run = shown["stylegan2"], runs["stylegan2"]
    psis = _record(folder)["looks"]["truncation"]["psi"]
    assert psis == [1, 0.7, 0.5, 0.3, 0, -0.5]
    plain = sample(load_generator(run), COUNT, 0)
    assert len({image.tobytes() for image in plain}) == COUNT
    for psi in (1.0, 0.7, 0.0):
        target = tmp_path / f"{psi}.npz"
        succeed("gan", "sample", run, "--psi", psi, "--count", COUNT, "--device", "cpu", "--out", target)
        with np.load(target, allow_pickle=False) as arrays:
            images = arrays["images"]
            assert json.loads(str(arrays["manifest"]))["psi"] == psi
        cells = [_cell(folder, "truncation", "truncation.png", row, psis.index(psi)) for row in range(COUNT)]
        for image, cell in zip(images, cells, strict=True):
            assert np.array_equal(image[..., 0], cell)
        if psi == 1:
            assert np.array_equal(images, plain), "psi 1 truncates nothing"
        assert len({image.tobytes() for image in images}) == (1 if psi == 0 else COUNT)


def test_truncation_of_latents_ends_in_no_limit_for_networks_without_styles(
    shown: dict[str, Path], runs: dict[str, Path]
) -> None:
    clips = _record(shown["dcgan"])["looks"]["truncation"]["clip"]
    assert clips[0] is None and clips[1:] == sorted(clips[1:], reverse=True)
    plain = sample(load_generator(runs["dcgan"]), COUNT, 0, label=0)
    for row in range(COUNT):
        assert np.array_equal(_cell(shown["dcgan"], "truncation", "truncation.png", row, 0), plain[row, ..., 0])


def test_psi_is_kept_with_the_images(runs: dict[str, Path], tmp_path: Path) -> None:
    command = ["gan", "sample", runs["stylegan2"], "--count", 2, "--device", "cpu", "--out", tmp_path]
    succeed(*command, "--psi", 0.5, "--set", "sample.psi_cutoff=3")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["psi"], manifest["psi_cutoff"]) == (0.5, 3)
    image = Image.open(tmp_path / manifest["images"][1]["file"])
    assert image.text["sonoforge:psi"] == "0.5"  # type: ignore[attr-defined]
    assert image.text["sonoforge:psi_cutoff"] == "3"  # type: ignore[attr-defined]
    generator: Any = load_generator(runs["stylegan2"])
    styles = generator.mapping(torch.cat([sample_latent(generator, 0, index) for index in range(8)]))
    mean = generator.mapping.average
    styles = torch.stack(
        [mean + 0.5 * (style - mean) if i < 3 else style for i, style in enumerate(styles.unbind(1))], 1
    )
    expected = ((generator.synthesis(styles)[1, 0] + 1) * 127.5).round().clamp(0, 255).numpy()
    assert np.abs(np.asarray(image).astype(float) - expected).max() <= 1
    assert "holds other files already" in refused(*command)


@pytest.mark.parametrize("recipe", ["stylegan2", "stylegan3-t"])
def test_mixed_images_have_the_styles_that_the_record_names(
    shown: dict[str, Path], runs: dict[str, Path], recipe: str
) -> None:
    look = _record(shown[recipe])["looks"]["mixing"]
    bands = list(look["bands"].values())
    assert [style for band in bands for style in band] == list(range(1, look["styles"] + 1)), "each in one band"
    generator: Any = load_generator(runs[recipe])
    numbers = look["sources"] + look["destinations"]
    styles = generator.mapping(torch.cat([sample_latent(generator, 0, number) for number in numbers]))
    for band, numbers in enumerate(bands):
        for destination in range(len(look["destinations"])):
            row = 1 + band * len(look["destinations"]) + destination
            for column in range(COUNT):
                mixed = styles[COUNT + destination].clone()
                for number in numbers:
                    mixed[number - 1] = styles[column, number - 1]
                expected = ((generator.synthesis(mixed[None])[0, 0] + 1) * 127.5).round().clamp(0, 255).numpy()
                found = _cell(shown[recipe], "mixing", "style-mixing.png", row, 1 + column).astype(float)
                assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("recipe", RECIPES)
def test_films_loop_and_strips_begin_and_end_with_their_images(
    shown: dict[str, Path], runs: dict[str, Path], recipe: str
) -> None:
    folder = shown[recipe]
    look = _record(folder)["looks"]["interpolation"]
    assert look["space"] == ("z" if recipe == "dcgan" else "w")
    plain = sample(load_generator(runs[recipe]), COUNT, 0, label=0 if recipe == "dcgan" else None)[..., 0].astype(int)
    for row in range(COUNT):
        for column, index in ((0, row), (looks.STRIP - 1, (row + 1) % COUNT)):
            cell = _cell(folder, "interpolation", "interpolation.png", row, column).astype(int)
            assert np.abs(cell - plain[index]).max() <= 1  # another batch rounds otherwise
    film = Image.open(folder / "interpolation.gif")
    assert film.info["loop"] == 0, "0 repetitions stand for endlessly many"
    assert film.size == (look["film"]["width"], look["film"]["height"])
    assert look["film"]["frames"] == COUNT * looks.FRAMES
    frames: int = film.n_frames  # type: ignore[attr-defined]
    milliseconds = 0
    for frame in range(frames):
        film.seek(frame)
        milliseconds += film.info["duration"]
    assert 1 < frames <= look["film"]["frames"]
    assert milliseconds == 80 * look["film"]["frames"], "a frame that repeats another one lengthens it"


def test_the_record_is_the_answer_and_grows_with_what_is_asked(runs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "looks"
    run = runs["stylegan2"]
    result = _show(run, "--what", "truncation", "--out", out)
    assert result == _record(out)
    assert set(result["looks"]) == {"truncation"}
    first = (out / "truncation.png").read_bytes()
    assert set(_show(run, "--what", "mixing", "--out", out)["looks"]) == {"truncation", "mixing"}
    assert (out / "truncation.png").read_bytes() == first
    assert set(_show(run, "--what", "mixing", "--out", out, "--seed", 1)["looks"]) == {"mixing"}
    assert sorted(path.name for path in out.iterdir()) == ["looks.json", "style-mixing.png"]


@pytest.mark.parametrize(
    ("verb", "recipe", "options", "message"),
    [
        ("sample", "dcgan", ["--psi", "0.7"], "--psi: this generator has no styles"),
        ("sample", "stylegan2", ["--truncation", "1"], "--truncation: this generator has styles"),
        ("sample", "stylegan2", ["--set", "sample.psi_cutoff=3"], "--set sample.psi_cutoff: requires --psi"),
        ("sample", "stylegan2", ["--psi", "0.7", "--set", "sample.psi_cutoff=99"], "must be at most 8"),
        ("show", "dcgan", ["--what", "mixing"], "not applicable: only StyleGAN 1 to 3 have styles"),
        ("show", "stylegan2", ["--what", "mixin"], "did you mean mixing"),
        ("show", "stylegan2", ["--checkpoint", "8"], "has no checkpoint '8'"),
        ("show", "stylegan2", ["--class", "x"], "--class"),
    ],
)
def test_mistakes_are_answered_in_one_line(
    runs: dict[str, Path], tmp_path: Path, verb: str, recipe: str, options: list[str], message: str
) -> None:
    command = ["gan", verb, runs[recipe], *_class(runs[recipe]), "--count", COUNT, "--device", "cpu"]
    assert message in refused(*command, *options, "--out", tmp_path / "x")
    assert not list(tmp_path.iterdir())
    (tmp_path / "scan.png").write_bytes(b"real")  # other people's folders are left alone
    assert "holds other files already" in refused(*command, "--out", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["scan.png"]
