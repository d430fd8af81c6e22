"""Reading what stages left on disk: JSON, rows of JSON and tables, each fault one error that names file and key."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from accord.errors import AccordError
from accord.report.data import MANIFEST, Metric

AGAIN = "run the study again, or take the folder away"


def folders(parent: Path) -> list[Path]:
    """Whole stage folders in the order they were started, which is that of the study file."""
    # A stage that is being written has a name with a leading dot: it is not there yet.
    found = [p for p in parent.glob("*") if p.is_dir() and not p.name.startswith(".")]
    return sorted(found, key=lambda p: (_started(p), p.name))


def read_object(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object."""
    return _parsed(_read(path), path)


def read_rows(path: Path, needs: Sequence[str]) -> pd.DataFrame:
    """A file of one JSON object a line, as a table; keys that some rows lack are NaN there."""
    rows = []
    for i, line in enumerate(_read(path).split("\n"), 1):
        if line.strip():
            row = _parsed(line, f"{path}, line {i}")
            need(row, needs, f"{path}, line {i}", "column")
            rows.append(row)
    return pd.DataFrame(rows)


def read_curve(path: Path, needs: Sequence[str]) -> pd.DataFrame | None:
    """A training curve by step, all numbers; None where there is none (what is not trained has none)."""
    table = read_rows(path, needs) if path.is_file() else pd.DataFrame()
    return None if table.empty else table.apply(pd.to_numeric, errors="coerce").sort_values("step")


def read_table(path: Path, needs: Sequence[str], numbers: Sequence[str] = ()) -> pd.DataFrame | None:
    """A parquet table with the columns it must have, `numbers` as floats; None where there is no such file."""
    if not path.is_file():
        return None
    try:
        table = pd.read_parquet(path)
    except Exception as error:  # the parquet reader has no common class for "this is not parquet"
        raise AccordError("This table cannot be read.", where=path, got=error, fix=AGAIN) from error
    need({str(c): None for c in table.columns}, needs, path, "column")
    for column in numbers:
        try:
            table[column] = table[column].astype(float)
        except (TypeError, ValueError) as error:
            problem, got = f"`{column}` must hold numbers.", table[column].dtype
            raise AccordError(problem, where=path, got=got, wanted="float", fix=AGAIN) from error
    return table.reset_index(drop=True)


def as_number(raw: object, name: str, path: object) -> float:
    """A number; null, which is how JSON writes one that is not defined, is NaN."""
    try:
        return math.nan if raw is None else float(str(raw))
    except ValueError as error:
        where = f"{path}, {name}"
        raise AccordError("A metric is not a number.", where=where, got=raw, wanted="a number", fix=AGAIN) from error


def as_whole(raw: object, name: str, path: object) -> int:
    """A whole number, such as a seed."""
    value = as_number(raw, name, path)
    if not value.is_integer():
        raise AccordError(f"`{name}` must be a whole number.", where=path, got=raw, fix=AGAIN)
    return int(value)


def as_metric(raw: object, name: str, path: object) -> Metric:
    """`{"value", "low", "high"}` with nulls where something is not defined."""
    if not isinstance(raw, Mapping):
        where = f"{path}, {name}"
        raise AccordError("A metric lacks its interval.", where=where, got=raw, wanted="{value, low, high}", fix=AGAIN)
    return Metric(*(as_number(raw.get(part), f"{name}.{part}", path) for part in Metric._fields))


def need(have: Mapping[str, Any], needs: Sequence[str], where: object, noun: str) -> None:
    """Raise AccordError if keys or columns are missing."""
    missing = [name for name in needs if name not in have]
    if missing:
        raise AccordError(
            f"This file lacks {f'a {noun}' if len(missing) == 1 else f'{noun}s'}.",
            where=where,
            got=", ".join(map(str, have)),
            wanted=", ".join(missing),
            fix=AGAIN,
        )


def _started(folder: Path) -> str:
    path = folder / MANIFEST
    return str(read_object(path).get("started", "")) if path.is_file() else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise AccordError("This file cannot be read.", where=path, got=error, fix=AGAIN) from error


def _parsed(text: str, where: object) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise AccordError("This is not JSON.", where=where, got=error, fix=AGAIN) from error
    if not isinstance(found, dict):
        raise AccordError("This must be an object.", where=where, got=type(found).__name__, wanted="{…}", fix=AGAIN)
    return found
