"""The answer of one form to every item, as a function of one layer's state at the position it is given from.

Ablations, gradients and patches are all this function at other states. What stands before that position is computed
once: the items' shared beginning for all of them, the rest for every item. A model without a plain cache, or a prompt
at lengths where the model's numbers depend on the length, is read whole each time. Where an answer of several tokens
counts whole, its later tokens are read after that position, whose upper layers go on from the state that was put.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from accord.errors import AccordError
from accord.gap.answer_score import AnswerScore
from accord.gap.questions import LabelWords
from accord.lm.backbone import Backbone
from accord.lm.batching import check_alike, check_fits
from accord.lm.beginning import for_rows, passed, shared_length
from accord.lm.kv import KeysValues, kv_cache
from accord.lm.prefix_tree import Ids
from accord.lm.scoring import Counted, answer_logodds
from accord.lm.splice import replaced
from accord.progress import Progress
from accord.tasks import Task

Variants = Callable[[Tensor, Tensor], Iterable[Tensor]]
"""From states [b, d] and their items' numbers [b] to other states [b, d], as many times as it likes."""

_ROWS = 32
_KEPT = 2**29  # bytes of keys and values that are kept from one pass over the items to the next


@dataclass(frozen=True)
class AnswersByState:
    """One form of a task's items.

    Attributes:
        layer: whose states are varied: 0 to the top.
        contexts: token ids of each item's prompt.
        plus, minus: token ids of each item; its log-odds are log Σ p(plus) − log Σ p(minus). No minus: `plus` are an
            answer's tokens one after the other, and its log-odds are of what of them counts.
        counted: "first", "whole" or "per_token", see `accord.lm.scoring.answer_logodds`.
    """

    lm: Backbone
    layer: int
    contexts: Sequence[Ids]
    plus: Sequence[Ids]
    minus: Sequence[Ids] | None
    counted: Counted = "first"

    @classmethod
    def of(cls, lm: Backbone, task: Task, form: str, layer: int) -> "AnswersByState":
        """The "generator" or "validator" form of a task: its answers are l_G or l_V of `accord.gap.Gap`.

        Raises AccordError if the model has no such layer, or label words are several tokens each.
        """
        if not 0 <= layer <= lm.n_layers:
            raise AccordError("no such layer", got=layer, wanted=f"0 to {lm.n_layers} in {lm.name}")
        words = LabelWords.of(lm, task)
        yes, no = words.tokens(task, "an explanation by concepts")
        queries = words.queries(lm, task, task.items)
        if form == "generator":
            counted = AnswerScore.of(lm, task).counted
            answers = [query.answers[0][: 1 if counted == "first" else None] for query, _ in queries]
            return cls(lm, layer, [query.context for query, _ in queries], answers, None, counted)
        contexts = [query.context for _, query in queries]
        return cls(lm, layer, contexts, [yes] * len(queries), [no] * len(queries))

    @cached_property
    def states(self) -> Tensor:
        """The layer's own states [n, d] at the position that answers, float32 on the CPU."""
        table = torch.empty(len(self.contexts), self.lm.d_model)
        for rows, states, _ in self._batches():
            table[rows] = states.float().cpu()
        return table

    @torch.no_grad()
    def vary(self, variants: Variants, *, progress: Progress | None = None) -> Tensor:
        """Log-odds, float32 [variant, item] on the CPU, with other states in the place of the layer's own.

        Args:
            variants: called with states as the layer gives them; must give equally many for every batch.
            progress: called with (items done, items in all).
        """
        odds: list[Tensor] = []
        index: list[int] = []
        for rows, states, run in self._batches():
            own = run(states, None)
            odds.append(
                torch.stack([_varied(own, states, other, run) for other in variants(states, torch.tensor(rows))])
            )
            index += rows
            if progress:
                progress(len(index), len(self.contexts))
        joined = torch.cat(odds, dim=1)
        return joined[:, torch.tensor(index).argsort()]

    def gradient(self) -> Tensor:
        """d log-odds / d state, [n, d] float32 on the CPU, at the layer's own states."""
        slopes = torch.empty(len(self.contexts), self.lm.d_model)
        for rows, states, run in self._batches():
            with torch.enable_grad():
                leaf = states.detach().clone().requires_grad_()
                (slope,) = torch.autograd.grad(run(leaf, None).sum(), leaf)
            slopes[rows] = slope.float().cpu()
        return slopes

    def _batches(self) -> Iterator[tuple[list[int], Tensor, "_Run"]]:
        """Items' numbers, their states [b, d], and the function from states to log-odds."""
        check_fits(self.lm, self.contexts)
        alike = [i for i, context in enumerate(self.contexts) if self._continues(len(context))]
        shared = shared_length([self.contexts[i] for i in alike]) if alike else 0
        first: KeysValues | None = None
        longest = 1 if self.minus is not None else max(map(len, self.plus))
        size = max(1, _ROWS // longest)  # as many logits at a time, however long the answers
        by_length: dict[int, list[int]] = defaultdict(list)
        for i, context in enumerate(self.contexts):
            by_length[len(context)].append(i)
        for length, items in by_length.items():
            for begin in range(0, len(items), size):
                rows = items[begin : begin + size]
                if tuple(rows) in self._seen:
                    yield self._seen[tuple(rows)]
                    continue
                ids = torch.tensor([self.contexts[i] for i in rows], device=self.lm.device)
                past: KeysValues = ()
                if self._continues(length):
                    if first is None:
                        first = self._past(self.contexts[alike[0]][:shared]) if shared else ()
                    wide = for_rows(first, len(rows))
                    past = self._past(ids[:, shared:-1], wide) if length - 1 > shared else wide
                    ids = ids[:, -1:]
                with torch.no_grad():
                    own = self._read(ids, past, self.layer)
                if self._answers_at_once(rows):
                    past = ()
                batch = rows, own, self._answering(rows, ids, past)
                if self._has_room(past):
                    self._seen[tuple(rows)] = batch
                yield batch

    @cached_property
    def _seen(self) -> "dict[tuple[int, ...], tuple[list[int], Tensor, _Run]]":
        """Batches that were read before, and need not be read again."""
        return {}

    @cached_property
    def _bytes(self) -> list[int]:
        """The sizes of the keys and values that are kept."""
        return []

    def _has_room(self, past: KeysValues) -> bool:
        """Whether these keys and values may be kept, which is noted."""
        size = sum(tensor.numel() * tensor.element_size() for pair in past for tensor in pair)
        room = sum(self._bytes) + size <= _KEPT
        if room:
            self._bytes.append(size)
        return room

    def _answers_at_once(self, rows: list[int]) -> bool:
        """Whether the answers are read off the layer's states, without running any block."""
        return self.layer == self.lm.n_layers and not self._later(rows).shape[1]

    def _continues(self, length: int) -> bool:
        """Whether a prompt of so many tokens can go on from a cache."""
        return self.lm.cacheable and self.lm.limits.group(length) == 0

    def _read(self, ids: Tensor, past: KeysValues, layer: int) -> Tensor:
        """States [b, d] of a layer at the last of `ids` [b, position], which follow what was read."""
        last = torch.full((len(ids), 1), ids.shape[1] - 1)
        cache = kv_cache(past) if past else None
        return self.lm.hidden(ids, layers=[layer], at=last, cache=cache)[layer][:, 0]

    @torch.no_grad()
    def _past(self, ids: Tensor | Ids, before: KeysValues = ()) -> KeysValues:
        return passed(self.lm, ids, before)

    def _answering(self, rows: list[int], last: Tensor, past: KeysValues) -> "_Run":
        later = self._later(rows).to(last.device)
        ids, start, place = torch.cat([last, later], dim=1), past[0][0].shape[2] if past else 0, last.shape[1] - 1
        check_alike(self.lm, start + last.shape[1], later.shape[1])
        if start + place == 0:  # a sequence of one position has no other to leave alone
            start = 1

        def run(states: Tensor, which: Tensor | None) -> Tensor:
            chosen = torch.arange(len(rows)) if which is None else which.cpu()
            items, top = [rows[i] for i in chosen.tolist()], self.lm.n_layers
            if self._answers_at_once(rows):
                return self._logodds(states.to(self.lm.dtype)[:, None], items)
            kept = past if which is None else [(k[which.to(k.device)], v[which.to(v.device)]) for k, v in past]
            at = torch.arange(place, ids.shape[1]).expand(len(items), -1)
            cache, first = kv_cache(kept) if kept else None, start + place
            with replaced(self.lm, self.layer, lambda _: states, start=start, first=first, stop=first + 1):
                above = self.lm.hidden(ids[chosen], layers=[top], at=at, cache=cache)[top]
            return self._logodds(above.to(self.lm.dtype), items)

        return run

    def _later(self, rows: list[int]) -> Tensor:
        """The tokens of each row's answer but the last [row, n − 1]; shorter ones are filled up, which changes nothing
        before.
        """
        if self.minus is not None:
            return torch.empty(len(rows), 0, dtype=torch.long)
        width = max(len(self.plus[i]) for i in rows) - 1
        return torch.tensor([(self.plus[i][:-1] + (self.plus[i][-1],) * width)[:width] for i in rows]).long()

    def _logodds(self, top: Tensor, items: list[int]) -> Tensor:
        """Log-odds [b] of the top layer's states [b, position, d]."""
        if self.minus is None:
            return self._said(top, [self.plus[i] for i in items])
        plus, top = [self.plus[i] for i in items], top[:, 0]
        if len({*self.plus, *self.minus}) == 2:  # the same two groups for every item
            tokens = torch.tensor([*self.plus[0], *self.minus[0]], device=top.device)
            logits, split = self.lm.lens_of(top, tokens), len(self.plus[0])
            return logits[:, :split].logsumexp(-1) - logits[:, split:].logsumexp(-1)
        logits, up = self.lm.lens(top), torch.tensor(plus, device=top.device)
        return logits.gather(1, up).logsumexp(-1) - logits.gather(1, self._minus(items, up)).logsumexp(-1)

    def _said(self, top: Tensor, answers: list[Ids]) -> Tensor:
        """Log-odds [b] of answers from the states [b, position, d] that their tokens are read at."""
        width = top.shape[1]
        tokens = torch.tensor([(answer + answer[-1:] * width)[:width] for answer in answers], device=top.device)
        logits, up = self.lm.lens(top), tokens[..., None]
        steps = (logits.gather(-1, up) - logits.scatter(-1, up, float("-inf")).logsumexp(-1, keepdim=True))[..., 0]
        each = [answer_logodds(row[: len(answer)], self.counted) for row, answer in zip(steps, answers, strict=True)]
        return torch.stack(each)

    def _minus(self, items: list[int], like: Tensor) -> Tensor:
        assert self.minus is not None
        return torch.tensor([self.minus[i] for i in items], device=like.device)


_Run = Callable[[Tensor, Tensor | None], Tensor]
"""From states [k, d] of those rows of a batch that a tensor numbers (None: all) to log-odds [k]."""


def _varied(own: Tensor, states: Tensor, other: Tensor, run: _Run) -> Tensor:
    """Log-odds [b] at other states; rows that are as they were cost nothing, and most are where concepts are sparse."""
    changed = (other != states).any(-1).nonzero().flatten()
    varied = own.clone()
    if len(changed):
        varied[changed] = run(other[changed], changed)
    return varied.cpu()
