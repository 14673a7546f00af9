"""Classes that a table names: CSV, JSON lines and JSON, in folders as other programs write them."""

from __future__ import annotations

import json
import logging
import shutil
import unicodedata
from pathlib import Path

import pytest

from scans import draw_scan, save
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.datasets import Dataset, read_dataset
from sonoforge.training.data.load import ImageSource, load_images

LABELS = {"a.png": "benign", "b.png": "malignant", "c.png": "benign"}


def scans(folder: Path, names: tuple[str, ...] = tuple(LABELS), first: int = 0) -> Path:
    for seed, name in enumerate(names, start=first):
        save(folder / name, draw_scan(seed, 40))
    return folder


def read(dataset: Dataset) -> dict[str, str]:
    return {item.path: dataset.classes[item.label] for item in dataset.items}


def table(head: str, rows: dict[str, str] | None = None) -> str:
    return head + "\n" + "".join(f"{file},{label}\n" for file, label in (rows or LABELS).items())


def lines(**more: object) -> str:
    return "".join(json.dumps({"file_name": file, "label": label, **more}) + "\n" for file, label in LABELS.items())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", table("file,label")),
        ("truth.csv", table("Image Name,Diagnosis")),
        ("any.csv", table("filename,what it shows")),
        (
            "labels.csv",
            table("image_id,dx", {name[0]: label.upper() for name, label in LABELS.items()} | {"a": "benign"}),
        ),
        ("metadata.csv", table("file_name,label")),
        ("metadata.jsonl", lines(caption="", objects={"bbox": [[1, 2, 3, 4]]}, sizes=[1, 2])),
        ("dataset.json", json.dumps({"labels": [[file, label] for file, label in LABELS.items()]})),
        ("dataset.json", json.dumps({"labels": LABELS})),
        ("labels.json", json.dumps(LABELS)),
        ("labels.json", json.dumps([{"path": file, "class": label} for file, label in LABELS.items()])),
    ],
)
@pytest.mark.parametrize("given", ["folder", "table"])
def test_loose_images_have_the_classes_of_the_table_beside_them(
    tmp_path: Path, name: str, text: str, given: str, caplog: pytest.LogCaptureFixture
) -> None:
    scans(tmp_path)
    (tmp_path / name).write_text(text)
    with caplog.at_level(logging.INFO):
        dataset = read_dataset(tmp_path if given == "folder" else tmp_path / name)
    assert {file: label.lower() for file, label in read(dataset).items()} == LABELS
    assert f"of {name}" in " ".join(caplog.text.split())


def test_masks_patients_scanners_and_splits_come_with_a_table(tmp_path: Path) -> None:
    scans(tmp_path / "images")
    save(tmp_path / "masks" / "a.png", (draw_scan(1, 40) > 90) * draw_scan(1, 40).dtype.type(255))
    (tmp_path / "table.csv").write_text(
        "file,label,patient_id,scanner,split\nimages/a.png,x,1,GE,training\nb.png,y,1.0,,val\nC:\\z\\c.png,x,,,Test\n"
    )
    with pytest.raises(SonoforgeError, match=r"line 4 names .*c.png"):
        read_dataset(tmp_path)
    text = (tmp_path / "table.csv").read_text().replace("C:\\z\\", "images\\")
    (tmp_path / "table.csv").write_text(text)
    dataset = read_dataset(tmp_path)
    assert [(i.path[-5:], i.group, i.device, i.split, i.masks) for i in dataset.items] == [
        ("a.png", "1", "GE", "train", ("masks/a.png",)),
        ("c.png", None, "", "test", ()),
        ("b.png", "1", "", "train", ()),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_hugging_face_image_folders_have_a_table_in_each_part_of_their_split(tmp_path: Path, name: str) -> None:
    """The layout that https://huggingface.co/docs/datasets/image_dataset describes."""
    for number, part in enumerate(("train", "test")):
        scans(tmp_path / part, first=3 * number)
        (tmp_path / part / name).write_text(table("file_name,label") if name.endswith("csv") else lines())
    dataset = read_dataset(tmp_path)
    assert read(dataset) == {f"{p}/{file}": label for p in ("train", "test") for file, label in LABELS.items()}
    assert {item.split == item.path.split("/")[0] for item in dataset.items} == {True}


def test_tables_called_as_parts_of_a_split_are_one_split(tmp_path: Path) -> None:
    scans(tmp_path)
    (tmp_path / "train.csv").write_text("image,label\na,x\nb,y\n")
    (tmp_path / "test.csv").write_text("image,label\nc,x\n")
    assert {item.path: item.split for item in read_dataset(tmp_path).items} == {
        "a.png": "train", "b.png": "train", "c.png": "test",
    }  # fmt: skip


def test_styleganss_table_goes_before_its_folders_of_numbers(tmp_path: Path) -> None:
    """As its ``dataset_tool.py`` writes them: folders of a thousand images each, classes as numbers."""
    names = {f"0000{i}/img0000000{i}.png": i % 2 for i in range(3)}
    scans(tmp_path, tuple(names))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [[name, label] for name, label in names.items()]}))
    assert read(read_dataset(tmp_path)) == {name: str(label) for name, label in names.items()}


def test_each_further_column_is_a_question_of_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scans(tmp_path)
    path = tmp_path / "findings.csv"
    path.write_text("file,calcified,BI-RADS\na.png,1,4\nb.png,0,\nc.png,1,5\n")
    with pytest.raises(SonoforgeError, match=r"columns calcified, bi-rads .*--data '.*csv:calcified'"):
        read_dataset(tmp_path)
    assert read(read_dataset(f"{path}:calcified")) == {"a.png": "1", "b.png": "0", "c.png": "1"}
    with caplog.at_level(logging.INFO):
        assert read(read_dataset(f"{path}:BI-RADS")) == {"a.png": "4", "c.png": "5"}
    assert "1 image without a label" in " ".join(caplog.text.split())
    with pytest.raises(SonoforgeError, match=r"no column 'birads'.*did you mean"):
        read_dataset(f"{path}:birads")


def write_roboflow(root: Path, *rows: str) -> Path:
    """Its export for classification as CSV: a table in each part of the split, spaces after its commas."""
    for number, part in enumerate(("train", "valid", "test")):
        scans(root / part, first=3 * number)
        lines = [f"{file}, {row}\n" for file, row in zip(LABELS, rows, strict=True)]
        (root / part / "_classes.csv").write_text("filename, benign, malignant\n" + "".join(lines))
    return root


def test_columns_of_0_and_1_are_classes_where_each_row_has_one_1(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        dataset = read_dataset(write_roboflow(tmp_path, "1, 0", "0, 1", "1, 0"))
    parts = {"train": "train", "valid": "train", "test": "test"}
    assert read(dataset) == {f"{part}/{file}": label for part in parts for file, label in LABELS.items()}
    assert {item.path: item.split for item in dataset.items} == {f"{p}/{f}": parts[p] for p in parts for f in LABELS}
    assert "of the columns benign, malignant of" in " ".join(caplog.text.split())


@pytest.mark.parametrize(
    ("rows", "line"), [(("1, 0", "1, 1", "0, 1"), "3 has a 1 in 2"), (("0, 0", "0, 1", "1, 0"), "2 has a 1 in none")]
)
def test_columns_with_several_1s_are_questions_of_their_own(tmp_path: Path, rows: tuple[str, ...], line: str) -> None:
    root = write_roboflow(tmp_path / "set", *rows)
    with pytest.raises(SonoforgeError, match=rf"as line {line} of them; ask one, as --data"):
        read_dataset(root)
    for number, column in enumerate(("benign", "Malignant")):
        expected = {file: row.split(", ")[number] for file, row in zip(LABELS, rows, strict=True)}
        asked = read_dataset(f"{root}:{column}")
        assert read(asked) == {
            f"{part}/{file}": own for part in ("train", "valid", "test") for file, own in expected.items()
        }
        assert {item.split for item in asked.items} == {"train", "test"}
    path = shutil.make_archive(str(tmp_path / "set"), "zip", root)
    zipped = load_images(ImageSource((f"{path}:malignant",), 0, 0, tmp_path / "store")).dataset
    assert read(zipped) == read(asked)
    with pytest.raises(SonoforgeError, match=r"_classes.csv: has no column .cyst., only benign, malignant"):
        read_dataset(f"{root}:cyst")


def test_class_folders_beside_a_table_that_says_something_else_are_refused(tmp_path: Path) -> None:
    scans(tmp_path, ("one/a.png", "two/b.png"))
    path = tmp_path / "labels.csv"
    path.write_text("file,label\na.png,one\nb.png,TWO\n")
    assert read(read_dataset(tmp_path)) == {"one/a.png": "one", "two/b.png": "two"}
    path.write_text("file,label\na.png,benign\nb.png,malignant\n")
    with pytest.raises(SonoforgeError, match=r"says that one/a.png is 'benign'.*--data \S*labels.csv to use the table"):
        read_dataset(tmp_path)
    assert read_dataset(path).classes == ("benign", "malignant")
    path.write_text("file,age,score\na.png,51,2\nb.png,60,3\n")  # no question that anybody asked
    assert read_dataset(tmp_path).classes == ("one", "two")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "file,label\na.png,x\na.png,y\nb.png,y\n", r"line 3 says that a.png is 'y', an earlier line 'x'"),
        ("t.csv", "picture,label\na.png,x\n", r"columns \(picture, label\)"),
        ("t.csv", "file,label\na.png,\n", "its column label has no labels"),
        ("t.csv", "file,label\na.png,x\nb.png,X\n", "as the classes x of the column label of t.csv: a single class"),
        ("t.csv", "file\na.png\n", "has only file"),
        ("t.json", "{", "cannot be read as JSON"),
        ("t.json", "[" * 100000, "cannot be read as JSON"),
        ("t.json", "[[1]]", "entry 1: .1. is not a file"),
        ("t.jsonl", '{"file": "../../etc/passwd", "label": 1}\n', "line 1 names '../../etc/passwd'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_said_in_one_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    scans(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(SonoforgeError, match=message) as caught:
        read_dataset(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_two_tables_that_name_images_are_refused(tmp_path: Path) -> None:
    scans(tmp_path)
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text(table("file,label"))
    with pytest.raises(SonoforgeError, match=r"tables one.csv, two.csv.*--data \S*one.csv"):
        read_dataset(tmp_path)


def test_a_table_of_other_facts_does_not_touch_class_folders(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for seed, name in enumerate(("benign", "malignant")):
        scans(tmp_path / name, ("a.png", "b.png"), 2 * seed)
    facts = "file,diagnosis,birads\nbenign/a.png,not applicable,2\nmalignant/b.png,ductal carcinoma,5\n"
    (tmp_path / "metadata.csv").write_text(facts)
    assert read(read_dataset(tmp_path))["malignant/b.png"] == "malignant"
    assert not caplog.records
    (tmp_path / "metadata.csv").unlink()
    (tmp_path / "metadata.jsonl").write_text('{"text": "benign/a.png", "label": "malignant"}\n')
    assert read(read_dataset(tmp_path))["benign/a.png"] == "benign"
    assert "metadata.jsonl: none of its columns (text, label)" in caplog.text
    slices = scans(tmp_path / "one" / "liver").parent
    (slices / "metadata.csv").write_text("file,volume,slice\nliver/a.png,v1,1\nliver/b.png,v1,2\n")
    assert read_dataset(slices, fewest_classes=1).classes == ("liver",)


# ---- spellings of labels


@pytest.mark.parametrize(
    ("cells", "classes", "said"),
    [
        (["0", "0.0", "1"], ["0", "0", "1"], "'0' and '0.0'"),
        (["1.0", "1", "01"], ["1.0"] * 3, "'1.0' and '1' and '01'"),
        (["1e0", "+1", "2"], ["1e0", "1e0", "2"], "'1e0' and '+1'"),
        (['"1,0"', "1.", "1.000000e+00"], ["1,0"] * 3, "'1,0' and '1.'"),
        (["-0", "0", "-1"], ["-0", "-0", "-1"], "'-0' and '0'"),
        (["True", "TRUE", "true "], ["True"] * 3, "'True' and 'TRUE' and 'true'"),
        (["Benign", "benign", "BENIGN"], ["Benign"] * 3, "'Benign' and 'benign'"),
        (["ｂｅｎｉｇｎ", "benign", "１"], ["ｂｅｎｉｇｎ", "ｂｅｎｉｇｎ", "１"], "count as one"),
        (["bösartig", unicodedata.normalize("NFD", "bösartig"), "x"], ["bösartig", "bösartig", "x"], "count as one"),
        (["no_lesion", "no lesion", "x"], ["no_lesion", "no_lesion", "x"], "'no_lesion' and 'no lesion'"),
        (["BI-RADS 4", "birads4", "x"], ["BI-RADS 4", "birads4", "x"], "look like one class, but count as 2"),
        (["1", "True", "x"], ["1", "True", "x"], "look like one class"),
        (["0", "no", "yes"], ["0", "no", "yes"], "look like one class"),
        (["1.5", "1.50", "15"], ["1.5", "1.50", "15"], ""),
        (["1.10", "1.1", "11"], ["1.10", "1.1", "11"], ""),
        (["HER2+", "HER2-", "HER2"], ["HER2+", "HER2-", "HER2"], ""),
        (["1234567890123456789", "1234567890123456788", "1"], None, ""),
        (["NA", "a", "b"], ["", "a", "b"], "'NA' counts as no label (rows: 1)"),
        (["nan", "NaN", "a"], ["", "", "a"], "'nan' or 'NaN' counts as no label (rows: 2)"),
        (["None", "<NA>", "a"], ["", "", "a"], "(rows: 2)"),
        (["null", "N/A", "a"], ["", "", "a"], "(rows: 2)"),
        (["#N/A", "  ", "a"], ["", "", "a"], "(rows: 1)"),
        (["", "a", "b"], ["", "a", "b"], ""),
        (["unknown", "nano", "nancy"], ["unknown", "nano", "nancy"], ""),
    ],
)
def test_labels_that_differ_only_in_spelling_are_one_class_with_a_word(
    tmp_path: Path, cells: list[str], classes: list[str] | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = "".join(f"{file},{cell}\n" for file, cell in zip(LABELS, cells, strict=True))
    (scans(tmp_path) / "labels.csv").write_text("file,label\n" + text, encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        found = read(read_dataset(tmp_path, fewest_classes=1))
    assert [found.get(file, "") for file in LABELS] == (classes or cells)
    assert said in caplog.text if said else not caplog.records


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.csv", "file_name,label\na.png,NaN\nb.png,1\nc.png,0\n"),
        ("metadata.jsonl", '{"file_name":"a.png","label":NaN}\n{"file_name":"b.png","label":1.0}\n'
         '{"file_name":"c.png","label":0}\n'),
        ("metadata.jsonl", '{"file_name":"a.png"}\n{"file_name":"b.png","label":1}\n{"file_name":"c.png","label":0}\n'),
        ("dataset.json", '{"labels": [["a.png", null], ["b.png", 1], ["c.png", 0.0]]}'),
        ("labels.json", '{"a.png": "NA", "b.png": 1, "c.png": 0}'),
        ("labels.csv", "image,x,y\na.png,,0\nb.png,0,1\nc.png,1,0\n"),
    ],
)  # fmt: skip
def test_what_says_nothing_is_no_label_in_any_format(tmp_path: Path, name: str, text: str) -> None:
    (scans(tmp_path) / name).write_text(text)
    asked = f"{tmp_path / name}:x" if "x,y" in text else tmp_path
    answers = {file: float(label) for file, label in read(read_dataset(asked)).items()}
    assert answers == ({"b.png": 0, "c.png": 1} if "x,y" in text else {"b.png": 1, "c.png": 0})


def test_tables_of_two_parts_spell_numbers_each_in_its_way(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As pandas writes them: a column with a missing cell is one of floats."""
    for number, (part, labels) in enumerate({"train": ("0", "1", "0"), "val": ("0.0", "1.0", "")}.items()):
        scans(tmp_path / part, first=3 * number)
        (tmp_path / part / "labels.csv").write_text(table("file,label", dict(zip(LABELS, labels, strict=True))))
    with caplog.at_level(logging.WARNING):
        dataset = read_dataset(tmp_path)
    assert dataset.classes == ("0", "1") and len(dataset.items) == 5
    assert "'0' and '0.0'; '1' and '1.0'" in caplog.text


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.png,x,1,train\na.png,x,2,train\n", "line 3 gives a.png another group than an earlier line"),
        ("a.png,x,1,train\na.png,x,1,test\n", "line 3 gives a.png another split than an earlier line"),
        ("a.png,x,1,train\na.png,y,1,train\n", "line 3 says that a.png is 'y', an earlier line 'x'"),
        ("a.png,1,1,train\na.png,1.0,1.0,\na.png,,,train\n", ""),
        ("a.png,,1,train\na.png,1,,\n", ""),
    ],
)
def test_rows_that_disagree_about_an_image_are_refused(tmp_path: Path, rows: str, message: str) -> None:
    (scans(tmp_path) / "labels.csv").write_text(f"file,label,patient,split\n{rows}b.png,z,3,test\n")
    if message:
        with pytest.raises(SonoforgeError, match=message):
            read_dataset(tmp_path)
    else:
        dataset = read_dataset(tmp_path)
        assert read(dataset) == {"a.png": "1", "b.png": "z"}
        assert [(item.group, item.split) for item in dataset.items] == [("1", "train"), ("3", "test")]


@pytest.mark.parametrize("name", ["groups.csv", "metadata.csv"])
def test_rows_about_scanners_and_parts_that_disagree_are_refused(tmp_path: Path, name: str) -> None:
    scans(tmp_path, ("x/a.png", "y/b.png"))
    head = "file,group,device,split\n" if name == "groups.csv" else "file,device,split\n"
    group = "1," if name == "groups.csv" else ""
    rows = [f"x/a.png,{group}GE,train", f"y/b.png,{group}GE,test", f"a.png,{group}ge,train"]
    (tmp_path / name).write_text(head + "\n".join(rows))
    assert {item.device.lower() for item in read_dataset(tmp_path).items} == {"ge"}
    for other, word in ((f"a.png,{group}Mindray,train", "device"), (f"a.png,{group}GE,test", "split")):
        (tmp_path / name).write_text(head + "\n".join([*rows[:2], other]))
        with pytest.raises(SonoforgeError, match=f"line 4 gives another {word} than an earlier line; keep one"):
            read_dataset(tmp_path)


def test_a_column_of_something_longer_than_labels_is_refused(tmp_path: Path) -> None:
    """As Label Studio exports boxes: the column is called label, and holds JSON."""
    shapes = '"[{""x"": 1, ""y"": 2, ""width"": 10, ""height"": 20, ""rectanglelabels"": [""lesion""]}]"'
    (scans(tmp_path) / "boxes.csv").write_text("image,label\n" + "".join(f"{name},{shapes}\n" for name in LABELS))
    with pytest.raises(SonoforgeError, match=r"line 2: .* is not a label; name another column"):
        read_dataset(tmp_path)


def test_an_image_in_both_tables_of_a_split_is_refused(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (scans(tmp_path) / f"{part}.csv").write_text("image,label\na,x\nb,y\n")
    with pytest.raises(SonoforgeError, match=r"train.csv: lists a.png, as another table of"):
        read_dataset(tmp_path)


# ---- files that were uploaded elsewhere

PLACES = {
    "/data/upload/3/{mark}-{name}": True,
    "/data/local-files/?d=mine/images/{name}": False,
    "/data/local-files/?d=mine%2F{name}": False,
    "s3://bucket/project/{name}": False,
    "https://labels.example/data/upload/12/{mark}-{name}?token=a/b": True,
}


def as_exported(form: str, labels: dict[str, str]) -> str:
    """The three forms in which Label Studio exports choices."""
    if form == "csv":
        head = "annotation_id,annotator,choice,created_at,id,image,lead_time,updated_at\n"
        return head + "".join(
            f"1,1,{own},2024-01-01,{i},{path},3.1,2024\n" for i, (path, own) in enumerate(labels.items())
        )
    if form == "json-min":
        return json.dumps([{"image": path, "id": i, "choice": own} for i, (path, own) in enumerate(labels.items())])
    result = {"from_name": "choice", "to_name": "image", "type": "choices"}
    box = {"from_name": "where", "type": "rectanglelabels", "value": {"x": 1, "rectanglelabels": ["y"]}}
    return json.dumps([
        {
            "id": i,
            "data": {"image": path},
            "annotations": [
                {"was_cancelled": True, "result": [{**result, "value": {"choices": ["wrong"]}}]},
                {"was_cancelled": False, "result": [box, {**result, "value": {"choices": [own]}}]},
            ],
        }
        for i, (path, own) in enumerate(labels.items())
    ])  # fmt: skip


@pytest.mark.parametrize("form", ["csv", "json-min", "json"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("marked", [True, False])
def test_label_studios_exports_find_the_images_by_name(
    tmp_path: Path, form: str, place: str, marked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    labels = {place.format(mark="0000feef", name=name): label for name, label in LABELS.items()}
    kept = marked and PLACES[place]
    scans(tmp_path / "images", tuple(f"0000feef-{name}" if kept else name for name in LABELS))
    path = tmp_path / f"project-3.{form[:4].strip('-')}"
    path.write_text(as_exported(form, labels))
    for given in (tmp_path, f"{tmp_path}:choice", path, f"{path}:choice"):
        with caplog.at_level(logging.WARNING):
            found = read(read_dataset(given))
        assert {file[-5:]: label for file, label in found.items()} == LABELS
        assert "3 files, as uploaded elsewhere" in caplog.text
        caplog.clear()
    next((tmp_path / "images").glob("*a.png")).rename(tmp_path / "images" / "d.png")
    messages = set()
    for given in (tmp_path, f"{tmp_path}:choice", path, f"{path}:choice"):
        with pytest.raises(SonoforgeError, match=r"names .*a\.png") as caught:
            read_dataset(given)
        messages.add(str(caught.value))
    assert len(messages) == 1


def test_an_uploaded_name_that_two_images_have_is_refused_unless_its_folder_tells_them_apart(tmp_path: Path) -> None:
    scans(tmp_path / "one", ("a.png",))
    scans(tmp_path / "two", ("a.png", "b.png"), 1)
    path = tmp_path / "table.csv"
    path.write_text("image,label\n/data/upload/1/0000feef-a.png,x\n/data/upload/1/0000feef-b.png,y\n")
    with pytest.raises(SonoforgeError, match="line 2 names"):
        read_dataset(path)
    path.write_text("image,label\n/data/local-files/?d=s/one/a.png,x\n/data/local-files/?d=s/two/b.png,y\n")
    assert read(read_dataset(path)) == {"one/a.png": "x", "two/b.png": "y"}
    path.write_text("image,label\n/data/other/a.png,x\n/elsewhere/b.png,y\n")  # not uploaded: another set's, perhaps
    with pytest.raises(SonoforgeError, match="line 2 names"):
        read_dataset(path)


def test_lines_of_json_may_hold_any_text_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    rows = [
        json.dumps({"file_name": file, "caption": "a\u2028b\x85", "label": label}, ensure_ascii=False)
        for file, label in LABELS.items()
    ]
    path = scans(tmp_path) / "metadata.jsonl"
    path.write_text("\r\n\r\n".join(rows) + "\n", encoding="utf-8")
    assert read(read_dataset(f"{path}:label")) == LABELS
    path.write_text("\n".join([*rows[:2], rows[2].replace(":", "", 1)]), encoding="utf-8")
    with pytest.raises(SonoforgeError, match=r"metadata.jsonl: cannot be read as JSON .*line 3"):
        read_dataset(tmp_path)


def test_a_damaged_table_is_named_where_nothing_else_has_classes(tmp_path: Path) -> None:
    (scans(tmp_path) / "metadata.jsonl").write_text(
        '{"file_name": "a.png", "label": "x"}\n{"file_name": "b.png" "y"}\n'
    )
    with pytest.raises(SonoforgeError, match=r"metadata.jsonl: cannot be read as JSON"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(("name", "classes", "images"), [("train_labels", 2, 24), ("r_labels", 2, 17)])
def test_the_tables_of_kept_cases_are_read(shared: Path, tmp_path: Path, name: str, classes: int, images: int) -> None:
    path = shared / "cases" / "labels-float-and-NA" / f"{name}.csv"
    if not path.is_file():
        pytest.skip("the case is not at hand")
    parts = [path] if name == "r_labels" else [path, path.with_name("val_labels.csv")]
    for number, part in enumerate(parts):
        place = tmp_path / part.stem.partition("_")[0] if len(parts) > 1 else tmp_path
        rows = [line.split(",")[0].strip('"') for line in part.read_text().splitlines()[1:]]
        scans(place, tuple(rows), 100 * number)
        shutil.copy(part, place / "labels.csv")
    dataset = read_dataset(tmp_path)
    assert len(dataset.classes) == classes and len(dataset.items) == images
