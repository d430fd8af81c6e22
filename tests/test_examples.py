"""The notebooks run from top to bottom; what they say is asserted in their own last cells."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"
LARGEST = 700_000  # bytes of a notebook with its pictures


@pytest.mark.real
@pytest.mark.parametrize("name", ["repair", "study", "concepts", "gap", "task"])  # the longest first
def test_notebooks_run(name: str, tmp_path: Path) -> None:
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    assert "assert " in [cell.source for cell in notebook.cells if cell.cell_type == "code"][-1]
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()  # raises
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.get("name") == "stderr"]  # no warnings, no progress
    assert [output for output in outputs if "image/png" in output.get("data", {})]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_carry_their_pictures(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output for output in outputs if "image/png" in output.get("data", {})]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert not any(cell.metadata for cell in notebook.cells)  # no times of execution
    assert path.stat().st_size < LARGEST
