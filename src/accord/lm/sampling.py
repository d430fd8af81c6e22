"""Text from any language model: batched sampling with a KV cache, each sample the same whatever batch it is in.

A sample draws its random numbers from a stream of its own, so that batch size, memory and the other samples do not
change it (to float error: a draw that falls within rounding of the border between two tokens may go either way).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Cache

from accord.arguments import checked
from accord.errors import AccordError
from accord.lm.backbone import not_finite
from accord.lm.batching import check_fits, check_halves
from accord.lm.encoding import encode_prompt, start_id
from accord.lm.kv import kv_cache, kv_pairs
from accord.lm.marked import States
from accord.lm.model import LanguageModel
from accord.lm.prefix_tree import Ids
from accord.lm.processors import Sampling, draw
from accord.lm.prompted import Prompted, after_prompt
from accord.progress import Progress

_AROUND = 8  # tokens more than a text to stop at may take: first tokens of a text may be written without their space


@dataclass(frozen=True)
class Sample:
    """A generated text.

    Attributes:
        prompt: the text it continues; empty if it began with the start token alone.
        ids: the generated tokens, without the token that ended it.
        text: those tokens as text, special tokens left out; up to the first of the texts that it was to stop at.
        finished: whether the model ended it (by a token of `LanguageModel.ends`, or a text to stop at), not the limit
            of tokens.
    """

    prompt: str
    ids: Ids
    text: str
    finished: bool


@checked
@torch.no_grad()
def generate(
    lm: LanguageModel,
    *,
    prompts: Sequence[str | Sequence[int]] | None = None,
    n: int = 1,
    first: int = 0,
    max_new_tokens: int = 100,
    temperature: float = 0.7,
    top_k: int = 100,
    top_p: float = 0.9,
    repetition_penalty: float = 1.5,
    seed: int = 0,
    special: bool = True,
    stop: Sequence[str] = (),
    batch_size: int = 32,
    progress: Progress | None = None,
    written: Callable[[Ids], None] | None = None,
) -> list[Sample]:
    """Sample `n` texts for every prompt; prompt by prompt in the result.

    >>> lm = accord.load("smollm2-135m")
    >>> generate(lm, prompts=["Bees are a kind of"], max_new_tokens=2, temperature=0)[0].text
    ' insect that'

    Repetition penalty, temperature, top-k and top-p are applied in this order and as transformers defines them.

    Args:
        prompts: texts, or ids of tokens, to continue; None begins with the start token (BOS, or EOS where that
            separates texts).
        first: number of the first sample: an interrupted run goes on where it stopped, since samples 0 to 49 and 50
            to 99 are the same as in a single call for 100.
        max_new_tokens: where a text is cut that the model does not end.
        temperature: divides the logits; 0 always takes the most probable token.
        top_k: keep the k most probable tokens (and ties of the last); 0 keeps all.
        top_p: then keep the fewest most probable tokens that hold this much probability; 1 keeps all.
        repetition_penalty: makes tokens less probable that the prompt or the text already has; 1 for none.
        seed: sample j of prompt i depends on (seed, i, j) and on nothing else.
        special: let the tokenizer add its special tokens (BOS) to prompts; off for text that a chat template made.
        stop: a text ends before the first of these that it comes to.
        batch_size: texts at a time; halved when memory runs out.
        progress: called with (texts done, texts in all).
        written: called after each token of a text with all tokens of it so far, the prompt's left out.

    Raises:
        AccordError: a setting makes no sense, there is no start token, prompt and text are together longer than the
            model reads, logits are not finite, or a single text exceeds memory.
    """
    settings = Sampling(temperature, top_k, top_p, repetition_penalty)
    if max_new_tokens < 1 or n < 1 or batch_size < 1:
        raise AccordError("n, max_new_tokens and batch_size must be at least 1", got=(n, max_new_tokens, batch_size))
    if not all(stop):
        raise AccordError("a text to stop at is empty", got=list(stop))
    begin = [_begun(lm, prompt, special) for prompt in prompts or ()]
    if prompts is None:
        begin = [("", (start_id(lm.tokenizer),))]
    rows = [
        _Row(prompt, ids, np.random.default_rng([seed, i, j]).random(max_new_tokens))
        for i, (prompt, ids) in enumerate(begin)
        for j in range(first, first + n)
    ]
    check_fits(lm, ((*ids, *(0,) * (max_new_tokens - 1)) for _, ids in begin))
    waiting = sorted(rows, key=lambda row: -len(row.start))  # prompts of like length waste no steps on each other
    while waiting:
        batch = waiting[:batch_size]
        length = len(batch[0].start)
        if isinstance(lm, Prompted):  # a batch for each length of prompt
            batch = [row for row in batch if len(row.start) == length]
        try:
            _write(after_prompt(lm, length), batch, settings, stop, written)
        except RuntimeError as error:
            check_halves(lm, error, rows=len(batch), tokens=len(batch[0].start) + max_new_tokens)
            batch_size = len(batch) // 2
            continue
        waiting = waiting[len(batch) :]
        if progress:
            progress(len(rows) - len(waiting), len(rows))
    return [_sample(lm, row, stop) for row in rows]


def _begun(lm: LanguageModel, prompt: str | Sequence[int], special: bool) -> tuple[str, Ids]:
    """A prompt as text and as ids. Raises AccordError for one without tokens."""
    if isinstance(prompt, str):
        return prompt, encode_prompt(lm.tokenizer, prompt, special=special)
    if not prompt:
        raise AccordError("a prompt has no tokens", got="an empty list")
    return str(lm.tokenizer.decode(list(prompt), skip_special_tokens=True)), tuple(prompt)


@dataclass
class _Row:
    """A text as it grows: `start` is its prompt, `chance` its own random numbers, one for each token."""

    prompt: str
    start: Ids
    chance: NDArray[np.float64]
    ids: list[int] = field(default_factory=list)
    finished: bool = False

    def take(self, token: int, lm: LanguageModel, stop: Sequence[str]) -> bool:
        """Add a token, unless it ends the text; returns whether the text goes on."""
        if token in lm.ends:
            self.finished = True
            return False
        self.ids.append(token)
        if stop:
            # Of the end alone: a token is a byte at least, and what stood before was looked at as it came.
            near = max(len(each.encode()) for each in stop) + _AROUND
            text = lm.tokenizer.decode(self.ids[len(self.start) :][-near:], skip_special_tokens=True)
            self.finished = any(each in text for each in stop)
        return not self.finished and len(self.ids) - len(self.start) < len(self.chance)


def _write(
    lm: LanguageModel,
    batch: list[_Row],
    settings: Sampling,
    stop: Sequence[str],
    written: Callable[[Ids], None] | None,
) -> None:
    """Write the texts of a batch to their ends.

    A cache needs rows of equal length, so writing starts where the shortest prompt ends; rows with longer prompts
    still read theirs meanwhile. Where the numbers of all positions switch with the length
    (see `Limits`), everything is read anew.
    """
    for row in batch:
        row.ids, row.finished = list(row.start), False
    rows, width, done = batch, min(len(row.start) for row in batch), 0
    cache = kv_cache([]) if lm.cacheable else None
    group = lm.limits.group(width)
    while rows:
        if lm.limits.group(width) != group:
            group, done, cache = lm.limits.group(width), 0, kv_cache([]) if lm.cacheable else None
        block = torch.tensor([row.ids[done:width] for row in rows])
        last = torch.full((len(rows), 1), block.shape[1] - 1)
        states = lm.hidden(block, at=last, cache=cache)[lm.n_layers][:, 0]
        writing = [i for i, row in enumerate(rows) if len(row.ids) == width]
        ended = set(_step(lm, states, rows, writing, settings, stop))
        if written:
            for row in (rows[i] for i in writing):
                written(tuple(row.ids[len(row.start) :]))
        if ended:
            staying = [i for i in range(len(rows)) if i not in ended]
            rows = [rows[i] for i in staying]
            cache = _keep(cache, staying)
        done, width = width if lm.cacheable else 0, width + 1


def _step(
    lm: LanguageModel, states: States, rows: list[_Row], writing: list[int], settings: Sampling, stop: Sequence[str]
) -> list[int]:
    """Give each row in `writing` its next token, from `states` [row, d_model]; which of them have ended."""
    if not writing:
        return []
    logits = lm.lens(states[writing])
    if not bool(torch.isfinite(logits.logsumexp(-1)).all()):
        raise not_finite(lm.name)
    texts = [rows[i] for i in writing]
    chance = [row.chance[len(row.ids) - len(row.start)] for row in texts]
    tokens = draw(logits, torch.tensor([row.ids for row in texts]), torch.tensor(chance), settings)
    return [i for i, row, token in zip(writing, texts, tokens.tolist(), strict=True) if not row.take(token, lm, stop)]


def _keep(cache: Cache | None, rows: list[int]) -> Cache | None:
    """The cache of some rows of a batch."""
    return None if cache is None else kv_cache([(keys[rows], values[rows]) for keys, values in kv_pairs(cache)])


def _sample(lm: LanguageModel, row: _Row, stop: Sequence[str]) -> Sample:
    ids = tuple(row.ids[len(row.start) :])
    text = str(lm.tokenizer.decode(ids, skip_special_tokens=True))
    found = [text.index(each) for each in stop if each in text]
    return Sample(row.prompt, ids, text[: min(found, default=len(text))], row.finished)
