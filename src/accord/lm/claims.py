"""What a model's files claim to hold, against how large they are: before anything is built, read or reserved for it."""

import copy
import math
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from accord.errors import AccordError

# Of what a model is built of many. Of each there is a tensor, but configurations also name layers that no model has:
# so many more are let through.
_COUNTED = re.compile(r"(^|[._])(layers?|blocks?|block_count|experts?|expert_count|depth)$")
_MORE = 1000
_KINDS = re.compile(r"(types|pattern|layers|blocks)$")  # of what layers may be spelt as [kinds, how often]
_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size")
_LARGEST = 10**7  # of these, and of whatever else is numbered
# Numbers that a model may compute for itself when it is made, such as masks and angles by position, beside four times
# its weights. A mask of 2,048 positions in 24 layers takes 2**27.
_COMPUTED = 2**28
_NUMBERS = 8  # numbers that a byte holds at the most: weights of one bit
# GGUF: bytes of a value by its type; 8 is a text, 9 a list.
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_TEXT, _LIST = 8, 9
# Safetensors: bits of a number by its type; of other types the size is not checked.
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2"), 8),
}


def check_counts(settings: Any, tensors: int, where: Path) -> None:
    """AccordError if a configuration has many more layers or experts than its files have tensors, or none of what any
    model has, or so much of anything that no model does.

    Building each takes time and memory, and with none it would fail later.
    """
    for key, number in _numbers(settings):
        if number > tensors + _MORE and _COUNTED.search(key):
            raise AccordError(
                "This configuration claims more than its files hold.",
                where=where,
                got=f"{key} = {number:,}",
                wanted=f"no more than {tensors:,} tensors have",
                fix="download the model again",
            )
        least = 1 if key in _SIZES else -math.inf
        if (key in _SIZES or key.startswith("num_")) and not least <= number <= _LARGEST:
            wanted = f"{1 if key in _SIZES else 0:,} to {_LARGEST:,}"
            raise AccordError("No model is of this size.", where=where, got=f"{key} = {number!r}", wanted=wanted)
    for key, layers in _repeats(settings):
        if layers > tensors + _MORE:
            raise AccordError(
                "This configuration claims more than its files hold.",
                where=where,
                got=f"{layers:,} layers in {key}",
                wanted=f"no more than {tensors:,} tensors have",
                fix="download the model again",
            )


def _numbers(settings: Any) -> Iterator[tuple[str, float]]:
    """All numbers of a configuration that have a key, however deep."""
    parts = [settings]
    while parts:
        part = parts.pop()
        if isinstance(part, Mapping):
            parts += part.values()
            yield from ((str(key), value) for key, value in part.items() if isinstance(value, int | float))
        elif isinstance(part, list):
            parts += part


def _repeats(settings: Any) -> Iterator[tuple[str, int]]:
    """How many layers are spelt as lists of [kinds, how often], however deep: 24 by [[["global", "local"], 12]]."""
    parts = [("", settings)]
    while parts:
        key, part = parts.pop()
        if isinstance(part, Mapping):
            parts += [(str(name), value) for name, value in part.items()]
        elif isinstance(part, list):
            parts += [(key, value) for value in part]
            pairs = [pair for pair in part if isinstance(pair, list) and len(pair) > 1 and _KINDS.search(key)]
            counts = [(kinds, often) for kinds, often, *_ in pairs if isinstance(kinds, list | str)]
            yield key, sum(len(kinds) * often for kinds, often in counts if isinstance(often, int))


def check_size(kind: Any, config: Any, files: Iterable[Path], where: Path) -> None:
    """AccordError if the model of a configuration has more numbers than its files can hold.

    What they lack would be made at random, however large.

    Args:
        kind: a class of transformers that makes models of a configuration, such as `AutoModelForCausalLM`.
    """
    model = empty_model(kind, config)
    if model is None:  # what is wrong with it, opening it tells
        return
    numbers = sum(math.prod(weight.shape) for weight in model.parameters())
    computed = sum(math.prod(table.shape) for table in model.buffers())
    size = sum(file.stat().st_size for file in files)
    if numbers > _NUMBERS * size or computed > 4 * numbers + _COMPUTED:
        raise AccordError(
            "This configuration claims more than its files hold.",
            where=where,
            got=f"a model of {numbers:,} numbers and {computed:,} that it computes",
            wanted=f"one that {size:,} bytes hold",
            fix="download the model again",
        )


def empty_model(kind: Any, config: Any) -> Any:
    """A model of this configuration without weights; None if it cannot be made so.

    Args:
        kind: as for `check_size`.
    """
    import torch

    try:
        with torch.device("meta"):
            return kind.from_config(copy.deepcopy(config), trust_remote_code=False)
    except Exception:
        return None


def shape_fits(tensor: Mapping[str, Any]) -> bool:
    """Whether the numbers of a tensor in a safetensors header, by its shape and type, take the bytes that it has."""
    (begin, end), bits = tensor["data_offsets"], _BITS.get(tensor["dtype"])
    sizes = tensor["shape"]
    return all(size >= 0 for size in sizes) and (bits is None or math.prod(sizes) * bits == 8 * (end - begin))


def check_gguf(file: Path) -> None:
    """AccordError if a GGUF file claims more entries, tensors or values than its size can hold."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        try:
            _check_gguf(stream, size)
        except (ValueError, struct.error, RecursionError) as error:
            raise AccordError(
                "This GGUF file is damaged or cut short.",
                where=file,
                got=str(error),
                wanted=f"no more than {size:,} bytes hold",
                fix="check that it arrived complete",
            ) from None


def _check_gguf(stream: BinaryIO, size: int) -> None:
    stream.seek(4)
    order = "<" if int.from_bytes(stream.read(2), "little") else ">"
    stream.seek(8)

    def number(form: str) -> int:
        (value,) = struct.unpack(order + form, stream.read(struct.calcsize(form)))
        return int(value)

    def take(count: int, each: int, what: str) -> None:
        if count * each > size - stream.tell():
            raise ValueError(f"{count:,} {what}")

    def skip(kind: int) -> None:
        if kind == _LIST:
            of, count = number("I"), number("Q")
            take(count, _WIDTHS.get(of, 8), "values in a list")
            if of in _WIDTHS:
                stream.seek(count * _WIDTHS[of], 1)
            else:
                for _ in range(count):
                    skip(of)
            return
        length = number("Q") if kind == _TEXT else _WIDTHS.get(kind)
        if length is None:
            raise ValueError(f"a value of type {kind}")
        take(length, 1, "letters")
        stream.seek(length, 1)

    tensors, entries = number("Q"), number("Q")
    take(tensors, 24, "tensors")
    take(entries, 13, "entries")
    for _ in range(entries):
        take(length := number("Q"), 1, "letters in a name")
        name = stream.read(length).decode(errors="replace")
        kind = number("I")
        if kind in (4, 10) and _COUNTED.search(name):
            count = number("I" if kind == 4 else "Q")
            if count > tensors + _MORE:
                raise ValueError(f"{name} = {count:,} of {tensors:,} tensors")
        else:
            skip(kind)
