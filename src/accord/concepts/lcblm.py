"""LCBLM, the learnable concept-based language model: concepts are Bernoulli variables with an embedding each.

After LCBM (De Santis et al., ECML-PKDD 2025, arXiv 2506.02092). An encoder gives every token an embedding e_k
∈ R^E for each of K concepts; concept k is on where e_k resembles its prototype h_k: α_k = σ(s · sim(e_k,
h_k)). What an active concept writes is its embedding through its block of a linear decoder, so that, unlike
an autoencoder's latent, it may say *how* it is present. `lcblm_shared.py` has the variant with one embedding
a token for all concepts.

An embedding of E numbers has room for two things that are never there together, and a concept that took both at the
start keeps them: nothing is left unexplained that would tell them apart. So concepts are formed first, in a share of
training in which each writes its prototype alone, the same wherever it is on. Rates count more meanwhile, and a concept
whose gate follows another's is aimed anew. Only then do embeddings come in.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accord.concepts import kernels
from accord.concepts.base import ConceptModel, Encoded
from accord.concepts.config import LCBLMConfig, LCBLMFields
from accord.concepts.gates import gate_entropy, rate_divergence, relaxed_bernoulli
from accord.concepts.sae import dead_concepts, worst_rows
from accord.concepts.step import Step

SCALE_RANGE = (1.0, 100.0)  # s is learned within
SCALE_START = 10.0
FIRMER = 3.0  # times that rates count more while concepts are formed
TWINS = 0.5  # correlation of two gates from which one of them is spare


def similarity(kind: str, e: Tensor, h: Tensor, offset: Tensor | None) -> Tensor:
    """Similarity `[n, K]` of each prototype `h [K, E]` and its embedding `e [n, K, E]`, or one for all `e [n, E]`."""
    shared = e.ndim == 2
    if kind == "distance":
        assert offset is not None
        distance = torch.cdist(e, h) if shared else (e - h).square().sum(-1).clamp_min(1e-12).sqrt()
        return offset - distance
    inner: Tensor = e @ h.T if shared else (e * h).sum(-1)
    if kind == "inner":
        return inner
    norms: Tensor = e.norm(dim=-1, keepdim=shared) * h.norm(dim=-1)
    return inner / norms.clamp_min(1e-8)


def block_overlap(W: Tensor) -> Tensor:
    """Mean over pairs k < l of ‖V_k V_lᵀ‖², V_k the Frobenius-normalised blocks of `W [K, E, d]`.

    Σ_{k<l} ‖V_k V_lᵀ‖² = (‖V Vᵀ‖² − Σ_k ‖V_kᵀ V_k‖²)/2 with all blocks stacked in V: no loop over pairs.
    """
    K, E, d = W.shape
    V = W / W.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None]
    stacked = V.reshape(K * E, d)
    gram = stacked.T @ stacked if d < K * E else stacked @ stacked.T  # the same norm; take the smaller
    own = torch.einsum("ked,kfd->kef", V, V)
    overlap: Tensor = gram.square().sum() - own.square().sum()
    return overlap / (K * (K - 1))


def twins(on: Tensor) -> Tensor:
    """Which concepts' gates `on [n, K]` (bool) follow an earlier one's, by their correlation over the rows: `[K]`.

    >>> twins(torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]]).bool())
    tensor([False, False,  True, False])
    """
    centred = on.double() - on.double().mean(0)
    products = centred.T @ centred
    size = products.diag().sqrt().clamp_min(1e-9)
    return (products > TWINS * size * size[:, None]).triu(1).any(0)


class LCBLMBase(ConceptModel):
    """Gates, decoder and loss, which both kinds share. A kind adds its encoder and what a concept's z is."""

    by_ranks = True
    gated = True

    def __init__(self, config: LCBLMFields, d: int) -> None:
        super().__init__(config, d, config.concepts)
        self.c, self.E, self.ramp = config, config.width, config.warmup
        self.hidden = nn.Linear(d, d) if config.encoder == "mlp" else None
        self.h = nn.Parameter(torch.randn(self.K, self.E))
        self.s = nn.Parameter(torch.tensor(SCALE_START))
        self.offset = nn.Parameter(torch.ones(self.K)) if config.similarity == "distance" else None
        blocks = (self.K,) if config.decoder == "stacked" else ()
        self.W_dec = nn.Parameter(torch.randn(*blocks, self.E, d) / (self.K * self.E) ** 0.5)
        self.b_dec = nn.Parameter(torch.zeros(d))

    def features(self, xs: Tensor) -> Tensor:
        """What the last encoder layer reads, `[n, d]`, of standardised embeddings `xs [n, d]`."""
        return F.gelu(self.hidden(xs)) if self.hidden is not None else xs

    def logits(self, e: Tensor) -> Tensor:
        """Gate logits `[n, K]` of embeddings `[n, K, E]` or `[n, E]`."""
        return self.s.clamp(*SCALE_RANGE) * similarity(self.c.similarity, e, self.h, self.offset)

    def write(self, z: Tensor) -> Tensor:
        """Decoder: gated concept embeddings `[n, K, E]` to standardised embeddings `[n, d]`."""
        if self.c.decoder == "sum":
            return z.sum(1) @ self.W_dec + self.b_dec
        return z.flatten(1) @ self.W_dec.flatten(0, 1) + self.b_dec

    def sampled(self, logits: Tensor, content: Tensor, step: Step) -> Tensor:
        """z_k = c_k (content_k + σ0 ε) with relaxed gates c, `[n, K, E]`."""
        c = relaxed_bernoulli(logits, self.c.temperature, step)
        noisy = content.expand(len(c), -1, -1)
        if self.c.noise:
            noisy = noisy + self.c.noise * step.normal_like(noisy)
        return c[:, :, None] * noisy

    def gate_terms(self, logits: Tensor, step: Step, firmness: float = 1.0) -> dict[str, Tensor]:
        """Terms `rate`, with β · `firmness`, `entropy` and `ortho`; those with weight 0 are left out."""
        ramp, terms = step.ramp(self.c.warmup), {}
        if self.c.rate_weight:
            weight = ramp * firmness * self.c.rate_weight
            terms["rate"] = weight * rate_divergence(step.mean_row(logits.sigmoid()), self.c.prior)
        if self.c.entropy_weight:
            terms["entropy"] = ramp * self.c.entropy_weight * step.mean(gate_entropy(logits))
        if self.c.ortho_weight:
            terms["ortho"] = ramp * self.c.ortho_weight * step.once(block_overlap(self.W_dec))
        self.count_idle((logits > 0).any(0), len(logits), step)
        return terms

    def phase(self, step: Step) -> tuple[float, ...]:
        """The weight of the gates' terms."""
        return (step.ramp(self.c.warmup),)

    @torch.no_grad()
    def after_update(self) -> None:
        """Keep s in its range."""
        self.s.clamp_(*SCALE_RANGE)

    def concept_parameters(self) -> dict[str, nn.Parameter]:
        """Prototypes, offsets and decoder blocks."""
        parameters = {"h": self.h}
        if self.offset is not None:
            parameters["offset"] = self.offset
        if self.c.decoder == "stacked":
            parameters["W_dec"] = self.W_dec
        return parameters

    def _write_residual(self, dead: Tensor, h: Tensor, residual: Tensor) -> None:
        """Make each dead concept's block write its residual where its embedding is h `[dead, E]`."""
        if self.c.decoder == "stacked":
            unit = h / h.square().sum(1, keepdim=True).clamp_min(1e-12)
            self.W_dec[dead] = unit[:, :, None] * residual[:, None, :]


class LCBLM(LCBLMBase):
    """Per-concept encoder: strength α_k, content e_k `[n, K, E]`, z_k = strength_k · e_k."""

    def __init__(self, config: LCBLMConfig, d: int) -> None:
        super().__init__(config, d)
        self.gamma, self.forming = config.prototype_weight, config.forming
        self.ramp = min(1.0, config.forming + config.warmup)
        self.W_enc = nn.Parameter(torch.randn(self.K, self.E, d) / d**0.5)
        self.b_enc = nn.Parameter(torch.zeros(self.K, self.E))

    def embed(self, xs: Tensor) -> Tensor:
        """Concept embeddings e `[n, K, E]` of standardised embeddings."""
        e = F.linear(self.features(xs), self.W_enc.flatten(0, 1), self.b_enc.flatten())
        e = F.gelu(e) if self.c.encoder == "gelu" else e
        return e.reshape(len(xs), self.K, self.E)

    def encode(self, x: Tensor) -> Encoded:
        """Raw embeddings `[n, d]` to soft gates and concept embeddings."""
        self.check(x)
        e = self.embed(self.standardise(x))
        return Encoded(self.logits(e).sigmoid(), e)

    def decode(self, encoded: Encoded) -> Tensor:
        """Concepts to raw embeddings `[n, d]`."""
        assert encoded.content is not None
        return self.restore(self.write(encoded.strength[:, :, None] * encoded.content))

    def freedom(self, step: Step) -> float:
        """How much of what a concept writes is its embedding, not its prototype: 0 while concepts are formed, 1 after.

        >>> from accord.concepts import build, read_config
        >>> model = build(read_config({"kind": "lcblm", "forming": 0.3, "warmup": 0.2}), d=8)
        >>> [model.freedom(Step(index, 10)) for index in (0, 3, 4, 5, 9)]
        [0.0, 0.0, 0.5, 1.0, 1.0]
        """
        past = step.index - self.forming * step.total
        if not self.forming or past >= self.c.warmup * step.total:
            return 1.0
        return max(0.0, past / (self.c.warmup * step.total))

    def phase(self, step: Step) -> tuple[float, ...]:
        """The weight of the gates' terms, and how free embeddings are."""
        return (*super().phase(step), self.freedom(step))

    def content(self, e: Tensor, step: Step) -> Tensor:
        """What each concept would write `[n, K, E]`, between its prototype and its embedding `e [n, K, E]`."""
        free = self.freedom(step)
        return e if free == 1 else torch.lerp(self.h.expand_as(e), e, free)

    def loss(self, x: Tensor, step: Step) -> dict[str, Tensor]:
        """`mse` with sampled gates, `prototype` (γ), and the gate terms."""
        xs = self.standardise(x)
        e = self.embed(xs)
        in_one = kernels.use(self.h, self.s) and step.ranks is None and self.c.similarity != "distance"
        logits, z, near, small = (self._in_one if in_one else self._plainly)(e, step)
        terms = {"mse": step.mean((xs - self.write(z)).square())}
        if self.gamma:
            on = logits.detach().sigmoid()
            terms["prototype"] = self.gamma * step.mean(on * near + (1 - on) * small)
        return terms | self.gate_terms(logits, step, 1 + (FIRMER - 1) * (1 - self.freedom(step)))

    def _plainly(self, e: Tensor, step: Step) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of embeddings `[n, K, E]`: logits; sampled z; mean squares of e less its prototype, and of e, `[n, K]`."""
        logits = self.logits(e)
        z = self.sampled(logits, self.content(e, step), step)
        return logits, z, (e - self.h).square().mean(-1), e.square().mean(-1)

    def _in_one(self, e: Tensor, step: Step) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The same on a GPU, where to read and write e is most of the time: it is read once for all that is asked."""
        inner, square = kernels.moments(e, self.h)
        size = self.h.square().sum(1)
        alike = inner
        if self.c.similarity == "cosine":  # off 0, where a root has no gradient
            alike = inner / (square.clamp_min(1e-16) * size).sqrt().clamp_min(1e-8)
        logits = self.s.clamp(*SCALE_RANGE) * alike
        gates = relaxed_bernoulli(logits, self.c.temperature, step)
        seed = torch.randint(2**31, (1,), generator=step.generator, device=e.device)
        z = kernels.gated(e, gates, self.h, seed=seed, free=self.freedom(step), noise=self.c.noise)
        return logits, z, (square - 2 * inner + size) / self.E, square / self.E

    def concept_parameters(self) -> dict[str, nn.Parameter]:
        """Encoder rows and biases, prototypes, offsets and decoder blocks."""
        return super().concept_parameters() | {"W_enc": self.W_enc, "b_enc": self.b_enc}

    @torch.no_grad()
    def reseed(self, x: Tensor, step: Step) -> Tensor:
        """Re-aim dead and spare concepts, encoder, prototype and decoder block together, at large residuals.

        While concepts are formed, one is spare whose gate follows that of an earlier one.

        A concept is on where a token's features reach more than half as far along a direction as the chosen
        token's: its embedding is a positive prototype times how far beyond that they reach. The direction is
        the residual's (the features' own, with a hidden layer between).
        """
        dead = dead_concepts(self, self.c.dead_after)
        if len(dead) or self.freedom(step) < 1:
            xs = self.standardise(x)
            e = self.embed(xs)
            logits = self.logits(e)
            if self.freedom(step) < 1:
                spare = twins(logits > 0).index_fill(0, dead, True)
                dead = spare.nonzero().squeeze(1)
        if len(dead):
            left = xs - self.write(logits.sigmoid()[:, :, None] * self.content(e, step))
            row, residual = worst_rows(xs, left, len(dead), step)
            features = self.features(row)
            towards = residual if self.hidden is None else features
            unit = F.normalize(towards, dim=1)
            # A residual may point away from its token: a short reach would be a weight without bounds.
            reach = (features * unit).sum(1).maximum(0.2 * features.norm(dim=1)).clamp_min(1e-3)
            h = step.normal_like(self.h[dead]).abs() + 0.1
            self.h[dead] = h
            self.W_enc[dead] = h[:, :, None] * (2 * unit / reach[:, None])[:, None, :]
            self.b_enc[dead] = -h
            if self.offset is not None:
                self.offset[dead] = h.norm(dim=1) * 0.7
            self._write_residual(dead, h, residual)
            self.idle[dead] = 0
        return dead
