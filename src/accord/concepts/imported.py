"""A dictionary that another tool trained: it encodes and decodes as that tool does, and cannot be trained here.

Its weights act on raw embeddings. `mean` and `scale` only tell how embeddings are spread, once `fit_scale` has seen
some.
"""

from collections.abc import Mapping
from typing import NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accord.concepts.base import ConceptModel, Encoded, Sparse
from accord.concepts.config import ImportedConfig
from accord.concepts.sparse import Pattern, sparse_decode
from accord.concepts.step import Step
from accord.errors import AccordError


class Imported(ConceptModel):
    """p = W_enc (x' − b_in) + b_enc with x' the embedding, normalised if need be; x̂ = z W_dec + b_dec, and back.

    Strengths z, kept sparse, by `activation`:

    - relu: max(p, 0)
    - topk: max(p, 0) of the k largest p of a row
    - jumprelu: p where p > max(threshold, 0), else 0
    - gated: max(gain·W_enc (x' − b_in) + b_mag, 0) where p > 0, else 0 (Rajamanoharan et al. 2024, arXiv 2404.16014)

    normalise: layer_norm is x' = (x − μ)/(s + 1e-5) with mean μ and (n − 1) standard deviation s over the row's
    dimensions, undone by ·s + μ; constant_norm is x' = x √d/‖x‖, undone by its inverse: SAELens' two. A transcoder
    undoes neither. With `skip` it adds W_skip x. Rows of W_enc, W_dec are concepts; b_in is b_dec or 0.
    """

    config: ImportedConfig

    def __init__(self, config: ImportedConfig, d: int) -> None:
        super().__init__(config, d, config.size)
        self.d_out = config.d_out or d
        self.transcodes = config.d_out is not None
        self.by_row = config.skip or (config.normalise != "none" and not self.transcodes)
        K = self.K
        shapes = {"W_enc": (K, d), "b_enc": (K,), "W_dec": (K, self.d_out), "b_dec": (self.d_out,), "b_in": (d,)}
        if config.activation == "jumprelu":
            shapes["threshold"] = (K,)
        if config.activation == "gated":
            shapes |= {"gain": (K,), "b_mag": (K,)}
        if config.skip:
            shapes["W_skip"] = (self.d_out, d)
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape), requires_grad=False))

    @classmethod
    @torch.no_grad()
    def of(cls, config: ImportedConfig, weights: Mapping[str, Tensor]) -> "Imported":
        """With these weights, named and shaped as its parameters; b_in is 0 if it is not among them."""
        model = cls(config, weights["W_enc"].shape[1])
        model.load_state_dict(model.state_dict() | {name: w.float() for name, w in weights.items()})
        return model.eval()

    def check_layer(self, layer: int) -> None:
        """Raise AccordError if its files say that it reads another layer, or no layer's states at all.

        Where they say nothing of it, every layer will do.
        """
        origin = self.config.origin
        if origin.layer is None and origin.reads is None:
            return
        if origin.layer is None:
            problem = "This dictionary reads no layer's states: what enters the first block, or leaves a block."
            got = origin.caution or origin.reads
            fix = "import it with layer=…" if origin.caution else "take one that reads the residual stream"
            raise AccordError(problem, got=got, fix=fix)
        if origin.layer != layer:
            place = f"layer {origin.layer} ({origin.reads})"
            raise AccordError("This dictionary reads another layer.", got=f"layer {layer}", wanted=place)

    def encode(self, x: Tensor) -> Encoded:
        """Raw embeddings `[n, d]` to concepts; every row for itself."""
        self.check(x)
        inputs, frame = self._framed(x)
        strength, active = self._activate(F.linear(inputs - self.get_parameter("b_in"), self.get_parameter("W_enc")))
        flat = active.flatten().nonzero().squeeze(1)
        return Encoded(Sparse(Pattern.of_flat(flat, len(x), self.K), strength.flatten()[flat]), None, frame)

    def decode(self, encoded: Encoded) -> Tensor:
        """Concepts to raw embeddings `[n, d]`, or to what a transcoder reconstructs `[n, d_out]`.

        Raises AccordError for strengths that come without the rows they were read from, where these matter.
        """
        z, W_dec = encoded.stored, self.get_parameter("W_dec")
        out = sparse_decode(z.values, z.pattern, W_dec) if isinstance(z, Sparse) else z @ W_dec
        out = out + self.get_parameter("b_dec")
        if not self.by_row:
            return out
        if encoded.frame is None:
            raise AccordError(
                "These strengths do not say what rows they are of, and this dictionary decodes by row.",
                fix="decode what `encode` or `edit` gave",
            )
        shift, scale = encoded.frame
        return out * scale + shift

    def loss(self, x: Tensor, step: Step) -> NoReturn:
        """Always an AccordError: there is nothing here that trains it."""
        raise AccordError(
            "An imported dictionary cannot be trained here.", fix="train it with its own tool, or a kind of accord"
        )

    def directions(self) -> Tensor | None:
        """Decoder rows `[K, d]`; None where what a unit writes differs from row to row."""
        return None if self.by_row else self.get_parameter("W_dec").detach()

    def _framed(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """The rows as the encoder takes them, and the frame that `decode` puts its result into."""
        shift, scale = torch.zeros_like(x[:, :1]), torch.ones_like(x[:, :1])
        inputs = x
        if self.config.normalise == "layer_norm":
            shift = x.mean(1, keepdim=True)
            scale = (x - shift).std(1, keepdim=True)
            inputs = (x - shift) / (scale + 1e-5)
        elif self.config.normalise == "constant_norm":
            scale = x.norm(dim=1, keepdim=True).clamp_min(1e-30) / self.d**0.5
            inputs = x / scale
        if self.config.skip:
            shift, scale = F.linear(x, self.get_parameter("W_skip")), torch.ones_like(scale)
        return inputs, (shift, scale) if self.by_row else None

    def _activate(self, dots: Tensor) -> tuple[Tensor, Tensor]:
        """Strengths of W_enc (x' − b_in) `[n, K]`, and where they are active."""
        p = dots + self.get_parameter("b_enc")
        if self.config.k is not None:
            largest = torch.zeros_like(p, dtype=torch.bool)
            largest.scatter_(1, p.topk(self.config.k, sorted=False).indices, True)
            return p, largest & (p > 0)
        if self.config.activation == "jumprelu":
            return p, p > self.get_parameter("threshold").clamp_min(0)
        if self.config.activation == "gated":
            size = dots * self.get_parameter("gain") + self.get_parameter("b_mag")
            return size, (p > 0) & (size > 0)
        return p, p > 0
