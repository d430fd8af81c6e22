"""What concept models are compared with where the truth is known: a quantised and a variational autoencoder.

Both have the linear decoder of the other kinds, so that what differs is how a row becomes concepts.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from accord.concepts import ConceptConfig, ConceptModel, Encoded, Step, register


class VQConfig(ConceptConfig):
    """Residual vector quantisation: in each of `stages`, the nearest of `size` codes of what is left."""

    kind: Literal["vq"] = "vq"
    size: int = Field(ge=1, description="Codes.")
    stages: int = Field(default=1, ge=1, description="Codes that a row is the sum of; 1 is VQ-VAE's own.")
    commitment: float = Field(default=0.25, ge=0, description="Weight of keeping the encoder near its codes.")


class VQ(ConceptModel):
    """VQ-VAE (van den Oord et al. 2017, arXiv 1711.00937). Strengths: how often a row takes each code.

    A code that no row takes for two batches starts again at what a row has left.
    """

    def __init__(self, config: VQConfig, d: int) -> None:
        super().__init__(config, d, config.size)
        self.stages, self.commitment = config.stages, config.commitment
        self.encoder = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))
        self.codes = nn.Parameter(torch.randn(config.size, d) / d**0.5)
        self.b_dec = nn.Parameter(torch.zeros(d))

    def _taken(self, e: Tensor) -> Tensor:
        """Numbers of the codes [n, stages] that encodings [n, d] take."""
        left, taken = e.detach(), []
        for _ in range(self.stages):
            nearest = torch.cdist(left, self.codes.detach()).argmin(1)
            taken.append(nearest)
            left = left - self.codes.detach()[nearest]
        return torch.stack(taken, 1)

    def encode(self, x: Tensor) -> Encoded:
        """Raw embeddings [n, d] to counts of codes."""
        taken = self._taken(self._encoding(self.standardise(x)))
        return Encoded(F.one_hot(taken, self.K).sum(1).to(x.dtype))

    def _encoding(self, xs: Tensor) -> Tensor:
        encoding: Tensor = xs + self.encoder(xs)
        return encoding

    def decode(self, encoded: Encoded) -> Tensor:
        """The sum of its codes."""
        return self.restore(encoded.strength @ self.codes + self.b_dec)

    def directions(self) -> Tensor:
        """The codes, in raw space."""
        return self.codes.detach() * self.scale

    def loss(self, x: Tensor, step: Step) -> dict[str, Tensor]:
        """`mse` through the codes, straight on to the encoder; `codes` to the encodings, and `commitment` back."""
        xs = self.standardise(x)
        e = self._encoding(xs)
        taken = self._taken(e)
        self.count_idle(F.one_hot(taken, self.K).sum((0, 1)) > 0, len(x), step)
        whole = self.codes[taken].sum(1)
        straight = e + (whole - e).detach()
        return {
            "mse": (straight + self.b_dec - xs).square().mean(),
            "codes": (e.detach() - whole).square().mean(),
            "commitment": self.commitment * (e - whole.detach()).square().mean(),
        }

    @torch.no_grad()
    def reseed(self, x: Tensor, step: Step) -> Tensor:
        """Codes that nobody takes start again at what some rows have left after all of theirs but the last."""
        dead = torch.nonzero(self.idle >= 2 * len(x)).flatten()[: len(x)]
        if len(dead):
            e = self._encoding(self.standardise(x))
            rest = e - self.codes[self._taken(e)][:, :-1].sum(1)
            drawn = torch.randperm(len(x), generator=step.generator)[: len(dead)]
            self.codes[dead] = rest[drawn]
            self.idle[dead] = 0
        return dead

    def concept_parameters(self) -> dict[str, nn.Parameter]:
        """The codes."""
        return {"codes": self.codes}


class BetaVAEConfig(ConceptConfig):
    """A variational autoencoder whose latents' divergence from a standard normal has the price β."""

    kind: Literal["beta-vae"] = "beta-vae"
    size: int = Field(ge=1, description="Latents.")
    beta: float = Field(default=1.0, ge=0, description="Price of a nat against squared error of standardised rows.")


class BetaVAE(ConceptModel):
    """β-VAE (Higgins et al. 2017). Strengths: means of the latents, turned so that they are skewed upward.

    A normal latent has no sign of its own, and none is ever 0: L0 is the number of latents.
    """

    skew: Tensor

    def __init__(self, config: BetaVAEConfig, d: int) -> None:
        super().__init__(config, d, config.size)
        self.beta = config.beta
        self.encoder = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, 2 * config.size))
        self.W_dec = nn.Parameter(F.normalize(torch.randn(config.size, d), dim=1))
        self.b_dec = nn.Parameter(torch.zeros(d))
        self.register_buffer("skew", torch.zeros(config.size))

    def _sign(self) -> Tensor:
        return torch.where(self.skew < 0, -1.0, 1.0)

    def encode(self, x: Tensor) -> Encoded:
        """Raw embeddings [n, d] to means."""
        return Encoded(self.encoder(self.standardise(x)).chunk(2, 1)[0] * self._sign())

    def decode(self, encoded: Encoded) -> Tensor:
        """A linear map of the latents."""
        return self.restore((encoded.strength * self._sign()) @ self.W_dec + self.b_dec)

    def directions(self) -> Tensor:
        """What a unit of each latent writes in raw space."""
        return self.W_dec.detach() * self._sign()[:, None] * self.scale

    def loss(self, x: Tensor, step: Step) -> dict[str, Tensor]:
        """Half the squared error of a row of d numbers, and β nats, both divided by d / 2."""
        xs = self.standardise(x)
        mean, log_variance = self.encoder(xs).chunk(2, 1)
        with torch.no_grad():
            self.skew.mul_(0.99).add_(0.01 * ((mean - mean.mean(0)) / mean.std(0).clamp_min(1e-6)).pow(3).mean(0))
        z = mean + (0.5 * log_variance).exp() * step.normal_like(mean)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        return {
            "mse": (z @ self.W_dec + self.b_dec - xs).square().mean(),
            "divergence": 2 * self.beta * divergence / self.d,
        }


register(VQConfig, "concept_baselines:VQ")
register(BetaVAEConfig, "concept_baselines:BetaVAE")
