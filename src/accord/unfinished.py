"""Parts of a piece of work on disk, each whole or not there: a killed run goes on from them."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from accord.disk import whole
from accord.errors import AccordError

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


def once(parts: Path | None, name: str, make: Callable[[], T]) -> T:
    """What `make` gives, or gave at the first call: a part of some work, kept in a folder.

    >>> once(None, "sum.json", lambda: 1 + 1)
    2

    Args:
        parts: the folder, for a single piece of work on a device in a precision; None to keep nothing.
        name: of the file: NAME.parquet for a table, NAME.safetensors for named tensors, NAME.json for what JSON holds.
    """
    if parts is None:
        return make()
    path = parts / name
    write, read = _KINDS[path.suffix]
    if not path.exists():
        value = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as aside:
            write(value, aside)
    part: T = read(path)
    return part


def belongs(parts: Path | None, to: Mapping[str, Any]) -> None:
    """Note which piece of work a folder of parts belongs to; AccordError if it belongs to another.

    Args:
        to: what fixes the parts, as JSON.
    """
    if parts is None:
        return
    parts.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(json.dumps(to, sort_keys=True, default=str).encode()).hexdigest()
    if once(parts, "made-for.json", lambda: {"sha256": digest})["sha256"] != digest:
        raise AccordError(
            "This folder holds parts of other work: of another model, or of other questions.",
            where=parts,
            fix="name another folder, or remove this one",
        )


def _write_table(table: "pd.DataFrame", path: Path) -> None:
    table.to_parquet(path, index=False)


def _read_table(path: Path) -> "pd.DataFrame":
    import pandas as pd

    return pd.read_parquet(path)


def _write_tensors(tensors: dict[str, Any], path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def _read_tensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    tensors: dict[str, Any] = load_file(path)
    return tensors


def _write_json(content: Any, path: Path) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


_KINDS: dict[str, tuple[Callable[[Any, Path], None], Callable[[Path], Any]]] = {
    ".parquet": (_write_table, _read_table),
    ".safetensors": (_write_tensors, _read_tensors),
    ".json": (_write_json, _read_json),
}
