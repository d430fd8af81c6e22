"""The tokens that a concept promotes: what it writes, read off directly by the head."""

from collections.abc import Sequence

import torch
from torch import Tensor

from accord.errors import AccordError
from accord.heads.concept_lm import ConceptLM
from accord.heads.head import Linear
from accord.lm.edited import backbone_of
from accord.steering.target import Target
from accord.steering.typical import Typical

_STATES = 32  # states that a lens's change is averaged over: it hardly depends on them


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
    plain = _read(target, x)
    return {k: logit_changes(target, typical, k, x, plain).topk(n).indices.tolist() for k in chosen}


@torch.no_grad()
def logit_changes(target: Target, typical: Typical, concept: int, x: Tensor, plain: Tensor | None = None) -> Tensor:
    """What a concept, as strong as it typically is, does to the logits [vocab] of raw states `x` [m, d], on average.

    Up to a constant; −∞ for a token without a logit of its own.

    Args:
        plain: the logits [m, vocab] of `x` itself, where they are known.
    """
    head = target.lm.head if isinstance(target.lm, ConceptLM) and target.own else None
    if isinstance(head, Linear) and head.config.reads == "latents":
        own = typical.latents[concept].to(head.weight)
        width = len(own)
        logits = own @ head.weight[concept * width : (concept + 1) * width]
        found = torch.full((head.vocabulary.size,), -torch.inf)
        return found.index_copy(0, head.vocabulary.observed.cpu(), logits.cpu())
    plain = _read(target, x) if plain is None else plain
    after = _read(target, x + typical.written[concept].to(x))
    return ((after - after.mean(1, keepdim=True)) - (plain - plain.mean(1, keepdim=True))).mean(0).cpu()


def _read(target: Target, x: Tensor) -> Tensor:
    """Logits [m, vocab] of states as they are: nothing encodes them again."""
    lm = target.lm
    if target.own and isinstance(lm, ConceptLM) and lm.head is not None:
        if lm.reader.reads == "latents":
            return x.new_zeros(len(x), 1)
        logits: Tensor = lm.head(x)
        return logits
    backbone = backbone_of(lm)
    return backbone.lens(x.to(backbone.dtype))
