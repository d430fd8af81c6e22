"""What concepts write: their directions, the tokens that these make more and less probable, and their neighbours."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accord import on_cpu
from accord.concepts.base import ConceptModel, Encoded
from accord.heads.head import finish_slope, head_weights, norm_copies
from accord.lm.backbone import Backbone
from accord.names.collect import Collected

_BLOCK = 256


@torch.no_grad()
def written(model: ConceptModel, collected: Collected) -> Tensor:
    """What each concept adds to the reconstruction in raw space, its mean over the tokens on which it fires, `[K, d]`.

    Every kind's decoder is affine in strength · content, so the mean effect is the effect of the mean: decode of the
    mean strength (for kinds with content, of the mean of strength · content) of one concept alone, less decode of
    none. For an autoencoder that is mean strength × decoder row; for LCBLM the concept's decoder block applied to
    its mean gated embedding. Zero for a concept that never fires.
    """
    count = torch.from_numpy(np.maximum(collected.count, 1))[:, None]
    mean = torch.from_numpy(collected.total)[:, None] / count
    content = None if collected.content is None else torch.from_numpy(collected.content) / count
    parts = []
    for begin in range(0, model.K, _BLOCK):
        own = torch.arange(begin, min(begin + _BLOCK, model.K))
        place = torch.arange(len(own)), own
        strength = torch.zeros(len(own), model.K, dtype=model.mean.dtype)
        strength[place] = (mean[own, 0] if content is None else torch.ones(len(own))).to(strength)
        blocks = None
        if content is not None:
            blocks = torch.zeros(len(own), model.K, content.shape[1], dtype=strength.dtype)
            blocks[place] = content[own].to(strength)
            blocks = blocks.to(model.device)
        alone = model.decode(Encoded(strength.to(model.device), blocks))
        off = torch.zeros_like(strength[:1]).to(model.device)
        none = model.decode(Encoded(off, None if blocks is None else blocks[:1]))
        parts.append(alone - none)
    return torch.cat(parts).float()


def through_lens(backbone: Backbone, states: Tensor, directions: Tensor) -> Tensor:
    """How fast each direction `[K, d]` moves what the head reads, at real states `[m, d]` on average: `[K, d']`.

    J w with J = E_x[∂ norm(x)/∂x], the exact derivative of the final norm. The head is linear behind it, so that
    W_U J w are the changes of the logits to first order. For a layer below the top this is the direct path alone:
    what the blocks between make of the direction is not in it.
    """
    norm = nn.ModuleList(norm_copies(backbone)).float().requires_grad_(False)

    def normed(x: Tensor) -> Tensor:
        for module in norm:
            x = module(x)
        return x

    directions = directions.to(backbone.device)
    total: Tensor | None = None
    for state in states.to(backbone.device).float():
        here = state.expand_as(directions).contiguous()
        moved: Tensor = torch.autograd.functional.jvp(normed, here, directions)[1]  # type: ignore[no-untyped-call]
        total = moved if total is None else total + moved
    assert total is not None
    return (total / len(states)).detach()


@torch.no_grad()
@on_cpu.quick()
def moved_tokens(backbone: Backbone, moved: Tensor, count: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The tokens whose logits `moved [K, d']` raises most and lowers most: change and id `[K, count]`, twice.

    Changes are relative to the mean over the vocabulary, which no probability depends on.
    """
    weight = head_weights(backbone)[0] * finish_slope(backbone.lens_parts()[2])
    weight = weight - weight.mean(0)
    parts = []
    for part in torch.split(moved, _BLOCK):
        change = part @ weight.T
        up, down = change.topk(count), change.topk(count, largest=False)
        parts.append((up.values.cpu(), up.indices.cpu(), down.values.cpu(), down.indices.cpu()))
    up_by, up_ids, down_by, down_ids = (torch.cat(column) for column in zip(*parts, strict=True))
    return (up_by, up_ids), (down_by, down_ids)


@on_cpu.quick()
def nearest(directions: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Cosine and number of the concepts whose directions `[K, d]` are nearest to each: `[K, min(count, K − 1)]`.

    Concepts that write nothing have cosine 0 to all.
    """
    unit = F.normalize(directions, dim=1)
    count = min(count, len(unit) - 1)
    values, indices = [], []
    for begin in range(0, len(unit), _BLOCK):
        cosine = unit[begin : begin + _BLOCK] @ unit.T
        rows = torch.arange(len(cosine))
        cosine[rows, rows + begin] = -torch.inf
        top = cosine.topk(count)
        values.append(top.values.cpu())
        indices.append(top.indices.cpu())
    return torch.cat(values), torch.cat(indices)
