"""The heads that are trained: a copy of the original one, and a new linear map, both with float32 weights."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accord.concepts.base import Sparse
from accord.errors import AccordError
from accord.heads.config import FinetunedHead, TrainedHead
from accord.heads.vocabulary import Vocabulary
from accord.lm.backbone import Backbone
from accord.lm.placement import plain_copy, plain_linear

if TYPE_CHECKING:
    from accord.heads.reader import Reader

Inputs = Tensor | Sparse
"""What a head reads: [n, width], or sparse latents."""


class Head(nn.Module, ABC):
    """Logits over the vocabulary of what a `Reader` gives.

    Attributes:
        config: its section.
        width: numbers in a row that it reads.
        vocabulary: which tokens have a logit of their own.
    """

    config: TrainedHead

    def __init__(self, width: int, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.width, self.vocabulary = width, vocabulary

    @classmethod
    @abstractmethod
    def untrained(
        cls, config: Any, backbone: Backbone, reader: "Reader", sample: Tensor, vocabulary: Vocabulary
    ) -> "Head":
        """With its first weights; see `accord.heads.build_head`."""

    @classmethod
    @abstractmethod
    def shaped(cls, config: Any, backbone: Backbone, weights: Mapping[str, Tensor], vocabulary: Vocabulary) -> "Head":
        """A head of the shapes of these weights, as they were saved, ready to load them."""

    @abstractmethod
    def columns(self, inputs: Inputs) -> Tensor:
        """Logits [n, columns] of the tokens that have their own, with gradients."""

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits, float32 [n, vocab]."""
        return self.vocabulary.spread(self.columns(inputs))

    def nll(self, inputs: Inputs, following: Tensor) -> Tensor:
        """−log p [n] of the tokens that follow, under the same distribution as `forward`."""
        return self.vocabulary.nll(self.columns(inputs), following)


class Finetuned(Head):
    """Final norm, head and soft-cap as the backbone has them, its own copy: equal to the lens until trained.

    Args:
        backbone: whose lens is copied, in float32; nothing in the backbone itself is trained.
        vocabulary: rows of the head that are kept.

    Raises:
        AccordError: the backbone's head is not a linear map.
    """

    def __init__(self, config: FinetunedHead, backbone: Backbone, vocabulary: Vocabulary) -> None:
        super().__init__(backbone.d_model, vocabulary.to(backbone.device))
        self.config = config
        norm, self._finish = norm_copies(backbone), backbone.lens_parts()[2]
        self.norm = nn.ModuleList(norm).float().train(False)
        weight, bias = head_weights(backbone)
        self.weight = nn.Parameter(weight[self.vocabulary.observed])
        self.bias = None if bias is None else nn.Parameter(bias[self.vocabulary.observed])
        self.requires_grad_(True)

    @classmethod
    def untrained(
        cls, config: FinetunedHead, backbone: Backbone, reader: "Reader", sample: Tensor, vocabulary: Vocabulary
    ) -> "Finetuned":
        """The backbone's own weights."""
        return cls(config, backbone, vocabulary)

    @classmethod
    def shaped(
        cls, config: FinetunedHead, backbone: Backbone, weights: Mapping[str, Tensor], vocabulary: Vocabulary
    ) -> "Finetuned":
        """Of the backbone's shapes."""
        return cls(config, backbone, vocabulary)

    def columns(self, inputs: Inputs) -> Tensor:
        """Logits [n, columns] of raw states [n, d]."""
        assert isinstance(inputs, Tensor)
        x = inputs
        for module in self.norm:
            x = module(x)
        return self._finish(F.linear(x, self.weight, self.bias))


def norm_modules(backbone: Backbone) -> list[nn.Module]:
    """The modules of the final norm."""
    return backbone.lens_parts()[0]


def norm_copies(backbone: Backbone) -> list[nn.Module]:
    """The same, copied: they compute on the backbone's device by themselves."""
    return [plain_copy(module, backbone.device) for module in norm_modules(backbone)]


def head_weights(backbone: Backbone) -> tuple[Tensor, Tensor | None]:
    """Weight [vocab, d'] and bias [vocab] of the backbone's head, float32; d' is what its final norm leaves.

    Raises AccordError if the head is not a plain linear map.
    """
    head = backbone.lens_parts()[1]
    if (linear := plain_linear(head)) is None:
        got = backbone.quantization or type(head).__name__
        raise AccordError("this backbone's head is not a plain linear map", where=backbone.name, got=got)
    bias = None if linear.bias is None else linear.bias.detach().float()
    return linear.weight.detach().float(), bias


def normed(backbone: Backbone, x: Tensor) -> Tensor:
    """What the backbone's head sees of raw states [n, d]: float32 [n, d']."""
    x = x.to(backbone.device, backbone.dtype)
    for module in norm_modules(backbone):
        x = module(x)
    return x.to(backbone.device).float()


def finish_slope(finish: Callable[[Tensor], Tensor]) -> float:
    """The factor by which a model multiplies small logits after its head: 1 for most, also with a soft-cap."""
    return float(finish(torch.tensor(1e-3))) / 1e-3
