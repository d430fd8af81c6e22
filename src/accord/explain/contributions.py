"""What each concept contributes to a form's answers: by the gradient for all of them, by turning some off exactly."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from accord.concepts.base import ConceptModel, Encoded, Set, Sparse
from accord.explain.answers import AnswersByState, Variants
from accord.heads.reader import decoder_rows, latents
from accord.intervals import Estimate, Floats, pearson
from accord.intervals.estimate import constant, critical, spread, studentised
from accord.progress import Progress


@dataclass(frozen=True)
class FormConcepts:
    """One form of all items, and its concepts at the position that answers.

    Attributes:
        logodds: [item].
        strength: of every concept, [item, K].
        approximate: contribution of every concept by the gradient, [item, K]: d log-odds / d state · what it writes.
    """

    answers: AnswersByState
    concepts: ConceptModel
    logodds: Floats
    strength: Floats
    approximate: Floats

    @classmethod
    @torch.no_grad()
    def of(cls, answers: AnswersByState, concepts: ConceptModel) -> "FormConcepts":
        """The concepts of the answers' own states."""
        [own] = answers.vary(lambda states, _: [states])
        encoded = concepts.encode(answers.states.to(concepts.mean))
        written, _ = decoder_rows(concepts)  # [width, d]
        read = latents(encoded)
        read = read.dense() if isinstance(read, Sparse) else read
        by_latent = read * (answers.gradient().to(written) @ written.T)
        approximate = by_latent.reshape(len(read), concepts.K, -1).sum(-1)
        return cls(answers, concepts, _numbers(own), _numbers(encoded.strength), _numbers(approximate))

    @property
    def rate(self) -> Floats:
        """Share of items on which each concept is active (a gate: above .5), [K]."""
        return np.asarray((self.strength > (0.5 if self.concepts.gated else 0.0)).mean(0))

    def without(self, sets: Sequence[Sequence[int]], progress: Progress | None = None) -> Floats:
        """Log-odds [set, item] with each set of concepts turned off, what they do not explain kept."""
        return _numbers(self.answers.vary(self._off(sets), progress=progress))

    def foretold(self, concepts: Sequence[int], exact: Floats) -> dict[str, float | None]:
        """How well the gradient foretold exact contributions [concept, item]: r, mean |error|, mean |exact|."""
        approximate = self.approximate[:, concepts].T
        r = float(pearson(approximate.ravel(), exact.ravel()))
        error, size = float(np.abs(approximate - exact).mean()), float(np.abs(exact).mean())
        return {"pearson": None if np.isnan(r) else r, "mean_error": error, "mean_size": size}

    def _off(self, sets: Sequence[Sequence[int]]) -> Variants:
        def variants(states: Tensor, _: Tensor) -> Iterator[Tensor]:
            encoded = self.concepts.encode(states.to(self.concepts.mean))
            whole = self.concepts.decode(encoded)
            for concepts in sets:
                active = (encoded.strength[:, list(concepts)] != 0).any(1, keepdim=True)
                yield torch.where(active, states + (self._decoded(encoded, concepts) - whole).to(states), states)

        return variants

    def _decoded(self, encoded: Encoded, off: Sequence[int]) -> Tensor:
        return self.concepts.decode(self.concepts.edit(encoded, {k: Set(0.0) for k in off}))


def covariance(x: Floats, y: Floats) -> Floats:
    """Covariance along the last axis."""
    return np.asarray(((x - x.mean(-1, keepdims=True)) * (y - y.mean(-1, keepdims=True))).mean(-1))


def pull_of(contribution: Floats, validator: Floats, generator: Floats) -> Floats:
    """cov(c_V, l_G) / (sd l_V · sd l_G) along the last axis; 0 where a form does not vary.

    Of a concept that carries all of a validator, which contradicts the generator:

    >>> float(pull_of(np.array([3.0, 1.0]), np.array([3.0, 1.0]), np.array([0.0, 1.0])))
    -1.0
    """
    flat = constant(validator) | constant(generator)
    scale = np.where(flat, 1.0, validator.std(-1) * generator.std(-1))
    return np.asarray(np.where(flat, 0.0, covariance(contribution, generator) / scale))


def pull_estimate(contribution: Floats, validator: Floats, generator: Floats) -> Estimate:
    """`pull_of` [item] with its interval: by the influence of each item on it, t, corrected for skewness."""
    pull = float(pull_of(contribution, validator, generator))
    if constant(validator) or constant(generator) or constant(contribution):
        return Estimate(pull, reason="it does not vary")
    c, v, g = (x - x.mean() for x in (contribution, validator, generator))
    spreads = v * v / v.var() + g * g / g.var()
    influence = c * g / (v.std() * g.std()) - pull * spreads / 2
    error, skew = spread(influence)
    low, high = studentised(pull, error, skew, critical(len(c)))
    return Estimate(pull, float(low), float(high))


def _numbers(tensor: Tensor) -> Floats:
    return tensor.detach().cpu().double().numpy()
