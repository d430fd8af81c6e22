"""The answer of one form to every item, as a function of one layer's state at the position it is given from.

Ablations, gradients and patches are all this function at other states. What stands before that position is computed
once: the items' shared beginning for all of them, the rest for every item.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from accord.errors import AccordError
from accord.gap.questions import Forms
from accord.lm.backbone import Backbone, kv_cache, kv_pairs
from accord.lm.batching import Progress
from accord.lm.prefix_tree import Ids
from accord.lm.splice import replaced
from accord.tasks import Task

Variants = Callable[[Tensor, Tensor], Iterable[Tensor]]
"""From states [b, d] and their items' numbers [b] to other states [b, d], as many times as it likes."""

KeysValues = list[tuple[Tensor, Tensor]]

_ROWS = 32


@dataclass(frozen=True)
class Answers:
    """One form of a task's items.

    Attributes:
        layer: whose states are varied: 0 to the top.
        contexts: token ids of each item's prompt.
        plus, minus: token ids of each item; its log-odds are log Σ p(plus) − log Σ p(minus). No minus: all others.
    """

    lm: Backbone
    layer: int
    contexts: Sequence[Ids]
    plus: Sequence[Ids]
    minus: Sequence[Ids] | None

    @classmethod
    def of(cls, lm: Backbone, task: Task, form: str, layer: int) -> "Answers":
        """The "generator" or "validator" form of a task: its answers are l_G or l_V of `accord.gap.Gap`.

        Raises AccordError if the model has no such layer.
        """
        if not 0 <= layer <= lm.n_layers:
            raise AccordError("no such layer", got=layer, wanted=f"0 to {lm.n_layers} in {lm.name}")
        forms = Forms.of(lm)
        asked = [forms.queries(lm, task, item) for item in task.items]
        if form == "generator":
            said = [query.answers[0][:1] for query, _ in asked]
            return cls(lm, layer, [query.context for query, _ in asked], said, None)
        contexts = [query.context for _, query in asked]
        return cls(lm, layer, contexts, [forms.yes] * len(asked), [forms.no] * len(asked))

    @cached_property
    def states(self) -> Tensor:
        """The layer's own states [n, d] at the position that answers, float32 on the CPU."""
        found = torch.empty(len(self.contexts), self.lm.d_model)
        for rows, states, _ in self._batches():
            found[rows] = states.float().cpu()
        return found

    @torch.no_grad()
    def vary(self, variants: Variants, *, progress: Progress | None = None) -> Tensor:
        """Log-odds, float32 [variant, item] on the CPU, with other states in the place of the layer's own.

        Args:
            variants: called with states as the layer gives them; must give equally many for every batch.
            progress: called with (items done, items in all).
        """
        found: list[Tensor] = []
        index: list[int] = []
        for rows, states, run in self._batches():
            own = run(states, None)
            found.append(
                torch.stack([_varied(own, states, other, run) for other in variants(states, torch.tensor(rows))])
            )
            index += rows
            if progress:
                progress(len(index), len(self.contexts))
        joined = torch.cat(found, dim=1)
        return joined[:, torch.tensor(index).argsort()]

    def gradient(self) -> Tensor:
        """d log-odds / d state, [n, d] float32 on the CPU, at the layer's own states."""
        found = torch.empty(len(self.contexts), self.lm.d_model)
        for rows, states, run in self._batches():
            with torch.enable_grad():
                leaf = states.detach().clone().requires_grad_()
                (slope,) = torch.autograd.grad(run(leaf, None).sum(), leaf)
            found[rows] = slope.float().cpu()
        return found

    def _batches(self) -> Iterator[tuple[list[int], Tensor, "_Run"]]:
        """Items' numbers, their states [b, d], and the function from states to log-odds."""
        shared = _shared(self.contexts)
        first = self._past(torch.tensor([self.contexts[0][:shared]]), []) if shared else []
        by_length: dict[int, list[int]] = defaultdict(list)
        for i, context in enumerate(self.contexts):
            by_length[len(context)].append(i)
        for length, items in by_length.items():
            for begin in range(0, len(items), _ROWS):
                rows = items[begin : begin + _ROWS]
                ids = torch.tensor([self.contexts[i] for i in rows], device=self.lm.device)
                wide = [(k.expand(len(rows), -1, -1, -1), v.expand(len(rows), -1, -1, -1)) for k, v in first]
                past = self._past(ids[:, shared:-1], wide) if length - 1 > shared else wide
                with torch.no_grad():
                    own = self.lm.hidden(ids[:, -1:], layers=[self.layer], cache=kv_cache(past))[self.layer][:, 0]
                yield rows, own, self._answering(rows, ids[:, -1:], past)

    @torch.no_grad()
    def _past(self, ids: Tensor, before: KeysValues) -> KeysValues:
        cache = kv_cache(before)
        self.lm.hidden(ids, cache=cache)
        return kv_pairs(cache)

    def _answering(self, rows: list[int], last: Tensor, past: KeysValues) -> "_Run":
        def run(states: Tensor, which: Tensor | None) -> Tensor:
            top, kept, ids, items = self.lm.n_layers, past, last, rows
            if which is not None:
                kept, ids = [(k[which], v[which]) for k, v in past], last[which]
                items = [rows[i] for i in which.tolist()]
            if self.layer < top:
                start = kept[0][0].shape[2] if kept else 0
                # A sequence of one position has no other to leave alone.
                with replaced(self.lm, self.layer, lambda _: states, start=max(start, 1), first=1):
                    states = self.lm.hidden(ids, layers=[top], cache=kv_cache(kept))[top][:, 0]
            return self._logodds(states.to(self.lm.dtype), items)

        return run

    def _logodds(self, top: Tensor, items: list[int]) -> Tensor:
        """Log-odds [b] of the top layer's states [b, d]."""
        plus = [self.plus[i] for i in items]
        if self.minus is not None and len({*self.plus, *self.minus}) == 2:  # the same two groups for every item
            tokens = torch.tensor([*self.plus[0], *self.minus[0]], device=top.device)
            logits, split = self.lm.lens_of(top, tokens), len(self.plus[0])
            return logits[:, :split].logsumexp(-1) - logits[:, split:].logsumexp(-1)
        logits, up = self.lm.lens(top), torch.tensor(plus, device=top.device)
        down = logits.scatter(1, up, float("-inf")) if self.minus is None else logits.gather(1, self._minus(items, up))
        return logits.gather(1, up).logsumexp(-1) - down.logsumexp(-1)

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


def _shared(contexts: Sequence[Ids]) -> int:
    """How many tokens all contexts begin with, the last of each left out."""
    first, last = min(contexts), max(contexts)  # all others lie between them
    most = min(map(len, contexts)) - 1
    return next((i for i in range(most) if first[i] != last[i]), most)
