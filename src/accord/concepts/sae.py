"""What the sparse autoencoders share: weights, decoder, unit-norm rows, reseeding of dead concepts.

Everything here is in standardised space; `ConceptModel` maps raw embeddings in and out.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accord.concepts.base import ConceptModel, Encoded, Sparse
from accord.concepts.config import Settings
from accord.concepts.sparse import Pattern, sddmm, sparse_decode, sparse_encode
from accord.concepts.step import Step


class SAE(ConceptModel):
    """z = f(W_enc (x − b_dec) + b_enc), x̂ = z W_dec + b_dec, with W_enc and W_dec `[K, d]`: a row a concept.

    W_enc starts equal to W_dec, whose rows start as random unit vectors (Gao et al. 2024, appendix A).
    """

    by_ranks = True
    unit_norm = False  # are decoder rows held at norm 1 during training?

    def __init__(self, config: Settings, d: int, K: int) -> None:
        super().__init__(config, d, K)
        directions = F.normalize(torch.randn(K, d), dim=1)
        self.W_enc = nn.Parameter(directions.clone())
        self.b_enc = nn.Parameter(torch.zeros(K))
        self.W_dec = nn.Parameter(directions)
        self.b_dec = nn.Parameter(torch.zeros(d))

    @property
    def rounds(self) -> bool:
        """Are dense products rounded now, so that what is chosen by them has to be computed again?"""
        return self.training and self.device.type != "cpu"

    def pre(self, xs: Tensor) -> Tensor:
        """Dense pre-activations `[n, K]` of standardised embeddings `[n, d]`."""
        return F.linear(xs - self.b_dec, self.W_enc, self.b_enc)

    def pre_at(self, centred: Tensor, pattern: Pattern) -> Tensor:
        """The pre-activations at `pattern` alone, `[nnz]`, of `centred [n, d]`, embeddings less b_dec. No gradient."""
        return sddmm(centred, self.W_enc, pattern) + self.b_enc[pattern.indices]

    def at(self, xs: Tensor, flat: Tensor, values: Tensor | None) -> Sparse:
        """ReLU of those pre-activations of `xs [n, d]` alone that stand at `flat [nnz]` in `[n, K]`, in order.

        `values [nnz]` are these pre-activations, None to compute them here; gradients go through them.
        """
        pattern = Pattern.of_flat(flat, len(xs), self.K)
        return Sparse(pattern, sparse_encode(xs, self.b_dec, self.W_enc, self.b_enc, pattern, values).relu())

    def above(self, xs: Tensor, threshold: Tensor) -> Sparse:
        """The pre-activations of `xs [n, d]` that are above `threshold [K]`, which is nowhere below 0."""
        with torch.no_grad():
            pre = self.pre(xs)
            flat = (pre > threshold).flatten().nonzero().squeeze(1)
            values = pre.flatten()[flat]
        return self.at(xs, flat, values)

    def reconstruct(self, strength: Tensor | Sparse) -> Tensor:
        """Strengths to standardised embeddings `[n, d]`."""
        if isinstance(strength, Sparse):
            return sparse_decode(strength.values, strength.pattern, self.W_dec) + self.b_dec
        return strength @ self.W_dec + self.b_dec

    def decode(self, encoded: Encoded) -> Tensor:
        """Concepts to raw embeddings `[n, d]`."""
        return self.restore(self.reconstruct(encoded.stored))

    def directions(self) -> Tensor:
        """What a unit of each concept writes in raw space: its decoder row times the scale, `[K, d]`."""
        return self.W_dec.detach() * self.scale

    def concept_parameters(self) -> dict[str, nn.Parameter]:
        """Encoder rows and biases and decoder rows."""
        return {"W_enc": self.W_enc, "b_enc": self.b_enc, "W_dec": self.W_dec}

    def unit_rows(self) -> tuple[nn.Parameter, ...]:
        """The decoder, for kinds that hold its rows at norm 1."""
        return (self.W_dec,) if self.unit_norm else ()


def worst_rows(xs: Tensor, residual: Tensor, count: int, step: Step) -> tuple[Tensor, Tensor]:
    """`count` rows `[count, d]`, drawn in proportion to their squared residual, and their residuals."""
    share = residual.square().sum(1)
    if step.generator is not None:
        share = share.to(step.generator.device)
    rows = torch.multinomial(share + 1e-12, count, replacement=count > len(xs), generator=step.generator)
    rows = rows.to(xs.device)
    return xs[rows], residual[rows]


def living_norm(W: Tensor, dead: Tensor) -> Tensor | float:
    """Mean norm of the rows of `W [K, d]` that are not dead; 1 where all are."""
    alive = torch.ones(len(W), dtype=torch.bool, device=W.device).index_fill(0, dead, False)
    return W[alive].norm(dim=1).mean() if alive.any() else 1.0


def dead_concepts(model: ConceptModel, after: int) -> Tensor:
    """Numbers of the concepts that have not fired for `after` training tokens, in order."""
    dead = model.idle >= after
    count = model.n_dead(after)
    # Not by nonzero: it would make the program wait for a GPU to know their number, which is known here.
    return dead.byte().argsort(descending=True, stable=True)[:count] if count else dead.new_empty(0, dtype=torch.int64)
