"""How much there is to fetch from the hub of Hugging Face, before it is fetched."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Literal

_SECONDS = 10  # that an answer is waited for


def bytes_to_fetch(
    repository: str,
    *,
    kind: Literal["model", "dataset"] = "model",
    allow: Sequence[str] = ("*",),
    ignore: Sequence[str] = (),
) -> int | None:
    """Bytes of the files of a repository that are not in the hub's cache; None where the hub does not say.

    Args:
        allow: patterns of the files that count.
        ignore: patterns of those that do not.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache

    ask = HfApi().model_info if kind == "model" else HfApi().dataset_info
    try:
        info = ask(repository, files_metadata=True, timeout=_SECONDS)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        here = [
            isinstance(try_to_load_from_cache(repository, name, repo_type=kind, revision=info.sha), str)
            for name in sizes
        ]
    except Exception:  # a dozen classes: offline, gated, not there. Fetching tells which
        return None
    counts = [_matches(name, allow) and not _matches(name, ignore) for name in sizes]
    return sum(size for size, there, counted in zip(sizes.values(), here, counts, strict=True) if counted and not there)


@cache
def parameters(repository: str) -> int | None:
    """How many numbers a model's weights are, as the hub says; None where it does not say."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(repository, timeout=_SECONDS, expand=["safetensors"])
        return None if info.safetensors is None else int(info.safetensors.total)
    except Exception:  # as above
        return None


def cache_folder() -> Path:
    """Where what is fetched from the hub lies."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
