"""Labelled concepts beside a rest that is kept from telling the labels: the bottleneck of CB-LLM, on embeddings.

Source: Sun, Oikarinen, Ustun, Weng, "Concept Bottleneck Large Language Models" (ICLR 2025, arXiv 2412.07992), of which
the generation part. The first C concepts follow the C labels of texts: cross-entropy with the label of the text that a
token stands in. An adversary, a linear classifier, learns to tell the label by the rest; the rest learns to leave it at
chance. So what is about the label has to go through labelled concepts, and turning these steers it.

What differs: there a head of its own learns the next token from concepts and rest, here both reconstruct embeddings,
which any head then reads; the rest there is a linear map, here ReLU latents, which have strengths as any concept; its
elastic net on what labelled concepts write is here the price of `l1.py`. Cross-entropy is taken before the ReLU, as a
concept that is off everywhere would otherwise never learn.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accord.concepts.base import Encoded
from accord.concepts.config import SupervisedConfig
from accord.concepts.l1 import L1
from accord.concepts.step import Step
from accord.errors import AccordError

Labelled = tuple[Tensor, Tensor]
"""Embeddings `[n, d]`, and the number of each one's label `[n]`, int64; −1 where it has none."""


class Supervised(L1):
    """Strengths: ReLU(W_enc (x − b_dec) + b_enc); the first `len(labels)` are the labels'."""

    def __init__(self, config: SupervisedConfig, d: int) -> None:
        super().__init__(config, d, len(config.labels) + config.size)
        self.labels = tuple(config.labels)
        self.label_weight, self.adversary_weight = config.label_weight, config.adversary_weight
        self.W_adversary = nn.Parameter(torch.zeros(len(self.labels), config.size))
        self.b_adversary = nn.Parameter(torch.zeros(len(self.labels)))

    def receive(self, batch: Labelled) -> tuple[Labelled, int]:  # type: ignore[override]
        """Embeddings and numbers of labels, on its device; raises AccordError if they do not fit."""
        pair = batch if isinstance(batch, tuple | list) else (batch,)
        shapes = [tuple(each.shape) if isinstance(each, Tensor) else type(each).__name__ for each in pair]
        n = len(pair[0]) if isinstance(pair[0], Tensor) and pair[0].ndim else None
        whole = len(pair) == 2 and isinstance(pair[1], Tensor) and pair[1].dtype == torch.int64
        if shapes != [(n, self.d), (n,)] or not whole:
            wanted = f"a pair: [n, {self.d}] and [n], int64"
            raise AccordError("These rows do not fit: it learns from embeddings and labels.", got=shapes, wanted=wanted)
        x, label = pair
        if label.device.type == "cpu" and n and not -1 <= int(label.min()) <= int(label.max()) < len(self.labels):
            wanted = f"0 to {len(self.labels) - 1}, or −1 for none"
            raise AccordError("no such label", got=f"{int(label.min())} to {int(label.max())}", wanted=wanted)
        return (x.to(self.mean), label.to(self.mean.device)), len(x)

    def rows_of(self, batch: Labelled, rows: slice) -> Labelled:
        """These rows, with their labels."""
        return batch[0][rows], batch[1][rows]

    def fit_scale(self, batches: Iterable[Tensor | Labelled]) -> None:
        """As `ConceptModel`'s, of embeddings with labels or without."""
        super().fit_scale(batch[0] if isinstance(batch, tuple) else batch for batch in batches)

    def loss(self, x: Labelled, step: Step) -> dict[str, Tensor]:  # type: ignore[override]
        """`mse` and `sparsity` of `L1`; means over rows that have a label: `labels`, `adversary`, `leak`.

        `labels` is the cross-entropy of labelled concepts; `adversary` that of the adversary, whose weights alone it
        moves; `leak` is KL(what the adversary tells ‖ all labels alike), which moves the rest alone.
        """
        embeddings, label = x
        xs = self.standardise(embeddings)
        pre, C = self.pre(xs), len(self.labels)
        z = pre.relu()
        known, rest = label >= 0, z[:, C:]
        share = step.mean(known.to(z)).clamp_min(1e-12)

        def mean(values: Tensor) -> Tensor:
            return step.mean(values * known) / share

        def wrong(logits: Tensor) -> Tensor:
            return mean(F.cross_entropy(logits, label.clamp_min(0), reduction="none"))

        told = F.linear(rest, self.W_adversary.detach(), self.b_adversary.detach()).log_softmax(1)
        leak = mean((told.exp() * (told + math.log(C))).sum(1))
        return {
            **self.terms(xs, z, step),
            "labels": self.label_weight * wrong(pre[:, :C]),
            "adversary": wrong(F.linear(rest.detach(), self.W_adversary, self.b_adversary)),
            "leak": self.adversary_weight * step.ramp(self.ramp) * leak,
        }

    def reseed(self, x: Labelled, step: Step) -> Tensor:  # type: ignore[override]
        """As `L1`'s: a label's concept that is dead gets a new start as any other does, and learns its label again."""
        return super().reseed(x[0], step)

    def tells(self, encoded: Encoded) -> Tensor:
        """Strengths of the labels' concepts, `[n, C]`."""
        return encoded.strength[:, : len(self.labels)]
