"""Blocks that run again for their gradients give the same gradients, and keep nothing inside meanwhile."""

import pytest
import torch
from tests.tiny import tiny_mixed, tiny_model, tiny_tokenizer
from torch import Tensor

from accord.lm import Backbone
from accord.repair.checkpointing import checkpointed
from accord.repair.config import read_repair
from accord.repair.lora import ModelInTraining, trainable
from accord.repair.scores import Pair, backward

SHARED = tuple(range(30, 60))
PAIRS = [Pair((1, *SHARED, 5 + i, *range(70, 70 + i)), (7, 9 + i)) for i in range(4)]


def _gradients(trainee: ModelInTraining, micro_batch: int | None) -> dict[str, Tensor]:
    for weight in trainee.weights.values():
        weight.grad = None
    with trainee.training():
        backward(trainee.lm, PAIRS, lambda s: {"loss": (s * s).mean()}, micro_batch=micro_batch, seed=3)
    return {name: weight.grad.clone() for name, weight in trainee.weights.items() if weight.grad is not None}


@pytest.mark.parametrize("micro_batch", [None, 2])
@pytest.mark.parametrize("model", ["llama", "gpt2", "qwen3_moe"])
def test_the_gradients_are_those_without(model: str, micro_batch: int | None) -> None:
    """With a prefix that all pairs share, and with dropout."""
    network = tiny_mixed(model) if model == "qwen3_moe" else tiny_model(model)
    lm = Backbone(network, tiny_tokenizer())
    config = read_repair({"kind": "rankalign", "dropout": 0.1})
    with trainable(lm, config, 0) as trainee:
        with torch.no_grad():
            for name, weight in trainee.weights.items():  # an untrained adapter has no gradient in its first factors
                weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name))))
        forwards = [block.forward for block in trainee.lm.blocks]
        expected = _gradients(trainee, micro_batch)
        with checkpointed(trainee.lm.blocks):
            found = _gradients(trainee, micro_batch)
        assert [block.forward for block in trainee.lm.blocks] == forwards
    assert expected.keys() == found.keys() and any(gradient.any() for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-5)


def test_nothing_inside_a_block_is_kept() -> None:
    lm = Backbone(tiny_model("llama"), tiny_tokenizer())
    with trainable(lm, read_repair({"kind": "rankalign"}), 0) as trainee:
        sizes = []
        for again in (False, True):
            kept: list[int] = []
            with torch.autograd.graph.saved_tensors_hooks(
                lambda t, kept=kept: kept.append(t.numel()) or t, lambda t: t
            ):
                ids = torch.randint(3, 250, (4, 60), generator=torch.Generator().manual_seed(0))
                if again:
                    with checkpointed(trainee.lm.blocks):
                        trainee.lm.hidden(ids)
                else:
                    trainee.lm.hidden(ids)
            sizes.append(sum(kept))
        assert sizes[1] < sizes[0] / 5
