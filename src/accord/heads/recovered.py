"""CE recovered: how much of a backbone's next-token prediction survives when concepts take the place of a layer.

Three cross-entropies on the same tokens: untouched, with the reconstruction put in, and with the training mean put in
(which says nothing of the token): (CE_ablated − CE_recon)/(CE_ablated − CE_original).
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from accord.arguments import checked
from accord.concepts.base import ConceptModel
from accord.concepts.metrics import ce_recovered
from accord.concepts.transcoder import Transcoder
from accord.errors import AccordError
from accord.heads.chunked import chunks
from accord.heads.reader import Reader
from accord.heads.vocabulary import Rows
from accord.lm.backbone import Backbone
from accord.lm.perplexity import perplexity
from accord.lm.splice import Change, replaced


@dataclass(frozen=True)
class Recovered:
    """Cross-entropies in nats a token, on the same `tokens` tokens; the hard one with gates open or shut."""

    original: float
    ablated: float
    soft: float
    hard: float
    tokens: int

    @property
    def recovered(self) -> float:
        """CE recovered by the reconstruction; AccordError where ablation does not hurt."""
        return ce_recovered(self.original, self.soft, self.ablated)

    @property
    def recovered_hard(self) -> float:
        """The same with hard gates; equal for kinds without gates."""
        return ce_recovered(self.original, self.hard, self.ablated)


@checked
def recovered_on_texts(
    backbone: Backbone,
    layer: int,
    concepts: ConceptModel,
    texts: Sequence[str],
    *,
    target: int | None = None,
    **options: Any,
) -> Recovered:
    """CE recovered at any layer, on texts: what is put in goes on through the remaining blocks.

    The first position stays as it is in all three, and so does the loss of a text's first token, which cancels.

    Args:
        layer: the one that the concepts read.
        target: of a transcoder, the layer above it that it reconstructs, and where that is put in.
        options: of `accord.lm.perplexity.perplexity`, such as `max_length`.

    Raises AccordError as `perplexity` does, for concepts of another layer, for a target of any but a transcoder that
    was trained here or one that is not above the layer, or when no token could be scored.
    """
    concepts.check_layer(layer)
    if (target is not None) != isinstance(concepts, Transcoder) or (target is not None and target <= layer):
        problem = "no such place to put in what concepts reconstruct"
        wanted = "for transcoders alone, a layer above the one that they read"
        raise AccordError(problem, where=repr(concepts).partition(":")[0], got=f"target = {target}", wanted=wanted)
    read: list[Tensor] = []  # the rows that a transcoder reads, on their way to its target

    def keep(x: Tensor) -> Tensor:
        read[:] = [x]
        return x

    def measure(change: Change | None) -> tuple[float, int]:
        with ExitStack() as changed:
            if change and target is not None:
                changed.enter_context(replaced(backbone, layer, keep))
            if change:
                changed.enter_context(replaced(backbone, layer if target is None else target, change))
            scores = perplexity(backbone, texts, **options)
        tokens = int(scores.tokens.sum())
        if tokens == 0:
            raise AccordError("no token of these texts can be scored", got=f"{len(texts)} texts")
        return float(scores.nll.sum()) / tokens, tokens

    changes = _transcoded(concepts, read) if isinstance(concepts, Transcoder) else _changes(concepts)
    values = [measure(change) for change in [None, *changes]]
    return _recovered([value for value, _ in values], values[0][1])


@checked
@torch.no_grad()
def recovered_on_rows(backbone: Backbone, concepts: ConceptModel, batches: Iterable[Rows]) -> Recovered:
    """CE recovered at the top layer, on rows of an embedding store of that layer: no block needs to run.

    Raises AccordError when no row has a next token.
    """
    changes: list[Change] = [lambda x: x, *_changes(concepts)]
    totals, tokens = [0.0] * len(changes), 0
    for batch in batches:
        keep = batch.next >= 0
        x, following = batch.x[keep].to(backbone.device).float(), batch.next[keep].to(backbone.device)
        tokens += len(x)
        for part in chunks(len(x), backbone.vocab_size):
            for i, change in enumerate(changes):
                logits = backbone.lens(change(x[part]).to(backbone.dtype))
                totals[i] += float(F.cross_entropy(logits, following[part], reduction="none").double().sum())
    if tokens == 0:
        raise AccordError("no row has a next token")
    return _recovered([total / tokens for total in totals], tokens)


def _changes(concepts: ConceptModel) -> list[Change]:
    """Mean ablation, soft reconstruction and, for gated kinds, the hard one."""

    def ablation(x: Tensor) -> Tensor:
        return concepts.mean.expand(len(x), -1)

    gates = (False, True) if concepts.gated else (False,)
    return [ablation, *(Reader("reconstruction", concepts, hard).states for hard in gates)]


def _transcoded(concepts: Transcoder, read: list[Tensor]) -> list[Change]:
    """The same for a transcoder, of the rows in `read`."""
    return [
        lambda y: concepts.mean_out.expand(len(y), -1),
        lambda _: concepts(read[0].to(concepts.mean)),
    ]


def _recovered(values: list[float], tokens: int) -> Recovered:
    return Recovered(original=values[0], ablated=values[1], soft=values[2], hard=values[-1], tokens=tokens)
