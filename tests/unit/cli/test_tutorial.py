"""The tutorial runs as it stands, and its notebook holds the same cells."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"


def test_the_notebook_holds_the_cells_of_the_script():
    """After a change: `jupytext --to ipynb docs/tutorial.py`."""
    import jupytext
    import nbformat

    written = jupytext.read(DOCS / "tutorial.py")
    notebook = nbformat.read(DOCS / "tutorial.ipynb", as_version=4)
    cells = [[(cell.cell_type, cell.source) for cell in each.cells] for each in (written, notebook)]
    assert cells[0] == cells[1]
    assert not any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.heavy
def test_a_failing_model_ships_in_the_end(tmp_path, monkeypatch):
    """Offline, by the installed package, in an empty folder."""
    import nbformat
    from nbclient import NotebookClient

    for name, place in (("XDG_CACHE_HOME", "cache"), ("IPYTHONDIR", "ipython")):
        monkeypatch.setenv(name, str(tmp_path / place))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    notebook = nbformat.read(DOCS / "tutorial.ipynb", as_version=4)
    work = tmp_path / "work"
    work.mkdir()
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(work)}}
    ).execute()
    told = "\n".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "digits-onnx_int8: failed" in told or "failed: digits-onnx_int8" in told, told[:3000]
    assert "onnx_int8+cle passes" in told
    assert "ship/digits-onnx_int8+cle.onnx" in told
    pages = [
        output.data["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text/html" in output.get("data", {})
    ]
    assert len(pages) == 2
    assert all("<svg" in page for page in pages)
