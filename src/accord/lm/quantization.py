"""Weights in fewer bits than they are computed with: how a model says so, and what that rules out."""

import re
from pathlib import Path
from typing import Any

from accord.errors import AccordError, MissingLibrary

# What of a quantization_config says how many bits, and in which form; the first that is there.
_FORMS = ("bnb_4bit_quant_type", "format", "fmt", "weights", "quant_type", "weight_quantization", "bits", "nbits")


def quantization_config(config: Any) -> dict[str, Any] | None:
    """The `quantization_config` of a model's configuration, or None."""
    for part in (config, config.get_text_config()):
        found = getattr(part, "quantization_config", None)
        if found is not None:
            return dict(found if isinstance(found, dict) else found.to_dict())
    return None


def quantization(model: Any) -> str | None:
    """How the weights of a model are quantized, such as "bitsandbytes nf4"; None if they are plain numbers.

    Weights that were quantized in the folder but expanded when it was opened are plain numbers.
    """
    return stored_as(model.config)


def stored_as(config: Any) -> str | None:
    """How a configuration says that weights are quantized, in a few words: the method and its form."""
    found = quantization_config(config)
    return None if found is None else _described(found)


def _described(config: dict[str, Any]) -> str:
    method = config.get("quant_method")
    method = str(getattr(method, "value", method) or "bitsandbytes")
    if config.get("load_in_8bit"):
        return f"{method} int8"
    form = next((config[key] for key in _FORMS if config.get(key)), None)
    if isinstance(form, dict):  # torchao: {"default": {"_type": …}}
        inner = form.get("default", form)
        form = inner.get("_type") if isinstance(inner, dict) else inner
    if isinstance(form, int):
        form = f"{form} bits"
    return f"{method} {form}" if isinstance(form, str) else method


def check_known(config: Any, folder: Path) -> None:
    """AccordError if transformers does not know how the weights are quantized: it would read them as they are."""
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING as known

    found = quantization_config(config)
    if found is None or found.get("load_in_4bit") or found.get("load_in_8bit"):
        return
    method = found.get("quant_method")
    if method not in known:
        raise AccordError(
            "This model's weights are quantized in a way that transformers does not know.",
            where=folder / "config.json",
            got=f"quant_method {method!r}",
            wanted=", ".join(sorted(known)),
            fix="update transformers, or name the model before it was quantized",
        )


def missing_library(error: ImportError, folder: Path, config: Any) -> AccordError:
    """The error for a package, or a device, that opening a folder needs and that is not here."""
    found = None if config is None else quantization_config(config)
    kind = "" if found is None else f", whose weights are quantized ({_described(found)}),"
    said = re.sub(r"\s+", " ", str(error)).strip()
    command = re.search(r"pip install (?:-U |--upgrade )?['\"]?([\w.-]+)", said)
    if command is None and re.search(r"\b(GPU|CUDA|XPU)\b", said):
        return AccordError(f"This model{kind} cannot be opened on this machine.", where=folder, got=said)
    method = "" if found is None else _described(found).partition(" ")[0]
    package = command[1] if command else error.name or method or "what is named"
    return MissingLibrary(
        f"This model{kind} needs a package that is not installed.", where=folder, got=said, fix=f"pip install {package}"
    )


def check_plain(lm: Any, what: str) -> None:
    """AccordError if the weights of a backbone are quantized, before something begins that needs plain ones."""
    if lm.quantization is not None:
        raise AccordError(
            f"{what} needs weights that are not quantized",
            where=lm.name,
            got=lm.quantization,
            fix="use the model before it was quantized",
        )
