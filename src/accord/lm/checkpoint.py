"""Do the files of a model hold the model that its config.json describes, whole and once? Else nothing is opened.

transformers fills what the files lack with random numbers, and drops what it has no place for, with a line in its log.
Either way another model is measured than the folder holds.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from accord.disk import read_object
from accord.errors import AccordError
from accord.lm.claims import shape_fits
from accord.lm.fingerprint import ADAPTER_WEIGHTS
from accord.lm.quantization import quantization_config

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# Parts beside a language model that it does not run itself, by the name that those who train them give them: layers
# that guess several tokens ahead, and the value head of PPO ...
_AHEAD = re.compile(r"(^|\.)(mtp\w*|nextn\w*|medusa\w*|v_head)\.")
# ... and heads of a reward model or classifier, spare only where the files hold a head for next tokens, too.
_HEADS = {"score", "classifier", "value_head", "reward_head", "regression_head"}
_LARGEST = 2**50  # bytes of a file
_LONGEST_HEADER = 100_000_000  # bytes, as safetensors has it
# Causal masks that old files hold as if they were weights; the model makes its own.
_MASKS = re.compile(r"\.(attn|attention)\.(bias|masked_bias)$")
_NAMED = 4  # keys that an error names
_AGAIN = "download the model again"

Header = Mapping[str, Mapping[str, Any]]


def weight_files(folder: Path) -> list[Path]:
    """The files of a folder's weights.

    Raises:
        AccordError: there are none, or two sets of them; a file is missing, damaged or cut short; or the index does not
            tell what lies in them.
    """
    names = {file.name for file in folder.iterdir()}
    shards: dict[str, str] = {}
    if INDEX in names:
        shards = _index(folder / INDEX)
        if missing := sorted(set(shards.values()) - names):
            fix = "download the model again"
            raise AccordError(
                "This folder lacks some of its weights.", where=folder, got=f"no {', '.join(missing)}", fix=fix
            )
    files = sorted(set(shards.values()) or {WEIGHTS} & names)
    sharded_otherwise = [name for name in names if re.match(r"shard-\d{5}-model-", name)]
    if (WEIGHTS in names and WEIGHTS not in files) or (files and sharded_otherwise):
        other = WEIGHTS if WEIGHTS in names else sharded_otherwise[0]
        raise AccordError(
            "This folder holds two sets of weights.",
            where=folder,
            got=f"{files[0]} and {other}",
            fix="keep the one that is meant, and move the other away",
        )
    headers = {name: read_header(folder / name) for name in files}
    _check_index(folder, shards, headers)
    return [folder / name for name in files]


def adapter_weights(folder: Path) -> Path:
    """The file of an adapter's weights, which peft opens; it would open a pickled one, too, where this is gone.

    Raises AccordError if it is gone, or pickled, or damaged.
    """
    file = folder / ADAPTER_WEIGHTS
    if not file.is_file():
        pickled = any(folder.glob("adapter_model.*"))
        state = "pickled: refused, since opening them may run any code" if pickled else "gone"
        raise AccordError(
            f"This adapter's weights are {state}.",
            where=folder,
            wanted=ADAPTER_WEIGHTS,
            fix="save it again with save_pretrained (safetensors), somewhere without secrets" if pickled else None,
        )
    read_header(file)
    return file


def read_header(file: Path) -> Header:
    """Name, dtype, shape and place of each tensor of a safetensors file; none of their bytes are read.

    Raises AccordError if the file is no such file, or ends before its tensors do.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        begin = stream.read(8)
        length = int.from_bytes(begin, "little")
        text = stream.read(length) if len(begin) == 8 and length <= min(size, _LONGEST_HEADER) else b""
    try:
        tensors = json.loads(text)
        tensors.pop("__metadata__", None)
        end = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
        end = end if all(map(shape_fits, tensors.values())) else -1
    except (ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError):
        end = -1
    if end == size and _is_sound(file):
        return dict(tensors)
    pointer = begin.startswith(b"version ")
    raise AccordError(
        "This file of weights is damaged or cut short.",
        where=file,
        got="a pointer of git-lfs, in place of the weights" if pointer else f"{size:,} bytes",
        wanted=f"{end:,} bytes" if type(end) is int and size < end < _LARGEST else "a safetensors file",
        fix="git lfs pull" if pointer else "download the model again",
    )


def _is_sound(file: Path) -> bool:
    """Whether the header of a safetensors file tells of whole tensors, one after another, of types that there are."""
    try:
        with safe_open(file, "np"):
            return True
    except SafetensorError:
        return False


def check_loaded(model: Any, notes: Mapping[str, Any], config: Any, folder: Path) -> None:
    """AccordError unless a model was filled by its files, and its files hold nothing that it should have run.

    Args:
        notes: the loading report of transformers (`output_loading_info`).
        config: of the folder, as `AutoConfig` reads it; if the model is only its text part, `model.config` differs.
    """
    headers = [read_header(file) for file in weight_files(folder)]
    tensors = {key: tensor for header in headers for key, tensor in header.items()}
    problems = {
        "the files lack": sorted(notes["missing_keys"]),
        "other shapes in the files": [
            f"{key} {tuple(stored)}, wanted {tuple(own)}" for key, stored, own in sorted(notes["mismatched_keys"])
        ],
        "the files hold, and the model has no place for": _unplaced(model, notes["unexpected_keys"], tensors, config),
        "stored as numbers that need a scale, which config.json does not tell of": _unscaled(config, tensors),
    }
    if got := [f"{what}: {_named(keys)}" for what, keys in problems.items() if keys]:
        raise AccordError(
            "The weights in this folder are not those of the model that its config.json describes.",
            where=folder,
            got="; ".join(got),
            wanted=f"every weight of {type(model).__name__}, and no other",
            fix="download or convert the model again; what is missing would be filled with random numbers",
        )


def unjoined(log: Iterable[str]) -> str:
    """In words, the weights that transformers could not make of those in the files (it stacks experts, for example).

    Args:
        log: messages of its log, where its report has a row for each such weight. Nothing else names them.
    """
    keys = [key for message in log for key in re.findall(r"^(\S.*?)\s*\| CONVERSION", message, re.MULTILINE)]
    return f"the files lack parts of {_named(keys)}" if keys else ""


def _named(keys: list[str]) -> str:
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return f"{len(keys)} ({', '.join(keys[:_NAMED])}{more})"


def _index(file: Path) -> dict[str, str]:
    shards = read_object(file, "weight_map", fix=_AGAIN)["weight_map"]
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()) or not shards:
        raise AccordError("The index of the weights cannot be read.", where=file, fix=_AGAIN)
    # By any other ending transformers would take a shard for pickled, and open it so.
    if other := sorted(name for name in shards.values() if not name.endswith(".safetensors")):
        problem = "The index of the weights names files that are not safetensors: refused."
        raise AccordError(problem, where=file, got=other[0], wanted="safetensors")
    return shards


def _check_index(folder: Path, shards: Mapping[str, str], headers: Mapping[str, Header]) -> None:
    """Every tensor lies only in the shard that the index names for it."""
    where: dict[str, str] = {}
    wrong: list[str] = []
    for name, header in headers.items():
        wrong += [f"{key} lies in {where[key]} and in {name}" for key in header if key in where]
        where |= dict.fromkeys(header, name)
    if shards:
        wrong += [f"{key} is not in {name}" for key, name in shards.items() if key not in headers[name]]
        wrong += [f"{key} in {name} is not in the index" for key, name in where.items() if key not in shards]
    if wrong:
        raise AccordError(
            "The index of the weights does not tell what lies in them.",
            where=folder / INDEX,
            got=_named(sorted(wrong)),
            fix="download or save the model again",
        )


def _unplaced(model: Any, keys: Iterable[str], tensors: Header, config: Any) -> list[str]:
    """Keys that the model has no place for and that are not known to be spare."""
    keys = sorted(keys)
    if not keys:
        return []
    towers, headed, ahead = _towers(model, config), _has_head(model, tensors), _layers_ahead(model, tensors)
    buffers = {name for name, _ in model.named_buffers()}

    def spare(key: str) -> bool:
        parts = set(key.split(".")[:3])
        if parts & _HEADS:
            return headed
        if _MASKS.search(key):
            shape = tensors[key]["shape"] if key in tensors else [0]
            return shape[:-2] == [1, 1] or math.prod(shape) == 1
        return bool(_AHEAD.search(key) or key in buffers or parts & towers or _layer(key) in ahead)

    return [key for key in keys if not spare(key)]


def _has_head(model: Any, tensors: Header) -> bool:
    """Whether the files hold a head for next tokens, which is not the embeddings."""
    head = model.get_output_embeddings()
    names = [name for name, module in model.named_modules(remove_duplicate=False) if module is head]
    return any(key == f"{name}.weight" or key.endswith(f".{name}.weight") for name in names for key in tensors)


def _towers(model: Any, config: Any) -> set[str]:
    """Names of the parts for images or sound that the folder's own kind of model has beside the text part."""
    import torch
    import transformers

    kind = getattr(transformers, (getattr(config, "architectures", None) or [""])[0], None)
    if kind is None or kind is type(model) or type(config) is type(model.config):
        return set()
    try:
        with torch.device("meta"):
            whole = kind(config)
    except Exception:  # a kind that cannot be made from this config: then nothing of it is known to be spare
        return set()
    return _children(whole) - _children(model)


def _children(model: Any) -> set[str]:
    trunk = getattr(model, model.base_model_prefix, model)
    return {name for part in (model, trunk) for name, _ in part.named_children()}


def _layers_ahead(model: Any, tensors: Header) -> set[int]:
    """Numbers of the layers after the last block that guess tokens further ahead (DeepSeek, GLM).

    Such a layer joins the state with the next token's embedding: it holds a projection for that, which no block has.
    A layer with the weights of a block and no others is a block, which a wrong `num_hidden_layers` cuts off.
    """
    config = model.config.get_text_config()
    first = int(config.num_hidden_layers)
    contents: dict[int, set[str]] = {}
    for key in tensors:
        if (number := _layer(key)) is not None:
            inside = key.partition(f".{number}.")[2]
            contents.setdefault(number, set()).add(re.sub(r"\d+", "N", inside))
    blocks = set().union(*(inside for number, inside in contents.items() if number < first))
    ahead = range(first, first + (getattr(config, "num_nextn_predict_layers", None) or 0))
    return {number for number in ahead if contents.get(number, set()) - blocks}


def _layer(key: str) -> int | None:
    number = re.search(r"\.(\d+)\.", key)
    return None if number is None else int(number[1])


def _unscaled(config: Any, tensors: Header) -> list[str]:
    """Weights stored in a type that means nothing without scales, where config.json tells of none."""
    if quantization_config(config) is not None:
        return []
    return sorted(
        f"{key} ({tensor['dtype']})"
        for key, tensor in tensors.items()
        if key.endswith("weight") and tensor["dtype"] not in {"F64", "F32", "F16", "BF16"}
    )
