"""The tokens that a concept promotes, or any direction: what it writes, read off directly by the head."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from accord.arguments import checked
from accord.errors import AccordError
from accord.heads.concept_lm import ConceptLM
from accord.heads.linear import Linear
from accord.lm.edited import backbone_of
from accord.steering.target import Target
from accord.steering.typical import Typical

_STATES = 32  # states that a lens's change is averaged over: it hardly depends on them
_ROWS = 64  # states read at a time


@checked
@torch.no_grad()
def promoted(
    target: Target, typical: Typical, chosen: Sequence[int], states: Tensor, *, n: int = 10
) -> dict[int, list[int]]:
    """For each chosen concept the `n` tokens whose logits it raises most, as ids, the most first.

    A new head on latents is linear in them: what the concept usually contributes is a row of logits. Elsewhere logits
    are read off states by a norm and a head (the lens of the layer, or a trained head): what the concept usually
    writes is added to `states`, and each token's logit compared with the mean over the vocabulary, averaged over
    states. On an inner layer this sees the direct path only, not what later blocks make of it.

    Args:
        states: raw states [m, d] of the layer, of any texts; the first 32 are used.

    Raises:
        AccordError: a chosen concept was never active.
    """
    for concept in chosen:
        typical.edit(concept, 1.0)  # raises
    if not len(states):
        raise AccordError("no states to read what concepts promote", wanted="[1 or more, d]")
    x = states[:_STATES].float().to(target.lm.device)
    return {k: change.topk(n).indices.tolist() for k, change in logit_changes(target, typical, chosen, x)}


@checked
@torch.no_grad()
def promoted_along(target: Target, directions: Tensor, states: Tensor, *, n: int = 10) -> list[list[int]]:
    """For each of the directions [m, d] the `n` tokens whose logits it raises most when it is added to `states`.

    Every direction promotes some tokens, whether it means anything or not.

    A model that reads its own concepts reads them again in the states so moved, as it does when it is pushed.
    """
    x = states[:_STATES].float().to(target.lm.device)
    plain = _centred(_read_anew(target, x))
    moved = [_centred(_read_anew(target, x + direction.to(x))) for direction in directions]
    return [(after - plain).mean(0).topk(n).indices.tolist() for after in moved]


@torch.no_grad()
def logit_changes(target: Target, typical: Typical, chosen: Sequence[int], x: Tensor) -> Iterator[tuple[int, Tensor]]:
    """What each concept, as strong as it typically is, does to the logits [vocab] of raw states `x` [m, d] on average.

    Up to a constant; −∞ for a token without a logit of its own.
    """
    head = target.lm.head if isinstance(target.lm, ConceptLM) and target.own else None
    if isinstance(head, Linear) and head.config.reads == "latents":
        weight = head.weight.reshape(len(typical.latents), -1, head.vocabulary.columns)
        for concept in chosen:
            logits = torch.full((head.vocabulary.size,), -torch.inf)
            own = (typical.latents[concept].to(weight) @ weight[concept]).cpu()
            yield concept, logits.index_copy(0, head.vocabulary.observed.cpu(), own)
        return
    plain = _centred(_read(target, x)).mean(0)
    size = max(1, _ROWS // len(x))
    for begin in range(0, len(chosen), size):
        some = list(chosen[begin : begin + size])
        rows = x[None] + typical.written[some].to(x)[:, None]
        after = _centred(_read(target, rows.flatten(0, 1))).reshape(len(some), len(x), -1).mean(1)
        yield from zip(some, (after - plain).cpu(), strict=True)


def _centred(logits: Tensor) -> Tensor:
    return logits - logits.mean(1, keepdim=True)


def _read_anew(target: Target, x: Tensor) -> Tensor:
    """Logits [m, vocab] of raw states, encoded first by a model that reads its own concepts."""
    lm = target.lm
    if not (target.own and isinstance(lm, ConceptLM)):
        return _read(target, x)
    read = lm.reader(x)
    if lm.head is not None:
        logits: Tensor = lm.head(read)
        return logits
    assert isinstance(read, Tensor)
    return lm.backbone.lens(read.to(lm.dtype))


def _read(target: Target, x: Tensor) -> Tensor:
    """Logits [m, vocab] of states as they are: nothing encodes them again."""
    lm = target.lm
    if target.own and isinstance(lm, ConceptLM) and lm.head is not None:
        logits: Tensor = lm.head(x)
        return logits
    backbone = backbone_of(lm)
    return backbone.lens(x.to(backbone.dtype))
