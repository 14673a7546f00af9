"""The notebook runs as it stands, shows its pictures, and its table is the README's."""

from __future__ import annotations

import re
from pathlib import Path

import nbclient
import nbformat

from places import CHECKOUT

NOTEBOOK = CHECKOUT / "training" / "docs" / "first-look.ipynb"


def test_it_runs_and_finds_the_readmes_figures(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs for cell in cells)  # kept without its answers
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    printed = "".join(own.get("text", "") for cell in cells for own in cell.outputs if own.output_type == "stream")
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    for arm, title in (("real", "real images (System 1)"), ("gan", "real + generated (System 2)")):
        (found,) = re.findall(rf"^{arm} +(0\.\d+) of 780 images$", printed, re.MULTILINE)
        assert f"| **{title}**, ours | sealed 10-fold | {found} [" in readme
    shown = [own.data for cell in cells for own in cell.outputs if "data" in own]
    pages = [data["text/html"] for data in shown if data.get("text/html", "").startswith("<iframe")]
    assert len(pages) == 2 and all("data:image/" in page for page in pages)  # the audit and the comparison
    assert sum("image/png" in data for data in shown) == 2  # samples of the generator; curves
    assert "<All keys matched successfully>" in str(shown)
