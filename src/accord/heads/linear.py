"""The new linear head, and its first weights.

It starts as what its inputs write into the backbone's own head: each latent its decoder direction, each
dimension of a state itself. Between the two stands the final norm, which is not linear: its best affine approximation
on real rows takes its place (least squares, lightly ridged).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from accord.concepts.base import Sparse
from accord.concepts.sparse import sparse_decode
from accord.heads.config import NewHead
from accord.heads.head import Head, Inputs, finish_slope, head_weights, normed
from accord.heads.reader import Reader, decoder_rows
from accord.heads.vocabulary import Vocabulary
from accord.lm.backbone import Backbone

# Of the mean squared size of a standardised dimension (1): keeps directions that the rows hardly show at rest.
_RIDGE = 1e-2
_BLOCK = 4096


class Linear(Head):
    """x̃ W + b, with W [width, columns]: a row an input, so that sparse latents read only the rows of the active.

    x̃ is the input standardised by `mean` and `scale` [width]. Hidden states need that: a few of their dimensions are
    hundreds of times as large as others, and gradient descent on them raw does not get anywhere. A norm would make
    the head non-linear, which is what the fine-tuned head is for. Latents are read as they are (mean 0, scale 1):
    shifting them would make zeros cost work.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: NewHead, width: int, vocabulary: Vocabulary) -> None:
        super().__init__(width, vocabulary)
        self.config = config
        self.weight = nn.Parameter(torch.zeros(width, vocabulary.columns))
        self.bias = nn.Parameter(torch.zeros(vocabulary.columns))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    @classmethod
    def untrained(
        cls, config: NewHead, backbone: Backbone, reader: Reader, sample: Tensor, vocabulary: Vocabulary
    ) -> "Linear":
        """Standardised by the sample and, unless it is to start from zero, aimed through the backbone's own head.

        See the top of this file.
        """
        sample = sample.to(backbone.device)
        reconstruct = Reader("reconstruction", reader.concepts, reader.hard) if reader.reads != "embedding" else reader
        rows = torch.cat([reconstruct.states(part) for part in torch.split(sample, _BLOCK)])
        mean, scale = rows.mean(0), rows.std(0)
        scale = torch.where(scale > 1e-6 * (1 + mean.abs()), scale, 1.0)
        A, rest = _affine_norm(backbone, (rows - mean) / scale, sample)
        if reader.reads == "latents":
            assert reader.concepts is not None
            directions, offset = decoder_rows(reader.concepts)
            A, rest = (directions / scale) @ A, rest + ((offset - mean) / scale) @ A
        head = cls(config, len(A), vocabulary).to(backbone.device)
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

    @classmethod
    def shaped(
        cls, config: NewHead, backbone: Backbone, weights: Mapping[str, Tensor], vocabulary: Vocabulary
    ) -> "Linear":
        """As wide as its weights."""
        return cls(config, len(weights["weight"]), vocabulary)

    def columns(self, inputs: Inputs) -> Tensor:
        """Logits [n, columns]; the cost of sparse inputs goes with their active entries, forward and backward."""
        if isinstance(inputs, Sparse):
            return sparse_decode(inputs.values, inputs.pattern, self.weight) + self.bias
        return torch.addmm(self.bias, (inputs - self.mean) / self.scale, self.weight)


def _affine_norm(backbone: Backbone, rows: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
    """A [d, d'] and c [d'] that bring standardised rows [m, d] nearest to the normed states [m, d']."""
    target = torch.cat([normed(backbone, part) for part in torch.split(states, _BLOCK)])
    X, Y = rows.double(), target.double()
    middle = Y.mean(0)
    gram = X.T @ X / len(X)
    gram.diagonal().add_(_RIDGE)
    A = torch.linalg.solve(gram, X.T @ (Y - middle) / len(X))
    return A.float(), (middle - X.mean(0) @ A).float()
