"""How good a concept model is: on embeddings, and by what its reconstructions leave of a model's predictions."""

import math
from collections.abc import Iterable

from torch import Tensor

from accord.arguments import checked
from accord.concepts.base import ConceptModel
from accord.concepts.quality import Quality, quality_of
from accord.errors import AccordError


@checked
def evaluate(model: ConceptModel, batches: Iterable[Tensor] | Iterable[tuple[Tensor, Tensor]]) -> Quality:
    """Judge on raw embeddings, batches of `[n, d]`, in one pass; raises AccordError on no rows.

    >>> import torch
    >>> from accord.concepts import build, read_config
    >>> model = build(read_config({"kind": "topk", "size": 16, "k": 2}), d=4)
    >>> quality = evaluate(model, [torch.ones(3, 4), torch.zeros(2, 4)])
    >>> quality.tokens, quality.l0 <= 2
    (5, True)

    A transcoder is judged on pairs: what it reads, `[n, d]`, and what it reconstructs, `[n, d_out]`.
    """
    return quality_of(model, batches)


@checked
def ce_recovered(original: float, reconstructed: float, ablated: float) -> float:
    """(CE_ablated − CE_recon)/(CE_ablated − CE_orig): 1 keeps all of the model's predictions, 0 none.

    Cross-entropies in the same unit: of the untouched model, with the reconstruction put in, with the mean or
    zero. Raises AccordError where ablation does not hurt, so that nothing could be recovered.

    >>> ce_recovered(original=3.0, reconstructed=3.5, ablated=5.0)
    0.75
    """
    if not ablated > original or not math.isfinite(reconstructed):
        raise AccordError(
            "CE recovered is not defined",
            got=f"original {original}, reconstructed {reconstructed}, ablated {ablated}",
            wanted="ablated > original, all finite",
        )
    return (ablated - reconstructed) / (ablated - original)
