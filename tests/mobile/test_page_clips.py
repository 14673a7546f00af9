"""TIFF, DICOM and clips given to the page are answered as ``sonoforge classify --json`` answers them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from pydicom import uid

import planted_marks as plant_marks
from browser import served
from dicom_files import PLANTED, data_set, plant, region, save, with_jpeg
from page import MOST_APART, Expected, answered, compare_csv, compare_json, opened, saved

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def speckle(count: int) -> np.ndarray[Any, Any]:
    return np.stack([plant_marks.speckle(200, 240, seed=seed) for seed in range(count)])


def write_files(folder: Path) -> list[Path]:
    """TIFF, stills and clips; uncompressed, in runs and as JPEG, whose decoders may differ by a grey level."""
    frames = speckle(3)
    deep = Image.fromarray(frames[0].astype(np.uint16) << 4)  # 12 bits
    deep.save(folder / "deep.tif", compression="tiff_lzw", tiffinfo={317: 2})
    Image.fromarray(np.repeat(frames[1][..., None], 3, axis=2)).save(folder / "turned.tif", tiffinfo={274: 6})
    framed = np.pad(frames[[0, 0, 1, 2, 2]], ((0, 0), (20, 0), (30, 0)), constant_values=255)
    banner = {"SequenceOfUltrasoundRegions": [region((30, 20, 269, 219), delta=0.01)], "FrameTime": 50}
    save(data_set(framed[:1], WindowCenter=100, WindowWidth=150, **banner), folder / "still.dcm")
    save(plant(data_set(framed, **banner)), folder / "CLIP")  # type: ignore[arg-type]
    runs = data_set(frames[[0, 1]])
    runs.compress(uid.RLELossless, generate_instance_uid=False)
    save(runs, folder / "runs.dcm")
    files = [folder / name for name in ("deep.tif", "turned.tif", "still.dcm", "CLIP", "runs.dcm")]
    colours = np.stack([frames, frames // 2, 255 - frames], axis=-1)
    jpegs = {
        "grey": with_jpeg(data_set(frames), frames),
        "ybr": with_jpeg(data_set(colours[:1], "YBR_FULL_422"), colours[:1]),
        "rgb": with_jpeg(data_set(colours, "RGB"), colours, keep_rgb=True),
    }
    return files + [save(file, folder / f"jpeg-{name}.dcm") for name, file in jpegs.items()]


@pytest.mark.slow
def test_tiff_dicom_and_clips_are_answered_as_python_does(
    app: Path, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_files(tmp_path)
    lossless = data_set(speckle(1))
    lossless.compress(uid.JPEG2000Lossless, generate_instance_uid=False)
    refused = save(lossless, tmp_path / "lossless.dcm")
    sent: list[str] = []
    with served(app, sent) as address, browser.new_context(service_workers="block") as context:
        page = opened(context.new_page(), address)
        later = ("dicomParser", "dicom/reader", "tiff")
        lazy = [path for path in sent if any(name in path for name in later)]
        results = answered(page, files)
        table = saved(page, "#save-csv")
        (clip,) = (card for card in page.locator(".card").all() if card.locator(".file").text_content() == "CLIP")
        said = " ".join(clip.locator(".notes li").all_text_contents())
        clip.locator(".picture").click()
        page.wait_for_selector("#zoom[open]")
        enlarged = page.evaluate("(({width, height}) => [width, height])(document.getElementById('zoom-canvas'))")
        page.keyboard.press("Escape")
        page.click("#clear")
        (last,) = answered(page, [refused])
        shown = page.locator(".card").text_content() or ""
    monkeypatch.chdir(tmp_path)
    expected = Expected(files, tmp_path / "answers.csv")
    clips = {one["file"]: one["clip"] for one in results if "clip" in one}
    assert set(clips) == {"CLIP", "runs.dcm", "jpeg-grey.dcm", "jpeg-rgb.dcm"}
    assert clips["CLIP"]["frames"] == 5 and clips["CLIP"]["distinct"] == 3
    assert f"Frame {clips['CLIP']['best_frame']} is shown" in said
    assert enlarged[0] / enlarged[1] == pytest.approx(240 / 200, rel=0.02)
    assert PLANTED not in str(results) + table + said
    compare_csv(table, expected.csv)
    assert compare_json(results, expected.results) <= MOST_APART
    assert lazy == []  # none of it is loaded before such a file is given
    assert last["error"]["code"] == "unsupported" and "JPEG 2000" in last["error"]["message"]
    assert "sonoforge classify" in shown
