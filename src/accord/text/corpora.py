"""Where texts come from: any source becomes texts, labels and two sides, and nothing is left out unsaid."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accord.cache import hash_file
from accord.errors import AccordError, nearest
from accord.text.catalog import TEXTS, texts_file
from accord.text.rows import ENDINGS, NOT_UTF8, Row, file_rows, hub_rows


@dataclass(frozen=True)
class Corpus:
    """Texts in random order (fixed by the seed), so that the first thousand stand for all.

    Attributes:
        source: what the user wrote.
        table: a row a text: `text`, `label` (numbers where all labels are, else strings; NaN or None where one is
            missing; the column exists only if asked for), `held_out` (bool), `row` (where it stood in the source).
        rejected: reason -> the places of the rows that were left out for it.
        duplicates: texts that are equal to an earlier one; they are kept, on the side of the first.
        fingerprint: identity of all texts, labels and sides.
    """

    source: str
    table: pd.DataFrame
    rejected: dict[str, list[str]]
    duplicates: int
    fingerprint: str

    @property
    def train(self) -> list[str]:
        """The texts that are not held out, in the order of the table."""
        return list(self.table.loc[~self.table["held_out"], "text"])

    @property
    def held_out(self) -> list[str]:
        """The texts that are held out, in the order of the table."""
        return list(self.table.loc[self.table["held_out"], "text"])

    def describe(self) -> str:
        """One line: how many texts, how many of them held out, and what was left out and why."""
        held_out = int(self.table["held_out"].sum())
        line = f"{self.source}: {len(self.table):,} texts, {held_out:,} of them held out"
        if self.duplicates:
            line += f", {self.duplicates:,} repeat another"
        if self.rejected:
            line += "; left out: " + _reasons(self.rejected)
        return line


def corpus(
    source: str | Path,
    *,
    column: str = "text",
    label: str | None = None,
    split: str | None = None,
    held_out: float = 0.2,
    limit: int | None = None,
    seed: int = 0,
) -> Corpus:
    """Read a corpus and divide it into training and held-out texts.

    A text is on one side as a whole, and equal texts are on the same side.

    Args:
        source: a catalog name (`movie-reviews`, `amazon-reviews`, `news-editorials`, `tweets`); a `.jsonl`, `.csv`,
            `.tsv`, `.parquet` or `.txt` file (each line of a `.txt` is a text) or a glob of them; a data set on the
            hub ("org/name", "org/name:config"); or a local folder in hub layout. What exists as a path wins.
        column: the column of the texts.
        label: a column to keep beside them. The catalog's sets have `sentiment`, and keep it unasked.
        split: which split of a hub data set; by default `train`, or the only one.
        held_out: share of the texts that are held out, from 0 to below 1.
        limit: at most so many texts, drawn at random; of a hub data set, so many rows.
        seed: fixes order, limit and division.

    Raises:
        AccordError: no such source or column, a wrong share or limit, or no text is left.
    """
    if not 0 <= held_out < 1:
        raise AccordError("held_out is a share of the texts", got=held_out, wanted="from 0 to below 1")
    if limit is not None and limit < 1:
        raise AccordError("limit is a number of texts", got=limit, wanted="at least 1")
    name = str(source)
    if name in TEXTS and not Path(name).exists():
        label = label or "sentiment"
    columns = list(dict.fromkeys([column, *([label] if label else [])]))
    texts, labels, places, rejected = _sort_out(_rows(name, columns, split, limit, seed), name, column, label)
    order = Random(f"order {seed}").sample(range(len(texts)), len(texts))[:limit]
    table = pd.DataFrame({"text": [texts[i] for i in order]})
    if label is not None:
        table["label"] = _label_column([labels[i] for i in order])
    sides = _divide(table["text"].tolist(), held_out, seed)
    table["held_out"], table["row"] = sides, [places[i] for i in order]
    duplicates = int(table["text"].duplicated().sum())
    return Corpus(name, table, rejected, duplicates, _fingerprint(table))


def is_local(source: str) -> bool:
    """Whether the source is on this machine, so that looking at it fetches nothing."""
    path = Path(source).expanduser()
    return bool(_files(path)) or (path.is_dir() and bool(source.strip()))


def is_hub_name(source: str) -> bool:
    """Whether this is written like a data set of the hub: "org/name" or "org/name:config"."""
    return bool(re.fullmatch(r"\w[\w.-]*/[\w.-]*\w(:[\w.-]+)?", source)) and Path(source).suffix not in ENDINGS


def source_fingerprint(source: str) -> str:
    """Identity of what a source holds, without reading it as texts; of what is fetched, its name."""
    path = Path(source).expanduser()
    files = _files(path) or (sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [])
    if not files:
        return source
    digest = hashlib.sha256("".join(f"{file.name}\0{hash_file(file)}\n" for file in files).encode())
    return f"files:{digest.hexdigest()[:16]}"


def _rows(source: str, columns: Sequence[str], split: str | None, limit: int | None, seed: int) -> Iterator[Row]:
    path = Path(source).expanduser()
    files = _files(path)
    if (path.is_dir() and source.strip()) or (not files and source not in TEXTS and is_hub_name(source)):
        yield from hub_rows(str(path) if path.is_dir() else source, columns, split=split, limit=limit, seed=seed)
        return
    if not files and source in TEXTS:
        files = [texts_file(source)]
    if not files:
        raise AccordError(
            "There is no such source of texts",
            got=repr(source),
            wanted=nearest(source, TEXTS),
            fix=f'use one of these, a file or glob ({", ".join(ENDINGS)}), or a hub data set "org/name"',
        )
    if split is not None:
        raise AccordError("Only data sets of the hub have splits", where=source, got=f"split = {split!r}")
    for file in files:
        yield from file_rows(file, columns)


def _files(path: Path) -> list[Path]:
    """The file, or the files that the path names as a pattern."""
    if path.is_file() or path.is_dir():
        return [path] if path.is_file() else []
    try:
        return sorted(file for file in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if file.is_file())
    except ValueError:  # "a**b" is no pattern
        return []


def _sort_out(
    rows: Iterator[Row], source: str, column: str, label: str | None
) -> tuple[list[str], list[Any], list[str], dict[str, list[str]]]:
    """Texts, labels, places of the good rows; reason -> places of the others."""
    texts: list[str] = []
    labels: list[Any] = []
    places: list[str] = []
    rejected: dict[str, list[str]] = {}
    seen: set[str] = set()
    for row in rows:
        problem = row.problem or _problem(row, column)
        if problem:
            rejected.setdefault(problem, []).append(row.where)
            seen.update(row.values)
            continue
        texts.append(str(row.values[column]).strip())
        labels.append(row.values.get(label) if label else None)
        places.append(row.where)
    if not texts:
        raise AccordError(
            "No text is left in this corpus",
            where=source,
            got=_reasons(rejected) or "no rows",
            wanted=f"a column {column!r} of texts" + (f"; there is {nearest(column, seen)}" if seen else ""),
        )
    return texts, labels, places, rejected


def _problem(row: Row, column: str) -> str | None:
    """Why a row gives no text, or None if it does."""
    if column not in row.values:
        return f"no column {column!r}"
    text = row.values[column]
    if text is None or text == "":
        return "empty"
    if not isinstance(text, str):
        return "not text"
    if not text.strip():
        return "empty"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a pair, written as an escape: no tokenizer takes it
        return NOT_UTF8
    return None


def _label_column(labels: list[Any]) -> pd.Series:
    """Numbers if all that is there is a number; else strings."""
    present = [None if value is None or str(value).strip() == "" else value for value in labels]
    try:
        numbers = [float("nan") if value is None else float(value) for value in present]
        return pd.Series(numbers, dtype="float64")
    except (TypeError, ValueError):
        return pd.Series([None if value is None else str(value).strip() for value in present], dtype="object")


def _divide(texts: Sequence[str], share: float, seed: int) -> NDArray[np.bool_]:
    """Which texts are held out: equal texts together, the share kept as nearly as that allows."""
    counts: dict[str, int] = {}
    for text in texts:
        counts[text] = counts.get(text, 0) + 1
    order = sorted(counts, key=lambda text: hashlib.sha256(f"{seed}\0{text}".encode()).digest())
    wanted, taken = share * len(texts), 0
    chosen: set[str] = set()
    for text in order[: len(order) - 1]:  # one text at least remains to train on
        if taken + counts[text] / 2 > wanted and (chosen or share == 0):
            break
        chosen.add(text)
        taken += counts[text]
    return np.array([text in chosen for text in texts], dtype=bool)


def _fingerprint(table: pd.DataFrame) -> str:
    columns = [table[name].tolist() for name in ("text", "label", "held_out") if name in table]
    digest = hashlib.sha256()
    for entry in zip(*columns, strict=True):
        digest.update((json.dumps(entry) + "\n").encode())
    return f"texts:{digest.hexdigest()[:16]}"


def _reasons(rejected: dict[str, list[str]]) -> str:
    return ", ".join(f"{len(places):,} {reason} ({places[0]})" for reason, places in sorted(rejected.items()))
