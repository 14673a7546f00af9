"""The notebook runs as it stands, and its table is the README's."""

from __future__ import annotations

import re
from pathlib import Path

import nbclient
import nbformat

from places import CHECKOUT

NOTEBOOK = CHECKOUT / "training" / "docs" / "first-look.ipynb"


def test_it_runs_and_finds_the_readmes_figures(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")  # kept without its answers
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    printed = "".join(
        output.get("text", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream"
    )
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    for arm, title in (("real", "real images (System 1)"), ("gan", "real + generated (System 2)")):
        (found,) = re.findall(rf"^{arm} +(0\.\d+) of 780 images$", printed, re.MULTILINE)
        assert f"| **{title}**, ours | sealed 10-fold | {found} [" in readme
    assert "image/png" in notebook.cells[-2].outputs[-1].data
