"""Any language model by name, folder or object: a backbone, or a folder of a kind that a capability writes."""

import hashlib
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.arguments import checked
from accord.cache import kept_hash
from accord.disk import path_of
from accord.errors import AccordError
from accord.unfinished import check_finished

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from accord.lm import LanguageModel

FOLDERS: dict[str, str] = {
    "probe.safetensors": "accord.heads.folder",
    "repair.json": "accord.repair.folder",
}
"""A file that every folder of a kind of model has -> the module that opens it: its `is_model(folder)` looks closer,
`load_folder(folder, device=, dtype=)` loads it, `base_of(folder)` names the model that it stands on, `MARK` and `FILES`
are its name and its own files (patterns) in a fingerprint. A module is imported when a folder has its file.
"""


@checked
def load(
    model: Any,
    tokenizer: Any = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
) -> "LanguageModel":
    """Load a language model.

    >>> lm = accord.load("smollm2-135m")
    >>> lm
    Backbone smollm2-135m: 135 million weights, float32 on cpu
      30 layers of width 576, 49,152 tokens
      .hidden(ids), .lens(states); accord.measure_gap(lm, task), accord.score(lm, queries)

    Args:
        model: a catalog name, a hub id, a local folder or a `.gguf` file; or a folder of a PEFT adapter, of a concept
            language model, such as `runs/NAME/heads/topk-latents-new-s0`, or of a repaired model,
            `runs/NAME/repair/rankalign-s0`, or the hub id of such a folder. Or a model of transformers or peft that is
            in memory: it is put into eval mode, and stays where it is and as it is.
        tokenizer: of a model in memory; any other brings its own.
        device: "auto" (a GPU when there is one; several when one cannot hold the model), "cpu", "cuda", "cuda:1",
            "mps". Or several with commas between them, which share the weights: "cuda:0,cuda:1", "auto,cpu" (all cards,
            and main memory for what these cannot hold), "auto,cpu,disk". "cuda:0=40GB" takes no more than that.
        dtype: of the backbone: "auto" (float32 on a CPU, bfloat16 on a GPU), "float32", "bfloat16" or "float16".
        revision: of a hub id: a branch, tag or commit; the newest by default.

    Raises:
        AccordError: the model is unknown, broken or unsafe to load, or fails its proofs.
    """
    if not isinstance(model, str | Path):
        return _in_memory(model, tokenizer, device, dtype)
    if tokenizer is not None:
        raise AccordError("a tokenizer is given for a model in memory only", got=model, fix="leave it out")
    if revision is not None and not is_hub_id(str(model)):
        raise AccordError("only a hub id has revisions", got=f"{model}, revision {revision}", fix="leave revision out")
    folder = folder_of(model, revision=revision)
    if (opener := _opener(folder)) is not None:
        lm: LanguageModel = opener.load_folder(folder, device=device, dtype=dtype)
        if lm.name == str(folder):
            lm.name = str(model)  # not a place in the hub's cache
        return lm
    from accord.lm import load as load_backbone

    return load_backbone(model, device=device, dtype=dtype, revision=revision)


def folder_of(model: str | Path, *, revision: str | None = None, fetch: bool = True) -> Path:
    """Where the files of a model lie: its path; or, of a hub id, the copy of it in the hub's cache.

    A hub id that cannot be found there is given back as it is: what opens it tells what is wrong.

    Args:
        revision: of a hub id: a branch, tag or commit; the newest by default.
        fetch: fetch it, or the newest of it, if it is not on this machine; else what is here counts.
    """
    path = path_of(model)
    if not is_hub_id(str(model)):
        return path
    from accord.lm.catalog import snapshot

    try:
        folder = snapshot(str(model), revision, fetch=fetch)
        if any((folder / file).is_file() for file in FOLDERS):
            snapshot(str(model), revision, fetch=fetch, concepts=True)
    except AccordError:
        return path
    return folder


def _in_memory(model: Any, tokenizer: Any, device: str, dtype: str) -> "LanguageModel":
    from transformers import PreTrainedModel

    from accord.lm.opening import in_memory

    if not isinstance(model, PreTrainedModel) and not hasattr(model, "peft_config"):
        raise AccordError(
            "accord.load takes no such thing",
            got=type(model).__name__,
            wanted="a name, a folder, or a model of transformers or peft with its tokenizer",
        )
    if (device, dtype) != ("auto", "auto"):
        fix = "move or convert it yourself, then load it"
        raise AccordError("a model in memory stays where it is, in its precision", got=f"{device}, {dtype}", fix=fix)
    return in_memory(model, tokenizer)


def load_tokenizer(model: str, *, fetch: bool = True) -> "PreTrainedTokenizerBase":
    """The tokenizer that `load` gives a model, without its weights.

    Args:
        fetch: see `fingerprint`.

    Raises:
        AccordError: no such model, or it has no tokenizer that can be read.
    """
    folder = folder_of(model, fetch=fetch)
    if (opener := _opener(folder)) is not None:
        return load_tokenizer(opener.base_of(folder), fetch=fetch)
    from accord.lm.opening import load_tokenizer as tokenizer_of

    return tokenizer_of(model, fetch=fetch)


def fingerprint(model: str, *, fetch: bool = True) -> str:
    """Identity of a model's weights; loads nothing.

    Args:
        fetch: fetch it, or the newest of it, if it is not on this machine; else what is here counts.
    """
    folder, digest = folder_of(model, fetch=fetch), hashlib.sha256()
    if (opener := _opener(folder)) is None:
        from accord.lm.catalog import resolve

        return resolve(model, fetch=fetch).fingerprint
    for path in sorted({path for pattern in opener.FILES for path in folder.glob(pattern)}):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{kept_hash(path)}\n".encode())
    return f"{opener.MARK}:{digest.hexdigest()[:16]}"


def check_model(model: str) -> None:
    """AccordError unless `model` is in the catalog, written like a hub id, or a folder or file that can be loaded.

    Fetches nothing.
    """
    from accord.lm.catalog import CATALOG, adapter_base, is_adapter, resolve

    path = path_of(model)
    check_finished(path)
    opener = _opener(model)
    if is_adapter(path) and opener is None:
        base = adapter_base(path)
        if Path(base) != path.resolve():
            check_model(base)
        return
    would_fetch = model in CATALOG or is_hub_id(model) or (path.suffix.lower() == ".gguf" and path.is_file())
    if (path.is_dir() and opener is None) or not (would_fetch or path.is_dir()):
        resolve(model)


def is_here(model: str) -> bool:
    """Whether a model that `check_model` lets through, and all that it stands on, is on this machine."""
    from accord.lm.catalog import CATALOG, adapter_base, is_adapter, is_cached

    path = path_of(model)
    folder = folder_of(model, fetch=False)
    if (opener := _opener(folder)) is not None:
        return is_here(str(opener.base_of(folder)))
    if is_adapter(path) and Path(base := adapter_base(path)) != path.resolve():
        return is_here(base)
    if path.exists():
        return True
    return CATALOG[model].on_disk is not None if model in CATALOG else is_cached(model)


def is_hub_id(model: str) -> bool:
    """Whether this is written like a model of the hub, "org/name", and no path has this name.

    >>> is_hub_id("org/name"), is_hub_id("smollm2-135m"), is_hub_id("models/own.gguf")
    (True, False, False)
    """
    like_a_hub_id = re.fullmatch(r"\w[\w.-]*/[\w.-]*\w", model) is not None and not model.lower().endswith(".gguf")
    return like_a_hub_id and not path_of(model).exists()


def shape(model: str, *, fetch: bool = True) -> tuple[int, int | None]:
    """Layers of a backbone, and the width of its states where its config.json says it.

    Args:
        fetch: see `fingerprint`.
    """
    from accord.lm.catalog import CATALOG, resolve

    if model in CATALOG and not Path(model).exists():
        return CATALOG[model].layers, CATALOG[model].width
    from accord.lm.opening import read_config

    text = read_config(resolve(model, fetch=fetch).folder).get_text_config()
    return int(text.num_hidden_layers), getattr(text, "hidden_size", None)


def check_opens(model: str) -> None:
    """AccordError if a model that is on this machine is of no type that can be opened, or has no tokenizer.

    Reads its configuration and no weights, so that a broken model is refused before others have worked for hours.
    """
    from accord.lm.catalog import CATALOG, resolve

    folder = folder_of(model, fetch=False)
    if (opener := _opener(folder)) is not None:
        return check_opens(str(opener.base_of(folder)))
    if model not in CATALOG and is_here(model):
        from accord.lm.opening import check_files

        check_files(resolve(model, fetch=False))
    return None


def vocabulary_size(model: str, *, fetch: bool = True) -> int | None:
    """Tokens that a backbone has a logit for, where its config.json says it.

    Args:
        fetch: see `fingerprint`.
    """
    from accord.lm.catalog import CATALOG, resolve

    if model in CATALOG and not Path(model).exists():
        return CATALOG[model].vocab
    from accord.lm.opening import read_config

    size = getattr(read_config(resolve(model, fetch=fetch).folder).get_text_config(), "vocab_size", None)
    return None if size is None else int(size)


def weights_bytes(model: str, *, device: str = "auto", dtype: str = "auto") -> int:
    """Bytes that a model's weights take in memory, by the headers of its files; 0 where nothing tells.

    Those of the catalog are known before they are fetched, and those of the hub where it says how many numbers they
    are. Of a folder that a capability writes, it is those of the model that it stands on.

    Raises AccordError if its files cannot be read, or there is no such device.
    """
    from accord.hub import parameters
    from accord.lm.catalog import CATALOG, resolve
    from accord.lm.devices import pick_device
    from accord.lm.opening import pick_dtype, read_config, stored_bytes

    where = folder_of(model, fetch=False)
    if (opener := _opener(where)) is not None:
        return weights_bytes(str(opener.base_of(where)), device=device, dtype=dtype)
    kind = pick_dtype(dtype, pick_device(device))
    if model in CATALOG and not Path(model).exists():
        return CATALOG[model].parameters * kind.itemsize
    if not is_here(model):
        return (parameters(model) or 0) * kind.itemsize if is_hub_id(model) else 0
    folder = resolve(model, fetch=False).folder
    return stored_bytes(folder, read_config(folder), kind)


def _opener(folder: str | Path) -> Any:
    """The module that opens this folder; None, without a slow import, for the name or folder of a backbone."""
    folder = path_of(folder)
    for file, name in FOLDERS.items():
        if (folder / file).is_file():
            opener = import_module(name)
            if opener.is_model(folder):
                return opener
    return None
