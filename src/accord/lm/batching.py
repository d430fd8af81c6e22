"""Length-sorted batches by a token budget, halved when memory runs out."""

import re
from collections.abc import Callable, Iterable, Sequence

import torch

from accord.errors import AccordError
from accord.lm.model import LanguageModel
from accord.progress import Progress

# Tokens of a forward pass. On a CPU more only leaves its caches; on a GPU this fills it.
_BATCH_TOKENS = {"cpu": 512}
_BATCH_TOKENS_GPU = 8192


def default_batch_tokens(device: torch.device) -> int:
    """Tokens of a forward pass that suit a device."""
    return _BATCH_TOKENS.get(device.type, _BATCH_TOKENS_GPU)


def check_fits(lm: LanguageModel, sequences: Iterable[Sequence[int]], answers: Iterable[Sequence[int]] = ()) -> None:
    """Raise AccordError if a sequence is too long for the model, or the model lacks a token of it or of an answer."""
    longest = largest = 0
    for ids in sequences:
        longest, largest = max(longest, len(ids)), max(largest, max(ids, default=0))
    largest = max([largest, *(max(ids, default=0) for ids in answers)])
    lm.limits.check(lm.name, longest=longest, largest=largest)


def check_alike(lm: LanguageModel, prompt: int, more: int) -> None:
    """Raise AccordError if a prompt and the same with `more` tokens are read by other position embeddings."""
    if lm.limits.group(prompt + more) != lm.limits.group(prompt):
        raise AccordError(
            "an answer lies across a length at which the model's position embeddings switch",
            where=lm.name,
            got=f"a prompt of {prompt} tokens, with its answer {prompt + more + 1}",
            fix="use shorter prompts (fewer worked examples), or leave these items out",
        )


def in_batches(
    lm: LanguageModel,
    lengths: Sequence[int],
    compute: Callable[[list[int]], None],
    *,
    batch_tokens: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Call `compute` with the indices of every batch, the longest rows first: too large a batch shows at once.

    All rows of a batch are of the same group of the model's limits.

    When memory runs out, batches are halved and the work goes on; `compute` is then called anew with a part of
    the batch that failed, so it must leave nothing behind before its forward pass is done.

    Args:
        lengths: tokens of each row, at least 1.
        batch_tokens: tokens of a batch, padding included; by default chosen for the device.
        progress: called with (tokens done, tokens in all).

    Raises:
        AccordError: a single row exceeds memory.
    """
    budget = batch_tokens or default_batch_tokens(lm.device)
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    done, total, begin = 0, sum(lengths), 0
    while begin < len(order):
        width = lengths[order[begin]]
        alike = lm.limits.group(width)
        batch = order[begin : begin + max(1, budget // width)]
        batch = [i for i in batch if lm.limits.group(lengths[i]) == alike]
        try:
            compute(batch)
        except RuntimeError as error:
            check_halves(lm, error, rows=len(batch), tokens=width)
            budget = len(batch) * width // 2
            continue
        begin += len(batch)
        done += sum(lengths[i] for i in batch)
        if progress:
            progress(done, total)


def check_halves(lm: LanguageModel, error: RuntimeError, *, rows: int, tokens: int) -> None:
    """After an error in a batch: return with memory freed if half the batch may do, else raise.

    Args:
        rows: of the batch.
        tokens: of its longest row, for the error.

    Raises:
        AccordError: a single row exceeds memory.
        RuntimeError: `error`, if it is not that memory ran out.
    """
    words = "out of memory|can't allocate memory"  # a CPU has no error of its own for it
    if not isinstance(error, torch.OutOfMemoryError) and not re.search(words, str(error)):
        raise error
    if rows == 1:
        raise AccordError(
            "out of memory on a single sequence",
            where=lm.name,
            got=f"{tokens} tokens",
            fix='shorten the text, or use a smaller model or dtype = "bfloat16"',
        ) from error
    if lm.device.type == "cuda":
        torch.cuda.empty_cache()
