"""What a head reads of a layer: its state, its concepts, or what the concepts make of the state."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from accord.concepts.base import ConceptModel, Edit, Encoded, Scale, Set, Sparse
from accord.errors import AccordError
from accord.heads.config import Reads

# Unit latents decoded at a time, when the decoder is read off by its behaviour.
_UNITS = 256


@dataclass(frozen=True)
class Reader:
    """From raw states [n, d] to what a head reads; frozen: no gradient reaches the concepts.

    Attributes:
        reads: "embedding" (the states as they are), "latents" (see `latents`) or "reconstruction" (raw states again).
        concepts: the concept model; None only where the embedding is read.
        hard: with gates open or shut.
        edits: concept -> new strength or factor, applied in every row before anything is decoded or read.
    """

    reads: Reads = "embedding"
    concepts: ConceptModel | None = None
    hard: bool = False
    edits: Mapping[int, Edit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.reads not in ("embedding", "latents", "reconstruction"):
            raise AccordError("a head cannot read this", got=self.reads, wanted="embedding, latents or reconstruction")
        if self.reads != "embedding" and self.concepts is None:
            raise AccordError("a head that reads concepts needs a concept model", got=f"reads = {self.reads!r}")
        if self.reads == "embedding" and self.edits:
            raise AccordError("nothing to edit: this model reads the embedding, not concepts", got=dict(self.edits))
        if self.reads == "reconstruction" and self.concepts is not None:
            self.concepts.check_decodes("heads that read a reconstruction")
        if self.concepts is not None:
            # Raises for a concept that does not exist.
            self.concepts.edit(Encoded(torch.zeros(0, self.concepts.K)), self.edits)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor | Sparse:
        """What the head reads of raw states `x` [n, d]: float32 [n, width], or sparse latents."""
        x = x.float()
        if self.reads == "embedding" or self.concepts is None:
            return x
        encoded = self.encode(x)
        return latents(encoded) if self.reads == "latents" else self.concepts.decode(encoded)

    def states(self, x: Tensor) -> Tensor:
        """The same, where what is read is not latents but states [n, d] again."""
        states = self(x)
        assert isinstance(states, Tensor)
        return states

    @torch.no_grad()
    def encode(self, x: Tensor) -> Encoded:
        """The concepts of raw states [n, d], hardened and edited as they are read."""
        assert self.concepts is not None
        encoded = self.concepts.encode(x.to(self.concepts.mean))
        if self.hard:
            encoded = self.concepts.harden(encoded)
        return self.concepts.edit(encoded, self.edits) if self.edits else encoded

    @property
    def latent_width(self) -> int:
        """Numbers in a row of latents."""
        assert self.concepts is not None
        content = _content_shape(self.concepts)
        return self.concepts.K if content is None else content[0] * content[1]

    def with_edits(self, edits: Mapping[int, Edit]) -> "Reader":
        """The same concepts with other edits."""
        return replace(self, edits=dict(edits))

    def settings(self) -> dict[str, Any]:
        """Everything that changes what is read, as JSON."""
        return {
            "reads": self.reads,
            "hard": self.hard,
            "concepts": self.concepts and fingerprint(self.concepts.state_dict()),
            "edits": edits_as_json(self.edits),
        }


def latents(encoded: Encoded) -> Tensor | Sparse:
    """The latents of concepts: what a head on them weighs.

    Where a concept is its strength alone, the strengths [n, K], kept sparse where they are. Where it also has content
    (LCBLM), z_k = strength_k · content_k side by side, [n, K·E]: what the decoder reads too. The strengths alone
    would say that a concept is present and drop how, which is what such a concept was given an embedding for.
    """
    if encoded.content is not None:
        return (encoded.strength[:, :, None] * encoded.content).flatten(1)
    return encoded.stored


@torch.no_grad()
def decoder_rows(concepts: ConceptModel) -> tuple[Tensor, Tensor]:
    """The decoder as an affine map of the latents: what each writes in raw space [width, d], and the rest [d].

    Unit latents are decoded to read it off. Raises AccordError for concepts whose decoder is not the same for all
    rows, or gives other states than they read.
    """
    concepts.check_decodes("what is read off its decoder", alike=True)
    device, shape = concepts.device, _content_shape(concepts)
    width = concepts.K if shape is None else shape[0] * shape[1]

    def decode(z: Tensor) -> Tensor:
        if shape is None:
            return concepts.decode(Encoded(z))
        return concepts.decode(Encoded(torch.ones(len(z), concepts.K, device=device), z.reshape(-1, *shape)))

    rest = decode(torch.zeros(1, width, device=device))
    rows = []
    for begin in range(0, width, _UNITS):
        units = torch.zeros(min(_UNITS, width - begin), width, device=device)
        own = torch.arange(len(units), device=device)
        units[own, begin + own] = 1.0
        rows.append(decode(units) - rest)
    return torch.cat(rows), rest[0]


@torch.no_grad()
def _content_shape(concepts: ConceptModel) -> tuple[int, int] | None:
    """K and E of a kind whose concepts have content; None for the others."""
    content = concepts.encode(concepts.mean[None]).content
    return None if content is None else (content.shape[1], content.shape[2])


def edits_as_json(edits: Mapping[int, Edit]) -> dict[str, dict[str, float]]:
    """Edits as a table that JSON can hold.

    >>> edits_as_json({3: Set(0.0), 7: Scale(2.0)})
    {'3': {'value': 0.0}, '7': {'factor': 2.0}}
    """
    return {str(k): asdict(edit) for k, edit in sorted(edits.items())}


def edits_from_json(table: Mapping[str, Mapping[str, float]]) -> dict[int, Edit]:
    """What `edits_as_json` wrote."""
    return {int(k): Set(**edit) if "value" in edit else Scale(**edit) for k, edit in table.items()}


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Identity of named tensors: a hash of their names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        data = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {data.dtype} {tuple(data.shape)}\n".encode())
        digest.update(data.reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"sha256:{digest.hexdigest()[:16]}"
