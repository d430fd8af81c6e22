"""From a name, a folder or a model in memory to a proven backbone. No code that lies in a folder is run.

A folder is opened only if it holds the model that it describes: whole weights (`checkpoint`), of a type that
transformers itself knows, and an adapter, if there is one, of a kind whose numbers can be trusted (`adapters`).
"""

import json
import logging
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from accord.errors import AccordError
from accord.lm.adapters import check_adapter, unwrapped, with_adapter
from accord.lm.backbone import Backbone
from accord.lm.catalog import Source, resolve
from accord.lm.checkpoint import check_loaded, read_header, unjoined, weight_files
from accord.lm.claims import check_counts, check_size, empty_model
from accord.lm.devices import pick_device
from accord.lm.fingerprint import memory_fingerprint, tokenizer_files
from accord.lm.placement import plan
from accord.lm.quantization import check_known, missing_library, stored_as

# Files of which a tokenizer has one at least.
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# A folder that nobody can have made: transformers puts an adapter on that it finds, whatever base that names.
_NOWHERE = "\0"
# With trust_remote_code=None transformers would ask at the keyboard, and run the code after a "y".
_CLOSED: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def load(model: str | Path, *, device: str = "auto", dtype: str = "auto", revision: str | None = None) -> Backbone:
    """Load a model under study: a catalog name, a hub id, a local folder (of a PEFT adapter too), or a `.gguf` file.

    Args:
        model: what to load; see `accord models` for the catalog.
        device: "auto" (a GPU when there is one; several when one cannot hold the model), "cpu", "cuda", "cuda:1",
            "mps". Or several with commas between them, which share the weights: "cuda:0,cuda:1", "auto,cpu" (all cards,
            and main memory for what these cannot hold), "auto,cpu,disk". "cuda:0=40GB" takes no more than that.
        dtype: "auto" (float32 on a CPU, bfloat16 on a GPU; that of the folder where its weights are quantized),
            "float32", "bfloat16" or "float16".
        revision: of a hub id: a branch, tag or commit; the newest by default.

    Raises:
        AccordError: the model is unknown, broken or unsafe to load, its files hold another model than they describe,
            the devices cannot hold it, or a proof of the boundary fails.
        MissingLibrary: its weights are quantized, and the package that reads them is not installed.
    """
    where = pick_device(device)
    kind = pick_dtype(dtype, where)
    source = resolve(str(model), thorough=True, revision=revision)
    config = read_config(source.folder)
    quantized = stored_as(config) is not None
    log: list[str] = []
    with ExitStack() as files:
        try:
            with _quiet() as log:
                tokenizer = read_tokenizer(source)
                check_size(_auto_model(config), config, weight_files(source.folder), source.folder)
                shared = _shares(source.folder, config, device, kind)
                alone = {"": where} if quantized else None  # such weights cannot be moved afterwards
                network, notes = _auto_model(config).from_pretrained(
                    source.folder,
                    dtype="auto" if quantized and dtype == "auto" else kind,
                    use_safetensors=True,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,  # `check_loaded` refuses them, by their names
                    device_map=shared or alone,
                    # where weights go that lie on the disk in another form than they are read in
                    offload_folder=files.enter_context(TemporaryDirectory()) if shared else None,
                    adapter_kwargs={"subfolder": _NOWHERE},  # one beside the weights is put on below, and checked
                    **_CLOSED,
                )
        except AccordError:
            raise
        except ImportError as error:
            raise missing_library(error, source.folder, config) from error
        except Exception as error:  # of transformers, and of a dozen libraries beneath
            raise _not_loaded(source.folder, error, unjoined(log)) from error
        check_loaded(network, notes, config, source.folder)
        weakref.finalize(network, files.pop_all().close)
    if not quantized:
        network = network if shared else network.to(where)
        network.requires_grad_(False)  # what a repair trains, it says
    if source.adapter is not None:
        network = with_adapter(network, source.adapter)
    lm = Backbone(network, tokenizer, name=source.name, fingerprint=source.fingerprint)
    if quantized and lm.quantization is None:  # no kernels for them on this machine
        lm.stored_as = f"{stored_as(config)}, expanded"
    return lm


def _shares(folder: Path, config: Any, device: str, dtype: torch.dtype) -> dict[str, str] | None:
    """Which part of a model goes to which device; None where one is to hold it all. See `placement.plan`."""
    model = empty_model(_auto_model(config), config)
    return None if model is None else plan(model, stored_bytes(folder, config, dtype), device)


def stored_bytes(folder: Path, config: Any, dtype: torch.dtype) -> int:
    """Bytes that the weights in a folder take in memory, by the headers of its files."""
    files = weight_files(folder)
    if stored_as(config) is not None:
        return sum(file.stat().st_size for file in files)
    return sum(prod(tensor["shape"]) * dtype.itemsize for file in files for tensor in read_header(file).values())


def in_memory(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> Backbone:
    """A backbone of a transformers or peft model that is in memory, where it is and in its precision.

    It is put into eval mode (no dropout) and left as it was otherwise; what is trained in it afterwards changes the
    backbone's numbers, but not its fingerprint.

    Raises AccordError if there is no tokenizer, or a proof of the boundary fails.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise AccordError(
            "a model in memory needs its tokenizer",
            got=type(tokenizer).__name__,
            wanted="accord.load(model, tokenizer), with a tokenizer of transformers",
        )
    inside = unwrapped(model)
    path = str(getattr(inside.config, "_name_or_path", "") or "")
    name = path or type(inside).__name__
    if inside is not model:
        name = f"{name} with {' and '.join(model.active_adapters)}"
    return Backbone(inside, tokenizer, name=name, fingerprint=memory_fingerprint(model, tokenizer))


def load_tokenizer(model: str | Path, *, fetch: bool = True) -> PreTrainedTokenizerBase:
    """The tokenizer that `load` gives a model, without its weights. Raises AccordError where it cannot be read."""
    source = resolve(str(model), fetch=fetch)
    try:
        with _quiet():
            return read_tokenizer(source)
    except Exception as error:  # of transformers, and of a dozen libraries beneath
        raise _not_loaded(source.folder, error) from error


def read_tokenizer(source: Source) -> PreTrainedTokenizerBase:
    """The tokenizer of a model: that beside its adapter, if it has its own, else that of its base.

    Raises AccordError if its files are gone: transformers would make a tokenizer that reads every text as nothing.
    """
    own = source.adapter is not None and bool(tokenizer_files(source.adapter))
    folder = source.adapter if own else source.folder
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, **_CLOSED)
    if not set(tokenizer.get_vocab().values()) - set(tokenizer.added_tokens_decoder):
        raise AccordError(
            "This folder's tokenizer knows no words.",
            where=folder,
            got=f"{type(tokenizer).__name__} with {len(tokenizer)} special tokens",
            fix="copy the tokenizer's files (tokenizer.json and others) from the model's source",
        )
    return tokenizer


def check_files(source: Source) -> None:
    """AccordError unless a model's configuration and adapter are of types that are opened, and it has a tokenizer."""
    if source.adapter is not None:
        check_adapter(source.adapter)
    config = read_config(source.folder)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise AccordError(
            "This is no causal language model.",
            where=source.folder,
            got=getattr(config, "model_type", type(config).__name__),
            wanted="a model of a type that transformers' AutoModelForCausalLM opens",
        )
    folders = [source.folder, *([] if source.adapter is None else [source.adapter])]
    if not any((folder / name).is_file() for folder in folders for name in _VOCABULARIES):
        fix = "copy the tokenizer's files (tokenizer.json and others) from the model's source"
        raise AccordError("This folder has no tokenizer.", where=source.folder, wanted=_VOCABULARIES[0], fix=fix)


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The torch dtype that `dtype` names; "auto" is float32 on a CPU and bfloat16 elsewhere."""
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if dtype not in _DTYPES:
        raise AccordError("unknown dtype", got=dtype, wanted="auto, " + ", ".join(_DTYPES))
    return _DTYPES[dtype]


def read_config(folder: Path) -> Any:
    """The configuration of a folder in hub layout, as transformers has it.

    Raises AccordError if it cannot be read, or the model needs code of its own.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        own_code = "auto_map" in settings and settings.get("model_type") not in CONFIG_MAPPING
        if own_code or _names_kernel(settings):
            got = settings["auto_map"] if own_code else "an attention implementation from elsewhere"
            raise _needs_code(folder, got)
        check_counts(settings, sum(len(read_header(file)) for file in weight_files(folder)), folder / "config.json")
        with _quiet():
            config = AutoConfig.from_pretrained(folder, **_CLOSED)
            config.get_text_config().to_dict()  # which it cannot, where its part for text is none
    except ImportError as error:
        raise missing_library(error, folder, None) from error
    except AccordError:
        raise
    except Exception as error:
        raise _not_loaded(folder, error) from error
    if weights := settings.get("transformers_weights"):
        raise AccordError("config.json names other weights than model.safetensors.", where=folder, got=weights)
    check_known(config, folder)
    return config


def _auto_model(config: Any) -> Any:
    """The class that opens a model of this configuration; one for images and text if transformers has no other."""
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return AutoModelForImageTextToText
    return AutoModelForCausalLM


def _names_kernel(part: Any) -> bool:
    """Whether a configuration names a repository whose kernels should be run."""
    if isinstance(part, dict):
        return any(
            _names_kernel(value) or (key.endswith("_implementation") and "/" in str(value))
            for key, value in part.items()
        )
    return isinstance(part, list) and any(map(_names_kernel, part))


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Silence transformers while it loads. Gives its log: what matters of it becomes an error."""
    log: list[str] = []
    hooks = logging.getLogger("accelerate.big_modeling")
    listener, level = logging.Handler(), transformers_logging.get_verbosity()
    listener.emit = lambda record: log.append(record.getMessage())  # type: ignore[method-assign]
    transformers_logging.disable_progress_bar()  # seconds at most, and it would tear other bars apart
    transformers_logging.disable_default_handler()
    transformers_logging.add_handler(listener)
    transformers_logging.set_verbosity_warning()
    told, hooks.disabled = hooks.disabled, True  # that weights lie elsewhere, as was asked
    try:
        yield log
    finally:
        hooks.disabled = told
        transformers_logging.set_verbosity(level)
        transformers_logging.remove_handler(listener)
        transformers_logging.enable_default_handler()


def _not_loaded(folder: Path, error: Exception, keys: str = "") -> AccordError:
    message = keys or str(error).strip()
    if "trust_remote_code" in message:
        return _needs_code(folder, message.splitlines()[0])
    return AccordError(
        "the model could not be loaded",
        where=folder,
        got=message.splitlines()[0] if message else type(error).__name__,
        wanted="a causal language model in hub layout: config.json, safetensors weights, tokenizer files",
    )


def _needs_code(folder: Path, got: object) -> AccordError:
    return AccordError(
        "This model needs code of its own from its folder; accord runs none.",
        where=folder,
        got=got,
        fix="name a model of a type that transformers itself knows",
    )
