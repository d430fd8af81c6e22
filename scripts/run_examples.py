"""Run the notebooks in examples/ and keep their outputs in them, without anything that differs from run to run.

python scripts/run_examples.py [NAME ...]    (needs the dev extra; a minute each on two cores)
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(path: Path) -> None:
    """Execute a notebook from top to bottom in an empty folder, and write it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as empty:
        NotebookClient(notebook, timeout=None, record_timing=False, resources={"metadata": {"path": empty}}).execute()
    for cell in notebook.cells:
        cell.metadata.clear()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(path.stem for path in EXAMPLES.glob("*.ipynb")):
        run(EXAMPLES / f"{name}.ipynb")
