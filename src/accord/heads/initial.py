"""Building a head of any kind, with first weights that already say something."""

import torch
from torch import Tensor

from accord.arguments import checked
from accord.errors import AccordError
from accord.heads.config import KINDS, TrainedHead
from accord.heads.head import Head
from accord.heads.reader import Reader
from accord.heads.vocabulary import Vocabulary
from accord.kinds import code_of
from accord.lm.backbone import Backbone


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
    if config.vocabulary == "full":
        vocabulary = Vocabulary(backbone.vocab_size)
    elif counts is None:
        raise AccordError('vocabulary = "observed" needs the counts of tokens', got="counts = None")
    else:
        vocabulary = Vocabulary.of_counts(counts)
    head: Head = code_of(KINDS, config.kind).untrained(config, backbone, reader, sample, vocabulary)
    return head
