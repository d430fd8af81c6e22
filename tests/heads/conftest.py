"""Tiny backbones, a concept model that reconstructs exactly, and small stores in memory."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import pytest
import torch
from torch import Tensor

from accord.concepts import ConceptModel, Encoded, Step, build, read_config
from accord.concepts.config import ConceptConfig
from accord.lm import Backbone
from tests.tiny import tiny_model, tiny_tokenizer

TABLES = {
    "topk": {"kind": "topk", "size": 24, "k": 4},
    "batchtopk": {"kind": "batchtopk", "size": 24, "k": 4},
    "matryoshka": {"kind": "matryoshka", "size": 24, "k": 4},
    "jumprelu": {"kind": "jumprelu", "size": 24},
    "l1": {"kind": "l1", "size": 24},
    "supervised": {"kind": "supervised", "labels": ["low", "high"], "size": 22},
    "bernoulli": {"kind": "bernoulli", "size": 24, "prior": 0.2},
    "lcblm": {"kind": "lcblm", "concepts": 6, "width": 3, "prior": 0.3},
    "lcblm-shared": {"kind": "lcblm-shared", "concepts": 6, "width": 3, "prior": 0.3},
}


class Rows(NamedTuple):
    x: Tensor
    next: Tensor


class ExactConfig(ConceptConfig):
    kind: Literal["exact"] = "exact"


class Exact(ConceptModel):
    """As many concepts as dimensions, each its own dimension: reconstructs to the last bit."""

    def __init__(self, d: int) -> None:
        super().__init__(ExactConfig(), d, d)
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def encode(self, x: Tensor) -> Encoded:
        return Encoded(x.clone())

    def decode(self, encoded: Encoded) -> Tensor:
        return encoded.strength

    def loss(self, x: Tensor, step: Step) -> dict[str, Tensor]:
        raise NotImplementedError


def _backbone(family: str = "llama", seed: int = 0) -> Backbone:
    return Backbone(tiny_model(family, seed=seed), tiny_tokenizer(), name=f"tiny-{family}")


@torch.no_grad()
def _states(lm: Backbone, layer: int, n: int = 8, length: int = 20, seed: int = 0) -> Rows:
    """States and next tokens of random texts, their first positions left out, as a store has them."""
    ids = torch.randint(3, lm.vocab_size, (n, length), generator=torch.Generator().manual_seed(seed))
    x = lm.hidden(ids, layers=[layer])[layer][:, 1:]
    following = torch.cat([ids[:, 2:], torch.full((n, 1), -1)], dim=1)
    return Rows(x.flatten(0, 1), following.flatten())


def _concepts(kind: str, states: Tensor, **over: object) -> ConceptModel:
    """A random model of this kind, in the scale of these states."""
    model = build(read_config(TABLES[kind] | over), states.shape[1], seed=3)
    model.fit_scale([states])
    if kind in ("batchtopk", "matryoshka"):
        model.threshold.fill_(1.0)
    return model.eval()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def llama() -> Backbone:
    return _backbone()


@pytest.fixture
def backbone() -> Callable[..., Backbone]:
    return _backbone


@pytest.fixture
def states() -> Callable[..., Rows]:
    return _states


@pytest.fixture
def concepts() -> Callable[..., ConceptModel]:
    return _concepts


@pytest.fixture
def exact() -> Exact:
    return Exact(32)


@pytest.fixture(params=list(TABLES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)
