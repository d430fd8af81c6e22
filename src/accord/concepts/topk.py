"""TopK sparse autoencoder (Gao et al. 2024, arXiv 2406.04093): the k largest latents of every row.

Dead latents are revived by the auxiliary loss of their appendix A.2: the residual, detached, is modelled with
the `k_aux` largest of the dead latents alone.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from accord.concepts.base import Encoded, Sparse
from accord.concepts.config import TopKConfig
from accord.concepts.sae import SAE, dead_concepts
from accord.concepts.sparse import Pattern, sparse_encode
from accord.concepts.step import Step

# Candidates of a row beside its k largest, where a product in bfloat16 names them: of Gaussian rows, the true k were
# always among k + 8 (8,192 latents each, 576 → 4,096 and 1,024 → 32,768).
MARGIN = 16
# Rows whose dense pre-activations exist at one time: they then stay in cache between product and selection,
# and the allocator reuses the block. On a GPU the whole batch is better.
CHUNK = {"cpu": 512}


class TopK(SAE):
    """Strengths: ReLU of the k largest pre-activations of each row, kept sparse."""

    unit_norm = True

    def __init__(self, config: TopKConfig, d: int) -> None:
        super().__init__(config, d, config.size)
        self.k, self.aux_weight, self.dead_after = config.k, config.aux_weight, config.dead_after

    def _encode(self, xs: Tensor) -> Sparse:
        values, indices = largest(self, xs, self.k)
        pattern = Pattern.of_rows(indices, self.K)
        pre = sparse_encode(xs, self.b_dec, self.W_enc, self.b_enc, pattern, values.reshape(-1))
        return Sparse(pattern, pre.relu())

    def phase(self, step: Step) -> tuple[float, ...]:
        """The number of dead latents."""
        return (self.n_dead(self.dead_after),)

    def encode(self, x: Tensor) -> Encoded:
        """Raw embeddings `[n, d]` to concepts."""
        self.check(x)
        return Encoded(self._encode(self.standardise(x)))

    def loss(self, x: Tensor, step: Step) -> dict[str, Tensor]:
        """`mse` over rows and dimensions, and `aux`."""
        xs = self.standardise(x)
        z = self._encode(xs)
        residual = xs - self.reconstruct(z)
        dead = dead_concepts(self, self.dead_after)
        aux = aux_k(self, xs, residual.detach(), dead, step)
        count_fired(self, z, step)
        return {"mse": step.mean(residual.square()), "aux": self.aux_weight * aux}


@torch.no_grad()
def largest(sae: SAE, xs: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest pre-activations of each row of `xs [n, d]`, unsorted, and their concepts: `[n, k]`.

    In training on a GPU, of candidates that a product in bfloat16 names; their values are computed in full.
    """
    if sae.rounds:
        return _of_candidates(sae, xs, k)
    chunk = CHUNK.get(xs.device.type, len(xs))
    bias = sae.b_enc - sae.W_enc @ sae.b_dec
    parts = [F.linear(part, sae.W_enc, bias).topk(k, sorted=False) for part in torch.split(xs, max(chunk, 1))]
    return torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts])


def _of_candidates(sae: SAE, xs: Tensor, k: int) -> tuple[Tensor, Tensor]:
    centred = xs - sae.b_dec
    candidates = places_of_largest(rough_pre(sae, centred), min(k + MARGIN, sae.K))
    values = sae.pre_at(centred, Pattern.of_rows(candidates, sae.K))
    top = values.reshape(candidates.shape).topk(k, sorted=False)
    return top.values, candidates.gather(1, top.indices)


def rough_pre(sae: SAE, centred: Tensor) -> Tensor:
    """Dense pre-activations `[n, K]` in bfloat16 of `centred [n, d]`, embeddings less b_dec."""
    return F.linear(centred.bfloat16(), sae.W_enc.bfloat16(), sae.b_enc.bfloat16())


def places_of_largest(values: Tensor, k: int) -> Tensor:
    """Where the k largest of each row of `values [n, K]` are, unsorted: `[n, k]`.

    The k largest numbers are in those k groups whose largest are largest. To look for groups first, and then in k of
    them, reads the rows once and little of them twice; `topk` of long rows reads them several times on a GPU.
    """
    n, K = values.shape
    # Of a group: so that there are about as many groups as numbers in those k that are looked into.
    size = 2 ** round(math.log2(max(K / k, 1)) / 2)
    if size < 4 or K % size:
        return values.topk(k, sorted=False).indices
    groups = K // size  # group g has columns g, g + groups, …
    best = values.view(n, size, groups).amax(1).topk(k, sorted=False).indices
    places = (best[:, :, None] + torch.arange(0, K, groups, device=values.device)).flatten(1)
    return places.gather(1, values.gather(1, places).topk(k, sorted=False).indices)


def count_fired(sae: SAE, z: Sparse, step: Step) -> None:
    """Keep the account of which latents fired in this batch."""
    fired = torch.zeros(sae.K + 1, dtype=torch.bool, device=sae.idle.device)
    fired.index_fill_(0, torch.where(z.values > 0, z.pattern.indices, sae.K), True)  # the last is nobody's
    sae.count_idle(fired[:-1], z.pattern.n, step)


def aux_k(sae: SAE, xs: Tensor, residual: Tensor, dead: Tensor, step: Step) -> Tensor:
    """What the d/2 largest dead latents leave of the residual's variance, times min(1, dead/(d/2)).

    The normaliser makes the term comparable between layers; the last factor (as in EleutherAI's sparsify)
    keeps a handful of dead latents from being pulled as hard as hundreds. Zero without dead latents.
    """
    if len(dead) == 0:
        return residual.new_zeros(())
    k_aux = max(1, sae.d // 2)
    pre = F.linear(xs - sae.b_dec, sae.W_enc[dead], sae.b_enc[dead]).relu()
    top = pre.topk(min(k_aux, len(dead)), sorted=False)
    z = torch.zeros_like(pre).scatter(1, top.indices, top.values)
    left = step.sum((residual - z @ sae.W_dec[dead]).square().sum())
    total = step.sum((residual - step.mean_row(residual)).square().sum()).clamp_min(1e-12)
    return min(1.0, len(dead) / k_aux) * left / total
