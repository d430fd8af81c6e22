"""A kind of concept model and a kind of repair, as someone would add them: each its settings, its code, a line."""

from typing import Literal

import pandas as pd
import torch

import accord.concepts.config as concepts
import accord.repair.config as repair
from accord.concepts.l1 import L1
from accord.repair.fitted import Fitted
from accord.steering import AddDirection


class ToyConcepts(concepts.L1Config):
    """A toy concept model."""

    kind: Literal["toy"] = "toy"  # type: ignore[assignment]


class Toy(L1):
    """One whose strengths are twice as large."""

    def encode(self, x):
        """Raw embeddings `[n, d]` to concepts."""
        encoded = super().encode(x)
        return type(encoded)(2 * encoded.strength)


class ToyRepair(repair.Surgery):
    """A toy repair."""

    kind: Literal["toy"] = "toy"
    length: float = 1.0


def fit(lm, task, config, *, seed, texts, progress):
    """Add the same direction everywhere."""
    vector = torch.full((lm.d_model,), config.length)
    return Fitted([AddDirection(lm.n_layers, vector)], {"length": config.length}, pd.DataFrame([{"chosen": True}]))


def register():
    """The line that adds each."""
    concepts.register(ToyConcepts, "tests.toy_kinds:Toy")
    repair.register(ToyRepair, "tests.toy_kinds:fit")
