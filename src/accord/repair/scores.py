"""Log-probabilities with gradients: what every trained repair computes, at the least cost.

A few-shot prefix that the pairs of a batch share is computed once, with gradients: its keys and values are given to
every row. Padding is on the right and logits are made only where they are read, as in `accord.lm.scoring`, whose
numbers these are (`tests/repair/test_scores.py` holds values and gradients to one pair at a time).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from accord.errors import AccordError
from accord.lm.batching import check_alike, check_fits
from accord.lm.beginning import for_rows, passed
from accord.lm.kv import KeysValues, kv_cache
from accord.lm.model import LanguageModel
from accord.lm.prefix_tree import Ids, common

Terms = Mapping[str, Tensor]
"""Named parts of a loss, scalars; their sum is the loss."""

# Of a pass with gradients, above which a batch goes in parts unasked: whole answers would fill a laptop's memory.
_TOKENS, _LOGITS = 2048, 2**27
# A prefix of fewer tokens is computed anew in every row: handling a cache would cost more.
_MIN_PREFIX = 16


@dataclass(frozen=True)
class Pair:
    """What to score: log p of `answer`, all its tokens, as the continuation of `context`; `per_token`: its mean."""

    context: Ids
    answer: Ids
    per_token: bool = False


@dataclass(frozen=True)
class Odds:
    """What to score: log Σ p(plus) − log Σ p(minus) of two sets of token sequences that continue `context`."""

    context: Ids
    plus: tuple[Ids, ...]
    minus: tuple[Ids, ...]

    @property
    def single(self) -> bool:
        """Whether all of them are single tokens: then they are read off one state, and the normaliser cancels."""
        return all(len(ids) == 1 for ids in self.plus + self.minus)


@dataclass(frozen=True, eq=False)
class Divergence:
    """What to score: KL(p || q) of the next token after `context`, p as `logprobs [vocab]` had it once."""

    context: Ids
    logprobs: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, lm: LanguageModel, context: Ids) -> "Divergence":
        """As the model has it now."""
        top = lm.hidden(torch.tensor([context]))[lm.n_layers]
        return cls(context, lm.lens(top[0, -1:]).log_softmax(-1)[0])


Scored = Pair | Odds
Asked = Scored | Divergence


@dataclass(frozen=True)
class _Group:
    """Pairs, by their places in the batch, whose contexts share a prefix; the shorter suffixes first."""

    prefix: Ids
    places: tuple[int, ...]

    def chunks(self, size: int | None) -> list[tuple[int, ...]]:
        """The places, `size` at a time."""
        step = size or len(self.places)
        return [self.places[begin : begin + step] for begin in range(0, len(self.places), step)]


def scores(lm: LanguageModel, pairs: Sequence[Asked]) -> Tensor:
    """The score of every pair [n], float32 with gradients.

    Raises:
        AccordError: a context or an answer is empty, or a pair is longer than the model reads.
    """
    parts = _forward(lm, pairs, _groups(lm, pairs), None)
    return _in_order([(places, values) for places, values, _ in parts], len(pairs))


def backward(
    lm: LanguageModel,
    pairs: Sequence[Asked],
    loss: Callable[[Tensor], Terms],
    *,
    micro_batch: int | None = None,
    seed: int = 0,
) -> Terms:
    """Add the gradient of a loss of all pairs' scores to the weights' `.grad`; the loss's terms, detached.

    With a `micro_batch` the pairs pass through the model so many at a time, and yet the gradient is that of the whole
    batch, whatever the loss: a first pass without gradients gives the scores and what the loss asks of each; a second
    one, with the same dropout, carries that back. The shared prefix is passed through once a pass. Without one that is
    done where the batch, its rows filled up to the longest, has more than 2,048 tokens or reads more than 2²⁷ logits.

    Args:
        seed: of the dropout.
    """
    torch.manual_seed(seed)
    groups = _groups(lm, pairs)
    micro_batch = micro_batch or _micro_batch(lm, pairs, groups)
    if micro_batch >= len(pairs):
        terms = loss(scores(lm, pairs))
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        return {name: term.detach() for name, term in terms.items()}
    with torch.no_grad():
        whole = _in_order([(places, s) for places, s, _ in _forward(lm, pairs, groups, micro_batch)], len(pairs))
    terms = loss(whole.requires_grad_())
    (gradient,) = torch.autograd.grad(torch.stack(list(terms.values())).sum(), whole)
    torch.manual_seed(seed)
    for places, values, prefix in _forward(lm, pairs, groups, micro_batch):
        values.backward(gradient[list(places)])  # type: ignore[no-untyped-call]
        if prefix is not None:
            prefix.finish()
    return {name: term.detach() for name, term in terms.items()}


def _micro_batch(lm: LanguageModel, pairs: Sequence[Asked], groups: Sequence[_Group]) -> int:
    """How many of these pairs pass through the model at a time."""
    tokens = read = 0
    for group in groups:
        sizes = [(len(pairs[i].context), len(ids)) for i in group.places for ids in _answers(pairs[i])]
        widths = [context - len(group.prefix) + size - 1 for context, size in sizes]
        tokens += len(widths) * max(widths)  # the shorter rows are filled up
        read += sum(size for _, size in sizes)
    return max(1, int(len(pairs) / max(1.0, tokens / _TOKENS, read * lm.vocab_size / _LOGITS)))


class _Prefix:
    """Keys and values of a shared prefix; cut off from its graph, so that chunks can be carried back one by one."""

    def __init__(self, original: KeysValues, *, cut: bool) -> None:
        self.original, self.pairs = original, original
        if cut and torch.is_grad_enabled():
            self.pairs = [(k.detach().requires_grad_(), v.detach().requires_grad_()) for k, v in original]

    def finish(self) -> None:
        """Carry what the chunks left at the cut back through the prefix."""
        tensors = [tensor for pair in self.original for tensor in pair]
        gradients = [tensor.grad for pair in self.pairs for tensor in pair]
        # The first layer's keys may not depend on any weight that learns.
        some = [(t, g) for t, g in zip(tensors, gradients, strict=True) if t.requires_grad and g is not None]
        if some:
            torch.autograd.backward([t for t, _ in some], [g for _, g in some])


def _forward(
    lm: LanguageModel, pairs: Sequence[Asked], groups: Sequence[_Group], size: int | None
) -> Iterator[tuple[tuple[int, ...], Tensor, _Prefix | None]]:
    """Chunk by chunk: places in the batch, scores, and with a prefix's last chunk the prefix, where it was cut off."""
    for group in groups:
        prefix = _Prefix(passed(lm, group.prefix), cut=size is not None) if group.prefix else None
        chunks = group.chunks(size)
        for chunk in chunks:
            values = _suffixes(lm, [pairs[i] for i in chunk], len(group.prefix), prefix)
            yield chunk, values, prefix if chunk is chunks[-1] and size is not None else None


def _suffixes(lm: LanguageModel, pairs: Sequence[Asked], start: int, prefix: _Prefix | None) -> Tensor:
    """Scores [n] of pairs from what follows position `start` of their sequences, in one forward pass."""
    answers = [_answers(pair) for pair in pairs]
    rows = [pair.context[start:] + ids[:-1] for pair, each in zip(pairs, answers, strict=True) for ids in each]
    width = max(map(len, rows))
    ids = torch.tensor([row + row[-1:] * (width - len(row)) for row in rows])
    cache = kv_cache(for_rows(prefix.pairs, len(rows))) if prefix else None
    states = lm.hidden(ids, cache=cache)[lm.n_layers]
    owner: list[int] = []
    places: list[int] = []
    row = 0
    for pair, each in zip(pairs, answers, strict=True):
        first = len(pair.context) - start - 1
        for answer in each:
            owner += [row] * len(answer)
            places += range(first, first + len(answer))
            row += 1
    logits = lm.lens(states[owner, places])  # [read, vocab]
    return _values(pairs, logits)


# Stands for the token after a context: all of its distribution is read, whichever it is.
_READ_THERE: tuple[Ids, ...] = ((0,),)


def _all_answers(pair: Asked) -> tuple[Ids, ...]:
    if isinstance(pair, Divergence):
        return _READ_THERE
    return (pair.answer,) if isinstance(pair, Pair) else pair.plus + pair.minus


def _answers(pair: Asked) -> tuple[Ids, ...]:
    """The answers of which each is a row of its own; sets of single tokens are read off one."""
    if isinstance(pair, Divergence):
        return _READ_THERE
    if isinstance(pair, Pair):
        return (pair.answer,)
    return pair.plus[:1] if pair.single else pair.plus + pair.minus


def _values(pairs: Sequence[Asked], logits: Tensor) -> Tensor:
    """Scores [n] of pairs from the logits [read, vocab] of their rows' answers, in that order; see `_answers`.

    All at once: a loop over pairs would have a GPU wait for the program, and its way back fill a gradient [read, vocab]
    for each of them.
    """
    steps: list[tuple[int, int, int]] = []  # where a token is read, the token, and whether it is normalised
    wholes: list[list[int]] = []  # of each answer: its steps
    sides: list[list[int]] = []  # of each set of answers, of which any counts: its answers
    factors: list[float] = []  # of each set: what it counts for
    owned: list[list[int]] = []  # of each pair: its sets
    read = 0
    diverging: list[tuple[int, int, Tensor]] = []  # of each divergence: the pair's number, its row, what p was
    for number, pair in enumerate(pairs):
        if isinstance(pair, Divergence):
            diverging.append((number, read, pair.logprobs))
            owned.append([])
            read += 1
            continue
        single = isinstance(pair, Odds) and pair.single
        counted: list[tuple[tuple[Ids, ...], float]]
        if isinstance(pair, Pair):
            counted = [((pair.answer,), 1 / len(pair.answer) if pair.per_token else 1.0)]
        else:
            counted = [(pair.plus, 1.0), (pair.minus, -1.0)]
        owned.append([len(sides) + i for i in range(len(counted))])
        for answers, factor in counted:
            sides.append([len(wholes) + i for i in range(len(answers))])
            factors.append(factor)
            for answer in answers:
                wholes.append([len(steps) + k for k in range(len(answer))])
                steps += [(read + k, token, 0 if single else 1) for k, token in enumerate(answer)]
                read += 0 if single else len(answer)
        read += 1 if single else 0
    values = logits.new_zeros(len(pairs))
    if steps:
        at, token, normalised = torch.tensor(steps, device=logits.device).unbind(-1)
        logp = logits[at, token]
        if any(step[2] for step in steps):
            logp = logp - logits.logsumexp(-1)[at] * normalised
        each = _gathered(_gathered(logp, wholes, 0.0).sum(-1), sides, float("-inf")).logsumexp(-1)
        values = _gathered(each * torch.tensor(factors, device=each.device), owned, 0.0).sum(-1)
    for number, row, before in diverging:
        now, was = logits[row].log_softmax(-1), before.to(logits)
        change = (was.exp() * (was - now)).sum()
        values = values.index_add(0, torch.tensor([number], device=values.device), change[None])
    return values


def _gathered(values: Tensor, which: Sequence[Sequence[int]], filler: float) -> Tensor:
    """The values [m] that each list numbers, [list, longest]; shorter lists are filled up."""
    longest = max(map(len, which))
    index = torch.tensor([[*row, *[-1] * (longest - len(row))] for row in which], device=values.device)
    return values[index].masked_fill(index < 0, filler)


def _groups(lm: LanguageModel, pairs: Sequence[Asked]) -> list[_Group]:
    """Pairs by shared prefix; those that share none are a group too. A prefix leaves every context its last token.

    Pairs at lengths where the model's numbers depend on the length share none, and are with their like.
    """
    for pair in pairs:
        if not pair.context or not all(_all_answers(pair)):
            raise AccordError("a pair needs a context and answers of at least one token", got=pair)
    lengths = [_length(lm, pair) for pair in pairs]
    read = (pair.context + ids[:-1] for pair in pairs for ids in _answers(pair))
    check_fits(lm, read, (ids for pair in pairs for ids in _all_answers(pair)))
    alike = lm.limits.grouped(lengths)
    groups = _sharing(lm, pairs, alike.pop(0, []))
    groups += [_Group((), tuple(places)) for places in alike.values()]
    return [_Group(g.prefix, tuple(sorted(g.places, key=lambda i: len(pairs[i].context)))) for g in groups]


def _length(lm: LanguageModel, pair: Asked) -> int:
    """How many tokens of a pair are read."""
    more = max(map(len, _answers(pair))) - 1
    check_alike(lm, len(pair.context), more)
    return len(pair.context) + more


def _sharing(lm: LanguageModel, pairs: Sequence[Asked], which: Sequence[int]) -> list[_Group]:
    """Groups of those pairs that `which` numbers, as they share prefixes."""
    order = sorted(which, key=lambda i: pairs[i].context)
    blocks: list[tuple[int, list[int]]] = []  # tokens shared, places
    for i in order:
        context = pairs[i].context
        if blocks:
            length, places = blocks[-1]
            shared = min(length, common(pairs[places[-1]].context, context), len(context) - 1)
            if shared >= _MIN_PREFIX and lm.cacheable:
                blocks[-1] = (shared, [*places, i])
                continue
        blocks.append((len(context) - 1, [i]))
    alone = [places[0] for _, places in blocks if len(places) == 1]
    groups = [_Group(pairs[places[0]].context[:n], tuple(places)) for n, places in blocks if len(places) > 1]
    return groups + ([_Group((), tuple(alone))] if alone else [])


def _in_order(parts: Sequence[tuple[tuple[int, ...], Tensor]], n: int) -> Tensor:
    """Scores of the parts at their places in the batch."""
    places = torch.tensor([i for part, _ in parts for i in part])
    values = torch.cat([part for _, part in parts])
    return values[torch.empty(n, dtype=torch.long).scatter_(0, places, torch.arange(n)).to(values.device)]
