"""Zips of images: read as the folder that they hold, and nothing written outside of it."""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from program import succeed
from scans import write_set
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data import unpacking
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.unpacking import unpacked


def packed(root: Path, top: bool) -> Path:
    return Path(shutil.make_archive(str(root), "zip", root.parent if top else root, root.name if top else None))


@pytest.mark.parametrize("top", [True, False])
def test_a_zip_is_read_as_its_folder_is(tmp_path: Path, top: bool) -> None:
    root = write_set(tmp_path / "scans", {"benign": 3, "malignant": 3})
    path = packed(root, top)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/scans/benign/._scan (1).png", b"x")
    of_folder = load_images(ImageSource((str(root),), 0, 0, tmp_path / "one"))
    of_zip = load_images(ImageSource((str(path),), 0, 0, tmp_path / "two"))
    assert of_zip.dataset.items == of_folder.dataset.items and of_zip.dataset.name == "scans"
    assert of_zip.fingerprint == of_folder.fingerprint
    assert (of_zip.images == of_folder.images).all()
    (folder,) = (tmp_path / "two").glob("unpacked-*")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    before = folder.stat().st_mtime_ns
    assert unpacked(path, tmp_path / "two").is_relative_to(folder) and folder.stat().st_mtime_ns == before
    found = succeed("data", "audit", "--data", path, "--set", f"cache.folder={tmp_path / 'two'}")
    assert found.json["images"] == 6
    succeed("data", "list", "--set", f"cache.folder={tmp_path / 'two'}", "--clear-cache")
    assert not folder.exists()


def write(*names: str, kind: int = 0, flag: int = 0) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                info = zipfile.ZipInfo(name)
                info.external_attr = kind << 16
                archive.writestr(info, b"outside")
        if flag:
            data = bytearray(path.read_bytes())
            data[data.index(b"PK\1\2") + 8] |= flag
            path.write_bytes(data)

    return make


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("benign/1.png", bytes(150_000_000))


def damaged(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("benign/1.png", b"picture" * 100)
    path.write_bytes(path.read_bytes().replace(b"picture", b"pictur!", 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (write("a/1.png", "../evil.png"), r"'../evil.png' leads outside"),
        (write("a\\..\\..\\evil.png"), "leads outside"),
        (write("/evil.png"), "leads outside"),
        (write("C:/evil.png"), "leads outside"),
        (write("a/evil.png", kind=stat.S_IFLNK | 0o777), "a link or a device"),
        (write("a/1.png", "A/1.PNG"), "a/1.png twice"),
        (write("a/1.png", flag=1), "has a password"),
        (write(), "is empty"),
        (bomb, "1 files of 0.1 GB exceed"),
        (damaged, r"cannot be unpacked \(Bad CRC-32"),
        (lambda path: path.write_bytes(b"PK\3\4 and no more"), "cannot be unpacked"),
    ],
)
def test_a_hostile_zip_is_refused_and_leaves_nothing(
    tmp_path: Path, make: Callable[[Path], None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, store = tmp_path / "in" / "set.zip", tmp_path / "store"
    path.parent.mkdir()
    make(path)
    with pytest.raises(SonoforgeError, match=message) as caught:
        unpacked(path, store)
    assert "\n" not in str(caught.value)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]
    assert not list(store.glob("*"))


def test_a_list_of_too_many_entries_is_refused_before_it_is_taken_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "set.zip"
    write("benign/1.png", *(f"{number}/" for number in range(9)))(path)
    monkeypatch.setattr(zipfile, "ZipInfo", None)  # one for each entry
    monkeypatch.setattr(unpacking, "MOST_FILES", 9)
    with pytest.raises(SonoforgeError, match=r"set.zip: it has 10 entries, more than 9"):
        unpacked(path, tmp_path / "store")
    monkeypatch.setattr(unpacking, "_MOST_LISTED", 400)  # 46 bytes and its name for each
    with pytest.raises(SonoforgeError, match="list of entries has 0 MB, which is too much"):
        unpacked(path, tmp_path / "store")
    assert not list((tmp_path / "store").glob("*"))


def test_a_zip_holds_no_more_files_than_suit_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file costs time and memory, however small it is."""
    monkeypatch.setattr(unpacking, "_FEW", 20)
    for count, size, taken in ((20, 1, True), (21, 1, False), (21, 3000, True)):
        path = tmp_path / f"{count}-{size}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for number in range(count):
                archive.writestr(f"benign/{number}.png", bytes(size))
        if taken:
            assert len([*unpacked(path, tmp_path / "store").rglob("*.png")]) == count
        else:
            with pytest.raises(SonoforgeError, match="has 21 entries, more than 20 for its size"):
                unpacked(path, tmp_path / "store")


def test_zips_are_read_wherever_folders_of_labelled_images_are(tmp_path: Path) -> None:
    sites = {
        name: write_set(tmp_path / name, {"benign": 2, "malignant": 2}, seed)
        for seed, name in ((0, "Rio"), (9, "Cairo"))
    }
    zips = {name: packed(root, True) for name, root in sites.items()}
    listed = {}
    for kind, own in (("folders", sites), ("zips", zips)):
        (tmp_path / f"{kind}.yaml").write_text(
            "collections:\n" + "".join(f"  - {{folder: {path.name}, name: {name}}}\n" for name, path in own.items())
        )
        source = ImageSource((str(tmp_path / f"{kind}.yaml"),), 0, 0, tmp_path / "store")
        listed[kind] = load_images(source)
    assert listed["zips"].dataset.items == listed["folders"].dataset.items
    assert listed["zips"].fingerprint == listed["folders"].fingerprint


def test_a_zip_that_the_disk_cannot_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("benign/1.png")(tmp_path / "set.zip")
    monkeypatch.setattr(unpacking, "_SPARE", 1 << 60)
    with pytest.raises(SonoforgeError, match=r"0.0 GB free; .*cache.folder"):
        unpacked(tmp_path / "set.zip", tmp_path / "store")


def test_a_folder_or_zip_of_zips_leads_to_their_images_in_two_commands(tmp_path: Path) -> None:
    inner = packed(write_set(tmp_path / "scans", {"benign": 2, "malignant": 2}), True)
    outer = tmp_path / "outer.zip"
    with zipfile.ZipFile(outer, "w") as archive:
        archive.write(inner, "downloads/scans.zip")
        archive.writestr("downloads/LICENSE.txt", "free")
    folder = tmp_path / "downloads"
    folder.mkdir()
    shutil.move(inner, folder)
    for given in (outer, folder):
        with pytest.raises(SonoforgeError) as refusal:
            load_images(ImageSource((str(given),), 0, 0, tmp_path / "store"))
        (place,) = re.findall(r"give --data (\S+scans\.zip)$", str(refusal.value))
        assert len(load_images(ImageSource((place,), 0, 0, tmp_path / "store")).dataset.items) == 4


@pytest.mark.parametrize("name", ["set.7z", "set.tar.gz", "SET.RAR"])
def test_archives_of_other_kinds_are_named_where_there_are_no_images(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"packed")
    with pytest.raises(SonoforgeError, match=f"archive {name}; unpack it"):
        load_images(ImageSource((str(tmp_path),), 0, 0, None))
