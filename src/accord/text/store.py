"""The sharded store of token embeddings: what lies in its folder, written whole, checked by size and SHA-256.

    store.json              what the store holds and by which settings it was made, and a hash of that
    shard-00000.safetensors layer.L [n, d_model] for each layer L; token, next, text, position [n], int32
    shard-00000.json        bytes and sha256 of the shard: one without it does not count

Row i of a shard is one token of one text, in the order of the texts. `token` is its id, `next` the id that follows
in the text (-1 at its end), `text` the number of the text in the list that was given, `position` its place among the
text's tokens, from 0. Any safetensors reader opens a shard by itself.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from accord import unfinished
from accord.cache import kept_hash
from accord.disk import sha256, write_whole
from accord.errors import AccordError
from accord.spread import NothingFree, is_helper

FORMAT = 1
NO_NEXT = -1
"""What `next` says of the last token of a text: nothing follows, so no head can be trained there."""

STORE = "store.json"
_LABELS = 16  # bytes of a row's token, next, text and position


@dataclass(frozen=True)
class Layout:
    """What a store will hold, known before anything is computed.

    Attributes:
        settings: everything that fixes the numbers: model, texts, layers, cuts, dtype.
        d_model: width of an embedding.
        shards: tokens of each shard.
        texts: texts that have at least one token in the store.
        left_out: what is not in it: `empty` texts without a token, texts `beyond` the budget of tokens, tokens
            `cut` off by the length or the budget from texts that are in it.
    """

    settings: Mapping[str, Any]
    d_model: int
    shards: list[int]
    texts: int
    left_out: dict[str, int]
    format: int = FORMAT


class EmbeddingStore:
    """A whole store, opened for reading; nothing is loaded before it is read.

    Before a shard is first read its hash is compared with the one that was noted when it was written. The hash is kept
    in accord's cache until the file changes, so that a store is hashed once on a machine.

    Attributes:
        folder: where it lies.
        layout: what it holds.
        layers, d_model, tokens: its layers, width of an embedding, rows of all shards together.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = folder = Path(folder)
        layout = read_layout(folder)
        if layout is None:
            raise AccordError("This folder holds no embeddings that this version can read", where=folder)
        self.layout = layout
        self.layers = tuple(layout.settings["layers"])
        self.d_model = layout.d_model
        self.tokens = sum(layout.shards)
        self._hashed: set[int] = set()
        missing = [i for i in range(len(layout.shards)) if not _is_there(folder, i)]
        if missing:
            raise AccordError(
                "These embeddings are not whole",
                where=folder,
                got=f"{len(layout.shards) - len(missing)} of {len(layout.shards)} shards; missing: {_name(missing[0])}",
                fix="run the extraction again: it goes on from the shards that are there",
            )

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one embedding."""
        return self.d_model * int(getattr(torch, self.layout.settings["dtype"]).itemsize)

    def shard(self, number: int, layer: int) -> dict[str, Tensor]:
        """The tensors of a shard: `x` [n, d_model], `token`, `next`, `text`, `position` [n].

        They are mapped from the file: only the rows that are read are loaded, and the system may drop them again.

        Raises AccordError if the store has no such layer, or the shard is damaged.
        """
        if layer not in self.layers:
            raise AccordError(
                "This layer was not extracted", where=self.folder, got=layer, wanted=", ".join(map(str, self.layers))
            )
        try:
            self._check(number)
            with safe_open(shard_file(self.folder, number), "pt") as file:
                labels = {name: file.get_tensor(name) for name in ("token", "next", "text", "position")}
                return {"x": file.get_tensor(f"layer.{layer}"), **labels}
        except (SafetensorError, OSError) as error:
            where = shard_file(self.folder, number)
            raise AccordError("Embeddings are damaged", where=where, got=error, fix="extract them again") from error

    def _check(self, number: int) -> None:
        """AccordError if a shard is not as it was written; told once, as it is long to read."""
        path, wanted = self.folder / _name(number), _read_note(self.folder, number).get("sha256")
        if number in self._hashed:
            return
        # A kept hash may be damaged itself: only the shard can say that it was changed.
        if kept_hash(path) != wanted and sha256(path) != wanted:
            fix = "extract them again"
            raise AccordError("Embeddings are damaged", where=path, got="changed since it was written", fix=fix)
        self._hashed.add(number)

    def verify(self) -> None:
        """Compare every shard with its hash (reads everything); AccordError if one is damaged."""
        damaged = [_name(i) for i in range(len(self.layout.shards)) if not is_intact(self.folder, i)]
        if damaged:
            raise AccordError(
                "Embeddings are damaged",
                where=self.folder,
                got=", ".join(damaged),
                fix="run the extraction again: it makes these shards anew",
            )


def store_bytes(tokens: int, d_model: int, layers: int, dtype: str) -> int:
    """Bytes that the embeddings of so many tokens take on the disk, at so many layers.

    >>> store_bytes(tokens=1000, d_model=512, layers=2, dtype="bfloat16")
    2064000
    """
    return tokens * (layers * d_model * int(getattr(torch, dtype).itemsize) + _LABELS)


def read_layout(folder: Path) -> Layout | None:
    """What a folder's store is to hold, or None if there is no store of this format in it, or it is damaged."""
    try:
        content = json.loads((folder / STORE).read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not unfinished.passes_check(content):
            return None
        layout = Layout(**unfinished.without_check(content))
        numbers = [layout.d_model, *layout.shards, *layout.settings["layers"]]
        whole = all(isinstance(number, int) and number >= 0 for number in numbers)
        return layout if whole and layout.format == FORMAT else None
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, RecursionError):
        return None


def prepare(folder: Path, layout: Layout) -> None:
    """Make `folder` ready for the shards of `layout`, keeping those that it has.

    Where the layout of those is damaged, nobody knows what they are shards of: they are removed.

    Raises AccordError if the folder holds something else.
    """
    content = asdict(layout)
    if (there := read_layout(folder)) == Layout(**json.loads(json.dumps(content))):
        return
    if is_helper():  # whoever makes the store has not begun with it
        raise NothingFree
    if there is None and _is_damaged(folder):
        for path in (*folder.glob("shard-*"), folder / STORE):
            unfinished.discard(path, f"{STORE} is not as it was written")
    if any(folder.glob("shard-*")) or (folder / STORE).exists():
        raise AccordError(
            "This folder holds embeddings of other settings or texts",
            where=folder,
            fix="name another folder, or remove this one",
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / STORE, unfinished.with_check(content))


def is_intact(folder: Path, number: int) -> bool:
    """Whether a shard is there with the size and the SHA-256 that were noted when it was written."""
    return _note_file(folder, number).exists() and unfinished.is_intact(
        shard_file(folder, number), _note_file(folder, number)
    )


def is_made(folder: Path, number: int) -> bool:
    """Whether a shard need not be computed. A helper looks at its size alone: whoever makes the store reads it all."""
    return _is_there(folder, number) if is_helper() else is_intact(folder, number)


def discard(folder: Path, number: int) -> None:
    """Throw a damaged shard away, and say so; nothing, where there is none."""
    unfinished.discard(shard_file(folder, number))


def write_shard(folder: Path, number: int, tensors: Mapping[str, Tensor]) -> None:
    """Write a shard aside, bring it to the disk, note its size and hash, and put it in place.

    Raises DiskFull if there is no room for it.
    """
    size = sum(tensor.nbytes for tensor in tensors.values())
    with unfinished.kept(shard_file(folder, number), note=_note_file(folder, number), expected=size) as aside:
        save_file(dict(tensors), aside)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole."""
    write_whole(path, json.dumps(content, indent=1) + "\n")


def texts_fingerprint(texts: list[str]) -> str:
    """Identity of a list of texts."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _is_damaged(folder: Path) -> bool:
    """Whether a store's layout is there and is not what it was when it was written, by its hash or as JSON."""
    try:
        content = json.loads((folder / STORE).read_text(encoding="utf-8"))
    except OSError:
        return False
    except ValueError:
        return True
    return not isinstance(content, dict) or not unfinished.passes_check(content)


def shard_file(folder: Path, number: int) -> Path:
    """Where a shard is, or will be."""
    return folder / _name(number)


def _name(number: int) -> str:
    return f"shard-{number:05}.safetensors"


def _note_file(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05}.json"


def _read_note(folder: Path, number: int) -> dict[str, Any]:
    try:
        content = json.loads(_note_file(folder, number).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_there(folder: Path, number: int) -> bool:
    path = shard_file(folder, number)
    return path.is_file() and path.stat().st_size == _read_note(folder, number).get("bytes")
