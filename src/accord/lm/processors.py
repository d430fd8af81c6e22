"""From logits to a token: the penalty, temperature and cuts of sampling, exactly as transformers defines them.

Only the tokens that top-k leaves are sorted and summed, not the vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from accord.errors import AccordError


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn; see `generate`."""

    temperature: float = 0.7
    top_k: int = 100
    top_p: float = 0.9
    repetition_penalty: float = 1.5

    def __post_init__(self) -> None:
        sound = {
            "temperature": (self.temperature, self.temperature >= 0, "0 or more"),
            "top_k": (self.top_k, self.top_k >= 0, "0 (no cut) or more"),
            "top_p": (self.top_p, 0 < self.top_p <= 1, "above 0, up to 1 (no cut)"),
            "repetition_penalty": (self.repetition_penalty, self.repetition_penalty > 0, "above 0; 1 for none"),
        }
        for name, (value, good, wanted) in sound.items():
            if not good:
                raise AccordError(f"{name} makes no sense", got=value, wanted=wanted)


def draw(logits: Tensor, seen: Tensor, chance: Tensor, settings: Sampling) -> Tensor:
    """A token for each row, on the CPU.

    >>> draw(torch.tensor([[0.0, 9.0]]), torch.tensor([[0]]), torch.tensor([0.5]), Sampling(temperature=0))
    tensor([1])

    Args:
        logits: [row, vocab].
        seen: the tokens [row, position] that the penalty holds against.
        chance: a number [row] from 0 to below 1 for each: where in the distribution to take the token.
    """
    scores = penalize(logits, seen.to(logits.device), settings.repetition_penalty)
    if settings.temperature == 0:
        return scores.argmax(-1).cpu()
    scores, ids = candidates(scores / settings.temperature, settings)
    # In the order of the tokens, not of their scores: rounding may swap two that are nearly equal.
    ids, order = ids.cpu().sort(-1)
    reach = scores.cpu().double().gather(-1, order).softmax(-1).cumsum(-1)
    place = torch.searchsorted(reach, (chance * reach[:, -1])[:, None], right=True)
    # Tokens that were cut have width 0 and are never met, except past the end, where rounding might lead.
    last = (reach < reach[:, -1:]).sum(-1, keepdim=True)
    return ids.gather(-1, place.minimum(last)).squeeze(-1)


def penalize(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Divide the positive logits of seen tokens by the penalty, multiply the negative (Keskar et al. 2019).

    >>> penalize(torch.tensor([[2.0, -1.0, 3.0]]), torch.tensor([[0, 1]]), 2.0)
    tensor([[ 1., -2.,  3.]])
    """
    if penalty == 1:
        return logits
    scores = logits.gather(-1, seen)
    return logits.scatter(-1, seen, torch.where(scores < 0, scores * penalty, scores / penalty))


def candidates(scores: Tensor, settings: Sampling) -> tuple[Tensor, Tensor]:
    """Scores and ids [row, candidate] of the tokens that top-k and top-p leave; −inf where a row has fewer."""
    vocab = scores.shape[-1]
    count = min(settings.top_k or vocab, vocab)
    best, ids = scores.topk(count, dim=-1)
    ties = int((scores >= best[:, -1:]).sum(-1).max())
    if ties > count:
        limit = best[:, -1:]
        best, ids = scores.topk(ties, dim=-1)
        best = best.masked_fill(best < limit, -torch.inf)
    if settings.top_p < 1:
        rising = best.flip(-1).softmax(-1).cumsum(-1).flip(-1)  # of each: its own probability and all below it
        cut = rising <= 1 - settings.top_p
        cut[:, 0] = False
        best = best.masked_fill(cut, -torch.inf)
    return best, ids
