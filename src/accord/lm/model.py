"""The contract that everything else stands on: what accord needs of a language model, and no more."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import Cache, PreTrainedTokenizerBase

from accord.lm.limits import Limits
from accord.lm.marked import States


class Tokenizing(Protocol):
    """What turns text into token ids: a language model, or its tokenizer alone where no weights are loaded."""

    tokenizer: PreTrainedTokenizerBase


class LanguageModel(Protocol):
    """A tokenizer, hidden states for a batch of ids (with a KV cache if wanted), and logits for hidden states.

    >>> import torch
    >>> lm = accord.load("smollm2-135m")
    >>> ids = torch.tensor([lm.tokenizer("Bees are a kind of")["input_ids"]])
    >>> logits = lm.lens(lm.hidden(ids)[lm.n_layers][0, -1])
    >>> lm.tokenizer.decode(logits.argmax())
    ' insect'

    Layers are numbered 0 (what enters the first block) to `n_layers` (what leaves the last block, *before* the
    final norm). The lens of a layer is final norm, head, and the model's own soft-cap or scale, so
    `lens(hidden(ids)[n_layers])` are the model's own logits.

    States are as wide as the backbone's, in every model. Where a lens must know at which position, or with which value,
    an edit acted, they come as `accord.lm.marked.Marked`: index them, give them back to the lens, or take
    `backbone_states` of them.
    """

    name: str
    tokenizer: PreTrainedTokenizerBase
    n_layers: int
    d_model: int
    vocab_size: int
    device: torch.device
    dtype: torch.dtype
    cacheable: bool
    """Whether keys and values of earlier positions can be kept, sliced and joined without changing results."""
    limits: Limits
    """What the model can read, and which sequences may share a batch or a cache."""
    ends: frozenset[int]
    """Tokens that end a text."""

    def hidden(
        self,
        ids: Tensor,
        *,
        layers: Sequence[int] | None = None,
        at: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Mapping[int, States]:
        """Hidden states of `ids` [batch, position]: layer -> [batch, position, d_model].

        Args:
            ids: token ids. Rows shorter than the batch are padded on the right with any id: a causal model
                cannot see what follows, so no mask exists, and what stands at padded positions is meaningless. All
                rows, padded, must be of the same group of `limits`.
            layers: which layers to return; the top layer alone by default.
            at: positions [batch, p] within `ids` to keep, so that the result is [batch, p, d_model].
            cache: keys and values of the positions before `ids`, the same number for every row; grows in place.
                They were made at lengths of the group that the whole length is in.
        """
        ...

    def lens(self, hidden: States) -> Tensor:
        """Logits, float32 [..., vocab], of states [..., d_model] of any layer, as this model's `hidden` gives them."""
        ...

    def settings(self) -> dict[str, Any]:
        """What fixes this model's numbers: name, fingerprint of the weights, dtype, kind of device."""
        ...


def lens_of(lm: LanguageModel, states: States, tokens: Tensor) -> Tensor:
    """The lens' logits of a few tokens [n] only, float32 [..., n], of states [..., d_model]."""
    own = getattr(lm, "lens_of", None)  # of a model whose lens can do less than the whole
    return lm.lens(states)[..., tokens] if own is None else own(states, tokens)
