"""Tables as Excel, LibreOffice and pandas save them are read; what is none is refused in one line."""

from __future__ import annotations

import gzip
import logging
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonoforge.runtime.csv_tables import (
    Names,
    column_file,
    defused,
    named_files,
    number,
    one_spelling,
    read_table,
    undefused,
)
from sonoforge.runtime.errors import SonoforgeError

ROWS = [{"file": "benign/Müller 1.png", "group": "007"}, {"file": "b/x, y.png", "group": ""}]
PLAIN = 'file,group\nbenign/Müller 1.png,007\n"b/x, y.png",\n'
SEMICOLONS = "file;group\r\nbenign/Müller 1.png;007\r\nb/x, y.png;\r\n"
TABS = SEMICOLONS.replace(";", "\t")

AS_SAVED = {
    "plain": PLAIN.encode(),
    "with a byte order mark": PLAIN.encode("utf-8-sig"),
    "Excel in Germany": SEMICOLONS.encode("utf-8-sig"),
    "Excel's Unicode text": TABS.encode("utf-16"),
    "UTF-16 without a mark": TABS.encode("utf-16-le"),
    "UTF-16 of a Mac without a mark": TABS.encode("utf-16-be"),
    "Excel's CSV before 2016": SEMICOLONS.encode("cp1252"),
    "with a line for Excel": b"sep=;\r\n" + SEMICOLONS.encode(),
    "with such a line in quotes": b'"sep=;"\r\n' + SEMICOLONS.encode(),
    "old Mac": PLAIN.replace("\n", "\r").encode(),
    "spaces": 'file , group\nbenign/Müller 1.png , 007\n "b/x, y.png" ,  \n'.encode(),
    "headings in capitals": PLAIN.replace("file,group", "FILE,Group").encode(),
    "blank rows": PLAIN.replace("\n", "\n\n,,,\n  \n").encode(),
    "rows and columns that were cleared": PLAIN.replace("\n", ",,,\n").encode(),
    "a blank first row": b",,\n" + PLAIN.encode(),
    "vertical bars": SEMICOLONS.replace(";", "|").encode(),
}


@pytest.mark.parametrize("kind", AS_SAVED)
def test_a_table_is_read_however_it_was_saved(tmp_path: Path, kind: str) -> None:
    (tmp_path / "t.csv").write_bytes(AS_SAVED[kind])
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(AS_SAVED[kind]))
    for name in ("t.csv", "t.csv.gz"):
        assert read_table(tmp_path / name, ("file", "group")).rows == ROWS


def refusal(path: Path, *needed: str, whole: bool = False) -> str:
    with pytest.raises(SonoforgeError) as caught:
        read_table(path, needed, whole=whole)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600 and str(path) in message
    return message


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"filegroup\na,b\n", "'filegroup'"),
        (b"file:group\na:b\n", "'file:group'"),
        (b"name,group\na,b\n", "'name', 'group'"),
        (b"", "nothing"),
        (b"file,group\na,b,c\n", "line 2: has 3 cells"),
        (b'file,group\n"a,b\nc,d\n', "line 3"),  # an open quote would swallow every row after it
        (b"file,group,Group\na,b,c\n", "two columns"),
        (b"PK\x03\x04" + bytes(50), "workbook"),
        (b"\xd0\xcf\x11\xe0" + bytes(50), "workbook"),
        (b"file,group\na,\x00\n", "zero"),
        (b"file,group\na,\x81\n", "UTF-8"),
    ],
)
def test_what_is_no_such_table_is_refused_with_what_was_found(tmp_path: Path, data: bytes, found: str) -> None:
    (tmp_path / "t.csv").write_bytes(data)
    assert found in refusal(tmp_path / "t.csv", "file", "group")


def test_folders_pipes_devices_and_torn_archives_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "torn.csv.gz").write_bytes(gzip.compress(os.urandom(4000))[:2000])
    for path in (tmp_path, tmp_path / "pipe.csv", Path("/dev/zero"), tmp_path / "torn.csv.gz", tmp_path / "none.csv"):
        refusal(path)


def test_a_row_that_was_cut_off_counts_only_where_it_may(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n3\n")
    assert read_table(path).rows == [{"a": "1", "b": "2"}, {"a": "3", "b": ""}]
    assert "line 3: has 1 cells for 2" in refusal(path, whole=True)


def test_a_number_has_a_decimal_point_or_comma() -> None:
    assert number("0.25") == number("0,25") == 0.25 and number("1e-3") == 0.001
    for text in ("1,234.5", "1,2,3", "", "x"):
        with pytest.raises(ValueError, match="could not convert"):
            number(text)


def test_names_are_found_in_other_unicode_forms_and_as_windows_writes_them() -> None:
    decomposed = unicodedata.normalize("NFD", "bösartig/Müller.png")
    files = Names([decomposed, "benign/a.png", "benign/b.png", "other/b.png"], "data")
    assert files.find("bösartig\\Müller.png") == decomposed
    found = ("benign\\a.png", r"C:\study\data\benign\a.png", "/home/x/data/benign/a.png", "data/benign/a.png", "a.png")
    for cell in found:
        assert files.find(cell) == "benign/a.png"
    for cell in ("b.png", "elsewhere/benign/a.png", "Benign/a.png"):  # of two; of another folder; of another case
        assert files.find(cell) == cell
    assert "benign/a.png" in files.near("Benign/A.png")


def test_files_are_named_as_they_are_spelled_on_disk(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "bösartig")
    (tmp_path / name).mkdir()
    (tmp_path / name / "1.png").touch()
    (tmp_path / "t.csv").write_text(f"file\nbösartig/1.png\n{tmp_path.name}/bösartig/1.png\n")
    assert set(named_files(tmp_path, read_table(tmp_path / "t.csv").rows)) == {f"{name}/1.png"}


@pytest.mark.parametrize(
    ("cells", "patients"),
    [
        (["1", "1.0", "01", "2", "1,0"], [0, 0, 0, 3, 0]),
        (["007", "7", "70"], [0, 0, 2]),
        (["P7", "p7", "p 7"], [0, 0, 2]),
        (["Ä", unicodedata.normalize("NFD", "ä")], [0, 0]),
        (["1.5", "1.05", "1.50"], [0, 1, 2]),
        (["10", "1", "100"], [0, 1, 2]),
    ],
)
def test_one_patient_in_several_spellings_is_one_with_a_word(
    cells: list[str], patients: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        names = one_spelling(cells, "t.csv")
    assert [cells.index(names[cell]) for cell in cells] == patients
    assert bool(caplog.records) is (patients != list(range(len(cells))))


def test_what_pandas_writes_for_nothing_is_no_patient(caplog: pytest.LogCaptureFixture) -> None:
    assert one_spelling(["nan", "N/A", "", "p1"], "t.csv") == {"nan": "", "N/A": "", "": "", "p1": "p1"}
    one_spelling(["1.23457E+12"], "t.csv")
    assert "'nan', 'N/A'" in caplog.text and "1.23457E+12" in caplog.text


def test_a_table_is_found_whatever_the_case_of_its_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "groups.xlsx").touch()
    assert column_file(tmp_path, "groups") is None and "groups.xlsx" in caplog.text
    (tmp_path / "Groups.CSV").touch()
    assert column_file(tmp_path, "groups") == tmp_path / "Groups.CSV"
    (tmp_path / "groups.csv").touch()
    with pytest.raises(SonoforgeError, match="remove one"):
        column_file(tmp_path, "groups")


@given(st.text() | st.text("'=+-@\t\rx", max_size=6))
def test_a_cell_is_no_formula_and_can_be_read_back(text: str) -> None:
    assert not defused(text).startswith(("=", "+", "-", "@", "\t", "\r"))  # as spreadsheets recognise formulas
    assert undefused(defused(text)) == text
