"""Log-probabilities of given answers, at the least cost: shared prefixes once, logits only where they are read.

The result is the same for every batch size and order (to float error): `tests/lm/test_scoring.py` holds it to a
plain reference that reads prompts singly.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import log
from operator import index
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.arguments import checked
from accord.errors import AccordError
from accord.lm.backbone import not_finite
from accord.lm.encoding import start_id
from accord.lm.marked import States
from accord.lm.model import LanguageModel, lens_of
from accord.lm.prefix_tree import Ids
from accord.lm.prompted import Prompted
from accord.lm.states import end_states
from accord.progress import Progress

Floats = NDArray[np.float64]
Counted = Literal["first", "whole", "per_token"]
"""What of an answer counts: its first token; all its tokens; all of them, as the geometric mean of a token."""
_Scratch = Callable[[torch.device], Tensor]
"""A place on a device for numbers of [row, token]: memory that is asked for anew is given page by page."""
Seen = Callable[[Sequence[Ids], States], None]
"""Called with sequences of token ids, and the top layer's states [sequence, d_model] at their ends."""

# Logits are made this many numbers at a time: 16 MB in float32 on a CPU, where more leaves its caches and is given
# back to the system each time; but for rows enough to be worth reading the head's weights. 256 MB on a GPU.
_LOGIT_CHUNK, _LOGIT_CHUNK_GPU = 2**22, 2**26
_FEWEST_ROWS = 64


@dataclass(frozen=True)
class Query:
    """What to score: each of `answers` (token ids, at least one) as the continuation of `context` (token ids).

    >>> Query([1, 2], [[3], [4, 5]])
    Query(context=(1, 2), answers=((3,), (4, 5)), compared=False)

    Attributes:
        compared: its answers are only compared with one another, so that they have no `rank`. If all are of a token
            each, then by the lens of the layers below the top `first` lacks a constant, the same for all of them, and
            `logodds` are NaN: neither takes the whole vocabulary.
    """

    context: Ids
    answers: tuple[Ids, ...]
    compared: bool = False

    def __post_init__(self) -> None:
        """Take any lists of whole numbers. Raises AccordError for anything else."""
        try:
            answers = tuple(tuple(map(index, answer)) for answer in self.answers)
            object.__setattr__(self, "context", tuple(map(index, self.context)))
            object.__setattr__(self, "answers", answers)
        except TypeError:
            raise AccordError(
                "a query is made of token ids",
                got=f"{self.context!r:.60}, {self.answers!r:.60}",
                wanted="Query((1, 2), ((3,), (4, 5))): a context, and the answers that may follow it",
                fix="encode the text first, or give score the text itself",
            ) from None

    @classmethod
    def of_text(cls, lm: LanguageModel, text: str) -> "Query":
        """A text as the only answer to the start token (BOS, or EOS where that separates texts).

        Raises AccordError if it has no tokens, or the tokenizer no start token.
        """
        answer = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
        if not answer:
            raise AccordError("a text has no tokens", got=repr(text))
        return cls((start_id(lm.tokenizer),), (tuple(answer),))


@dataclass
class Score:
    """Scores of a query, an entry for each of its answers; natural logarithms.

    >>> lm = accord.load("smollm2-135m")
    >>> prompt, *answers = (lm.tokenizer(text)["input_ids"] for text in ("Bees are a kind of", " insect", " bird"))
    >>> [found] = accord.score(lm, [accord.Query(prompt, answers)])
    >>> found.rank, found.total.round(1)
    (array([ 1, 18]), array([-2.6, -5.2]))

    Attributes:
        first: log p(first token of the answer | context).
        logodds: log p − log(1 − p) of the same, computed without cancellation for p near 1.
        total: log p of the whole answer, the sum over its tokens.
        rank: rank of the first token among the vocabulary, 1 = most probable; ties share the best rank. Empty for
            answers that are only compared: each takes another look at the whole vocabulary.
        steps: of each answer [token], the log-odds of each of its tokens after those before it; see `answer_logodds`.
        greedy: whether no token is more probable than each of the answer's after those before it.
        layer_first: [layer, answer] `first` by the lens of each layer 0..L, or None; see `Query.compared`.
        layer_logodds: [layer, answer] `logodds` likewise, or None.
        layer_steps: of each answer [layer, token], `steps` likewise, or None.
    """

    first: Floats
    logodds: Floats
    total: Floats
    rank: NDArray[np.int64]
    steps: tuple[Floats, ...]
    greedy: NDArray[np.bool_]
    layer_first: Floats | None = None
    layer_logodds: Floats | None = None
    layer_steps: tuple[Floats, ...] | None = None


def answer_logodds(steps: Tensor, counted: Counted) -> Tensor:
    """Log-odds of an answer [...] from those of each of its tokens [..., token]: log p − log(1 − p).

    p is the first token's probability, the whole answer's Π p_k, or the geometric mean of a token (Π p_k)^(1/n).
    log p_k = −log(1 + exp(−log-odds)), so that nothing cancels where the model is sure.

    >>> answer_logodds(torch.tensor([0.0, 2.0]), "first").item()
    0.0
    """
    if counted == "first" or steps.shape[-1] == 1:
        return steps[..., 0]
    each = torch.nn.functional.logsigmoid(steps)
    logprob = each.sum(-1) if counted == "whole" else each.mean(-1)
    return logprob - _log1mexp(logprob, -1e-300 if steps.dtype == torch.float64 else -1e-37)


@checked
@torch.no_grad()
def score(
    lm: LanguageModel,
    queries: Sequence[Query | str],
    *,
    layers: bool = False,
    every_token: bool = False,
    seen: Seen | None = None,
    batch_tokens: int | None = None,
    progress: Progress | None = None,
) -> list[Score]:
    """Score the answers of every query; equal contexts and shared prefixes are computed once.

    >>> lm = accord.load("smollm2-135m")
    >>> right, wrong = accord.score(lm, ["Bees are a kind of insect.", "Bees are a kind of bird."])
    >>> (right.total > wrong.total).item()
    True

    Args:
        queries: contexts and their answers, or whole texts: the score of a text has an entry, whose `total` is log p of
            all its tokens, read from the start token on (see `Query.of_text`).
        layers: also score first tokens by the lens of every layer.
        every_token: with `layers`, the later tokens of the answers too.
        seen: called with the states of the top layer as they are read, for more uses than scores.
        batch_tokens: tokens of a forward pass; by default chosen for the device.
        progress: called with (tokens done, tokens in all); with numbers of queries for a `Prompted` model.

    Raises:
        AccordError: see `check_queries`; logits are not finite, or a single sequence exceeds memory.
    """
    encoded = [Query.of_text(lm, query) if isinstance(query, str) else query for query in queries]
    if isinstance(lm, Prompted):
        return _by_length(lm, encoded, layers, every_token, batch_tokens, progress)
    check_queries(lm, encoded)
    numbers: dict[Ids, int] = {}  # sequence -> its number
    targets: list[dict[int, int]] = []  # of each sequence: token -> its place in what is read there

    def number_of(sequence: Ids) -> int:
        number = numbers.setdefault(sequence, len(numbers))
        if number == len(targets):
            targets.append({})
        return number

    asked: list[_Asked] = []
    ranked: set[int] = set()
    whole: set[int] = set()  # where the whole vocabulary is looked at by the lens of every layer
    lens_wanted: set[int] = set()
    for query in encoded:
        context = number_of(query.context)
        compared = query.compared and all(len(answer) == 1 for answer in query.answers)
        answers: list[_Steps] = []
        for answer in query.answers:
            sequences = [context, *(number_of(query.context + answer[:i]) for i in range(1, len(answer)))]
            answers.append(
                [(n, targets[n].setdefault(t, len(targets[n]))) for n, t in zip(sequences, answer, strict=True)]
            )
            lens_wanted.update(sequences if every_token else [context])
            whole.update([] if compared else sequences)
        ranked.update([] if query.compared else [context])
        asked.append(_Asked(context, answers, not query.compared))
    results: dict[tuple[int, int], _Read] = {}  # by number of the sequence, and layer
    ids = list(numbers)
    chunk = _LOGIT_CHUNK if lm.device.type == "cpu" else _LOGIT_CHUNK_GPU
    size = max(_FEWEST_ROWS, chunk // lm.vocab_size)

    @cache
    def scratch(device: torch.device) -> Tensor:
        return torch.empty(size, lm.vocab_size, device=device)

    def read(layer: int, states: States, which: list[int]) -> None:
        top = layer == lm.n_layers
        if seen is not None and top:
            seen([ids[i] for i in which], states)
        rows = [j for j, i in enumerate(which) if top or i in lens_wanted]
        reduced = [j for j in rows if top or which[j] in whole]
        compared = [j for j in rows if not (top or which[j] in whole)]
        for rule, places in ((_reduce, reduced), (_compare, compared)):
            for begin in range(0, len(places), size):
                part = places[begin : begin + size]
                own = [which[j] for j in part]
                tokens, where = [list(targets[i]) for i in own], f"{lm.name}, layer {layer}"
                reads = rule(lm, states[part], tokens, where, [top and i in ranked for i in own], scratch)
                results.update({(i, layer): each for i, each in zip(own, reads, strict=True)})

    depth = list(range(lm.n_layers + 1)) if layers else [lm.n_layers]
    end_states(lm, ids, read, layers=depth, batch_tokens=batch_tokens, progress=progress)
    return [_assemble(each, results, depth, every_token) for each in asked]


def check_queries(lm: LanguageModel, queries: Sequence[Query]) -> None:
    """Raise AccordError if a context or answer is empty, longer than the model reads, or has a token that it lacks."""
    longest = largest = 0
    for query in queries:
        if not query.context or not query.answers or not all(query.answers):
            raise AccordError("a query needs a context and answers of at least one token", got=query)
        # A context and an answer but for its last token, after which nothing is read.
        longest = max(longest, len(query.context) + max(map(len, query.answers)) - 1)
        largest = max(largest, max(query.context), *map(max, query.answers))
    lm.limits.check(lm.name, longest=longest, largest=largest)


def _by_length(
    lm: Prompted,
    queries: Sequence[Query],
    layers: bool,
    every_token: bool,
    batch_tokens: int | None,
    progress: Progress | None,
) -> list[Score]:
    """Scores of the queries, those of each length of context by the model for that length of prompt."""
    groups: dict[int, list[int]] = defaultdict(list)
    for i, query in enumerate(queries):
        groups[max(len(query.context), 1)].append(i)  # an empty context is refused by `score`
    results: dict[int, Score] = {}
    for length, indices in groups.items():
        group = [queries[i] for i in indices]
        model = lm.after_prompt(length)
        scores = score(model, group, layers=layers, every_token=every_token, batch_tokens=batch_tokens)
        results.update(zip(indices, scores, strict=True))
        if progress:
            progress(len(results), len(queries))
    return [results[i] for i in range(len(queries))]


_Steps = list[tuple[int, int]]
"""Of an answer, where each of its tokens is read: the number of the sequence before it, and its place there."""


@dataclass(frozen=True)
class _Asked:
    """A query by numbers of sequences: that of its context, and the steps of its answers."""

    context: int
    answers: list[_Steps]
    ranked: bool


@dataclass
class _Read:
    """Numbers at the end of a sequence, an entry for each of its target tokens."""

    first: Floats
    logodds: Floats
    best: NDArray[np.bool_] | None = None  # whether no token is more probable; where the whole vocabulary is seen
    rank: NDArray[np.int64] | None = None  # where it is wanted


def _assemble(asked: _Asked, results: dict[tuple[int, int], _Read], depth: list[int], every_token: bool) -> Score:
    top = depth[-1]
    places = [steps[0][1] for steps in asked.answers]

    def logodds(steps: _Steps, layer: int) -> Floats:
        return np.array([results[sequence, layer].logodds[place] for sequence, place in steps])

    def best(sequence: int, place: int) -> bool:
        seen = results[sequence, top].best
        assert seen is not None
        return bool(seen[place])

    final = results[asked.context, top]
    total, own = final.first[places], final.logodds[places]
    for i, steps in enumerate(asked.answers):
        if len(steps) > 1:
            total[i] += sum(results[sequence, top].first[place] for sequence, place in steps[1:])
    rank = np.empty(0, dtype=np.int64)
    if asked.ranked:
        assert final.rank is not None
        rank = final.rank[places]
    lens = [results[asked.context, layer] for layer in depth] if len(depth) > 1 else None
    by_layer = None
    if lens and every_token:
        by_layer = tuple(np.stack([logodds(steps, layer) for layer in depth]) for steps in asked.answers)
    return Score(
        first=final.first[places],
        logodds=own,
        total=total,
        rank=rank,
        steps=tuple(
            own[i : i + 1] if len(steps) == 1 else logodds(steps, top) for i, steps in enumerate(asked.answers)
        ),
        greedy=np.array([all(best(*step) for step in steps) for steps in asked.answers]),
        layer_first=np.stack([read.first[places] for read in lens]) if lens else None,
        layer_logodds=np.stack([read.logodds[places] for read in lens]) if lens else None,
        layer_steps=by_layer,
    )


def _reduce(
    lm: LanguageModel, states: States, targets: list[list[int]], where: str, ranked: list[bool], scratch: _Scratch
) -> list[_Read]:
    """Log-probabilities and log-odds of each row's target tokens, from states [row, d_model]; ranks in some rows."""
    logits = lm.lens(states)
    width = max(map(len, targets))
    index = torch.tensor([row + [row[0]] * (width - len(row)) for row in targets], device=logits.device)
    room = scratch(logits.device)
    best, norm = _log_sum(logits, room)
    if not bool(torch.isfinite(norm).all()):
        raise not_finite(where)
    chosen = logits.gather(-1, index)
    first = (chosen - norm).cpu().double()  # on the CPU: not every accelerator has float64
    logodds = first - _log1mexp(first)
    # Only the most probable token can have p > 1/2, where 1 − p cancels: sum the others instead.
    sure = (best - norm > log(0.5)).squeeze(-1).nonzero().squeeze(-1)
    if len(sure):
        others = logits[sure]
        top = others.argmax(-1, keepdim=True)
        rest = _log_sum(others.scatter_(-1, top, -torch.inf), room)[1]
        odds = best[sure].cpu().double() - rest.cpu().double()
        sure, most_probable = sure.cpu(), index[sure].cpu() == top.cpu()
        logodds[sure] = torch.where(most_probable, odds, logodds[sure])
    numbers = zip(first.numpy(), logodds.numpy(), (chosen == best).cpu().numpy(), targets, strict=True)
    reads = [_Read(f[: len(row)], o[: len(row)], b[: len(row)]) for f, o, b, row in numbers]
    some = [i for i, wanted in enumerate(ranked) if wanted]
    if some:
        rows = logits if len(some) == len(logits) else logits[some]
        for i, rank in zip(some, _ranks(rows, chosen[some], room), strict=True):
            reads[i].rank = rank[: len(targets[i])]
    return reads


def _log_sum(logits: Tensor, room: Tensor) -> tuple[Tensor, Tensor]:
    """The largest logit of each row and log Σ exp, both [row, 1]; `room` is for as many rows or more.

    In powers of 2: on a CPU they are four times as quick as PyTorch's exp, and thirty times where results underflow.
    """
    best = logits.amax(-1, keepdim=True)
    total = torch.sub(logits, best, out=room[: len(logits)]).mul_(1 / log(2)).exp2_().sum(-1, keepdim=True)
    return best, best + total.log()


def _ranks(logits: Tensor, chosen: Tensor, room: Tensor) -> NDArray[np.int64]:
    """How many logits of each row are above its chosen ones [row, n], and one; `room` is for as many rows or more."""
    # In float32 they are added up more quickly than as bool, and exactly up to 16 million.
    above = room[: len(logits)]
    columns = [torch.gt(logits, chosen[:, i : i + 1], out=above).sum(-1) for i in range(chosen.shape[1])]
    return (torch.stack(columns, dim=-1).cpu().numpy() + 1).astype(np.int64)


def _compare(lm: LanguageModel, states: States, targets: list[list[int]], where: str, *_: object) -> list[_Read]:
    """Logits of each row's target tokens, from states [row, d_model]: log-probabilities but for a constant a row."""
    tokens = sorted({token for row in targets for token in row})
    place = {token: i for i, token in enumerate(tokens)}
    logits = lens_of(lm, states, torch.tensor(tokens, device=lm.device)).cpu().double()
    if not bool(torch.isfinite(logits).all()):
        raise not_finite(where)
    rows = (logits[i, [place[token] for token in row]].numpy() for i, row in enumerate(targets))
    return [_Read(first, np.full(len(first), np.nan)) for first in rows]


def _log1mexp(x: Tensor, most: float = -1e-12) -> Tensor:
    """log(1 − exp(x)) for x ≤ 0, stable at both ends (Mächler 2012), of x no nearer to 0 than `most`."""
    x = x.clamp_max(most)
    near = x > -log(2)  # each branch is given a harmless number where the other counts: its gradient must be finite
    far = torch.log1p(-torch.exp(torch.where(near, -1.0, x)))
    return torch.where(near, torch.log(-torch.expm1(torch.where(near, x, -1.0))), far)
