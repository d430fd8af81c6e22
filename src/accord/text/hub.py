"""Data sets of the hub, and local folders in its layout, read by the package `datasets`."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from accord.disk import is_full, say_full
from accord.errors import AccordError, MissingLibrary
from accord.text.rows import TextRow, choose_split, whole_columns

# What `datasets` reads rows of text with. Others of its kinds open pickled tensors, archives, pictures.
_READERS = ("arrow", "csv", "json", "parquet", "text")


def hub_rows(
    source: str, columns: Sequence[str], *, split: str | None, limit: int | None, seed: int
) -> Iterator[TextRow]:
    """Rows of a data set on the hub ("org/name", or "org/name:config"), or in a local folder in hub layout.

    Args:
        split: which split; by default "train", or the only one there is.
        limit: draw this many rows at random instead of reading all.

    Raises:
        AccordError: the package `datasets` is missing, or the data set, split or column is.
    """
    splits = _splits(source)
    data = splits[choose_split(split, splits, source)]
    data = data.select_columns(whole_columns(columns, data.features.arrow_schema, source))
    numbers: Sequence[int] = range(len(data))
    if limit is not None and limit < len(data):
        numbers = sorted(Random(f"rows {seed}").sample(numbers, limit))
        data = data.select(numbers)
    for number, values in zip(numbers, data, strict=True):
        yield TextRow(f"{source}: row {number + 1}", values)


def fetch_data(source: str) -> None:
    """Fetch a data set of the hub into the hub's own cache; raises AccordError as `hub_rows` does."""
    _splits(source)


def check_installed(source: str) -> None:
    """MissingLibrary unless the package is installed that reads data sets of the hub."""
    if find_spec("datasets") is None:
        problem = "data sets of the hub need the package datasets"
        raise MissingLibrary(problem, got=source, fix="pip install 'accord[hub]'")


def _splits(source: str) -> Any:
    check_installed(source)
    import datasets

    datasets.disable_progress_bars()
    name, _, config = (source, "", "") if Path(source).is_dir() else source.partition(":")
    try:
        reader = datasets.load_dataset_builder(name, config or None).name
        if reader not in _READERS:
            wanted = ", ".join(_READERS)
            raise AccordError("The files of this data set are of a kind that is not read.", got=reader, wanted=wanted)
        return datasets.load_dataset(name, config or None, trust_remote_code=False)
    except AccordError:
        raise
    except Exception as error:  # a dozen classes, some of the HTTP library beneath
        if is_full(error):
            raise say_full(error, fix="free some, or set HF_HOME to a folder on another disk") from error
        raise AccordError(
            "the data set could not be loaded",
            where=source,
            got=(str(error).strip() or type(error).__name__).splitlines()[0],
            wanted='a data set on the hub, "org/name" or "org/name:config", or a local folder in its layout',
        ) from error
