"""Building a head, with first weights that already say something.

A new head starts as what its inputs write into the backbone's own head: each latent its decoder direction, each
dimension of a state itself. Between the two stands the final norm, which is not linear: its best affine approximation
on real rows takes its place (least squares, lightly ridged).
"""

import torch
from torch import Tensor

from accord.arguments import checked
from accord.errors import AccordError
from accord.heads.config import KINDS, NewHead, TrainedHead
from accord.heads.head import Head, Linear, finish_slope, head_weights, normed
from accord.heads.reader import Reader, decoder_rows
from accord.heads.vocabulary import Vocabulary
from accord.kinds import code_of
from accord.lm.backbone import Backbone

# Of the mean squared size of a standardised dimension (1): keeps directions that the rows hardly show at rest.
_RIDGE = 1e-2
_BLOCK = 4096


@checked
@torch.no_grad()
def build_head(
    config: TrainedHead,
    backbone: Backbone,
    reader: Reader,
    sample: Tensor,
    *,
    counts: Tensor | None = None,
) -> Head:
    """A head ready to be trained, on the backbone's device.

    Args:
        config: its section; `config.reads` and `config.hard` must be the reader's.
        sample: raw training states [m, d] of the layer, a few thousand: what a new head's scale and first weights
            are estimated from. The same sample gives the same head.
        counts: how often each token follows in the training texts [vocab] (see `next_counts`), for
            `vocabulary = "observed"`.

    Raises:
        AccordError: section and reader differ, the sample does not fit, or `counts` is missing.
    """
    if (config.reads, config.hard) != (reader.reads, reader.hard):
        wanted = f"reads = {config.reads!r}, hard = {config.hard}"
        raise AccordError("the reader is not the one that the head asks for", got=reader.settings(), wanted=wanted)
    if sample.ndim != 2 or sample.shape[1] != backbone.d_model or len(sample) < 2:
        wanted = f"[2 or more, {backbone.d_model}]"
        raise AccordError("this sample of states does not fit the backbone", got=tuple(sample.shape), wanted=wanted)
    if config.vocabulary == "observed" and counts is None:
        raise AccordError('vocabulary = "observed" needs the counts of tokens', got="counts = None")
    seen = counts if config.vocabulary == "observed" else None
    vocabulary = Vocabulary(backbone.vocab_size) if seen is None else Vocabulary.of_counts(seen)
    head: Head = code_of(KINDS, config.kind).untrained(config, backbone, reader, sample, vocabulary)
    return head


def new_head(config: NewHead, backbone: Backbone, reader: Reader, sample: Tensor, vocabulary: Vocabulary) -> Linear:
    """Standardised by the sample and, unless it is to start from zero, aimed through the original head."""
    reconstruct = Reader("reconstruction", reader.concepts, reader.hard) if reader.reads != "embedding" else reader
    rows = _dense(reconstruct, sample)
    mean, scale = rows.mean(0), rows.std(0)
    scale = torch.where(scale > 1e-6 * (1 + mean.abs()), scale, 1.0)
    A, rest = _affine_norm(backbone, (rows - mean) / scale, sample)
    if reader.reads == "latents":
        assert reader.concepts is not None
        directions, offset = decoder_rows(reader.concepts)
        A, rest = (directions / scale) @ A, rest + ((offset - mean) / scale) @ A
    head = Linear(config, len(A), vocabulary).to(backbone.device)
    if reader.reads != "latents":
        head.mean.copy_(mean)
        head.scale.copy_(scale)
    if config.start == "original":
        weight, bias = head_weights(backbone)
        slope = finish_slope(backbone.lens_parts()[2])
        weight = weight[head.vocabulary.observed] * slope
        torch.mm(A, weight.T, out=head.weight.data)
        head.bias.copy_(weight @ rest if bias is None else weight @ rest + slope * bias[head.vocabulary.observed])
    return head


def _affine_norm(backbone: Backbone, rows: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
    """A [d, d'] and c [d'] that bring standardised rows [m, d] nearest to the normed states [m, d']."""
    target = torch.cat([normed(backbone, part) for part in torch.split(states, _BLOCK)])
    X, Y = rows.double(), target.double()
    middle = Y.mean(0)
    gram = X.T @ X / len(X)
    gram.diagonal().add_(_RIDGE)
    A = torch.linalg.solve(gram, X.T @ (Y - middle) / len(X))
    return A.float(), (middle - X.mean(0) @ A).float()


def _dense(reader: Reader, sample: Tensor) -> Tensor:
    parts = [reader(part) for part in torch.split(sample, _BLOCK)]
    return torch.cat([part if isinstance(part, Tensor) else part.dense() for part in parts])
