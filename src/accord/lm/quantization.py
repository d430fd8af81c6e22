"""Weights in fewer bits than they are computed with: how a model says so, and what that rules out."""

import re
from pathlib import Path
from typing import Any

from accord.errors import AccordError, MissingLibrary

# Keys of a quantization_config that say how many bits a number has, and how; the first that is there counts.
_FORMATS = ("bnb_4bit_quant_type", "format", "fmt", "weights", "quant_type", "weight_quantization", "bits", "nbits")


def quantization_config(config: Any) -> dict[str, Any] | None:
    """The `quantization_config` of a model's configuration, or None."""
    for part in (config, config.get_text_config()):
        settings = getattr(part, "quantization_config", None)
        if settings is not None:
            return dict(settings if isinstance(settings, dict) else settings.to_dict())
    return None


def quantization(model: Any) -> str | None:
    """How the weights of a model are quantized, such as "bitsandbytes nf4"; None if they are plain numbers.

    Weights that were quantized in the folder but expanded when it was opened are plain numbers.
    """
    return stored_as(model.config)


def stored_as(config: Any) -> str | None:
    """How a configuration says that weights are quantized, in a few words: the method and the format of numbers."""
    settings = quantization_config(config)
    return None if settings is None else _described(settings)


def _described(config: dict[str, Any]) -> str:
    method = config.get("quant_method")
    method = str(getattr(method, "value", method) or "bitsandbytes")
    if config.get("load_in_8bit"):
        return f"{method} int8"
    precision = next((config[key] for key in _FORMATS if config.get(key)), None)
    if isinstance(precision, dict):  # torchao: {"default": {"_type": …}}
        inner = precision.get("default", precision)
        precision = inner.get("_type") if isinstance(inner, dict) else inner
    if isinstance(precision, int):
        precision = f"{precision} bits"
    return f"{method} {precision}" if isinstance(precision, str) else method


def check_known(config: Any, folder: Path) -> None:
    """AccordError if transformers does not know how the weights are quantized: it would read them as they are."""
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING as methods

    settings = quantization_config(config)
    if settings is None or settings.get("load_in_4bit") or settings.get("load_in_8bit"):
        return
    method = settings.get("quant_method")
    if not isinstance(method, str) or method not in methods:
        raise AccordError(
            "This model's weights are quantized in a way that transformers does not know.",
            where=folder / "config.json",
            got=f"quant_method {method!r}",
            wanted=", ".join(sorted(methods)),
            fix="update transformers, or name the model before it was quantized",
        )


def missing_library(error: ImportError, folder: Path, config: Any) -> AccordError:
    """The error for a package or device that is needed to open a folder, and is not here."""
    settings = None if config is None else quantization_config(config)
    kind = "" if settings is None else f", whose weights are quantized ({_described(settings)}),"
    message = re.sub(r"\s+", " ", str(error)).strip()
    command = re.search(r"pip install (?:-U |--upgrade )?['\"]?([\w.-]+)", message)
    if command is None and re.search(r"\b(GPU|CUDA|XPU)\b", message):
        return AccordError(f"This model{kind} cannot be opened on this machine.", where=folder, got=message)
    method = "" if settings is None else _described(settings).partition(" ")[0]
    package = command[1] if command else error.name or method or "what is named"
    return MissingLibrary(
        f"This model{kind} needs a package that is not installed.",
        where=folder,
        got=message,
        fix=f"pip install {package}",
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
