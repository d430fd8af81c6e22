from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from accord.concepts import ConceptModel, build, read_config

TABLES = {
    "topk": {"kind": "topk", "size": 12, "k": 3},
    "batchtopk": {"kind": "batchtopk", "size": 12, "k": 3},
    "matryoshka": {"kind": "matryoshka", "size": 12, "k": 3, "prefixes": [0.25, 0.5]},
    "jumprelu": {"kind": "jumprelu", "size": 12, "sparsity": 0.03, "bandwidth": 0.4},
    "l1": {"kind": "l1", "size": 12, "sparsity": 0.3},
    "bernoulli": {"kind": "bernoulli", "size": 12, "prior": 0.2},
    "supervised": {"kind": "supervised", "labels": ["low", "high"], "size": 10, "sparsity": 0.3},
    "lcblm": {"kind": "lcblm", "concepts": 6, "width": 3, "prior": 0.3, "ortho_weight": 0.5, "forming": 0.2},
    "lcblm-shared": {"kind": "lcblm-shared", "concepts": 6, "width": 3, "prior": 0.3, "ortho_weight": 0.5},
}
D = 5


def _make(name: str, **over: object) -> ConceptModel:
    """A small model with a standardisation that matters and weights that are nowhere special."""
    model = build(read_config(TABLES[name] | over), D, seed=3)
    model.fit_scale([_embeddings(200, seed=9)])
    generator = torch.Generator().manual_seed(4)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    if name in ("batchtopk", "matryoshka"):
        model.threshold.fill_(0.4)
    return model


def rows_for(kind: str, x: torch.Tensor) -> Any:
    """What a kind learns from: rows, or rows with labels, of which every fifth has none."""
    if kind != "supervised":
        return x
    label = (x[:, 1] > x[:, 1].mean()).long()
    label[::5] = -1
    return x, label


def _embeddings(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3.0 + torch.randn(n, D, generator=generator) * torch.tensor([0.1, 1.0, 2.0, 5.0, 1.0])


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """One thread gives the same sums in every process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=list(TABLES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make() -> Callable[..., ConceptModel]:
    return _make


@pytest.fixture
def embeddings() -> Callable[..., torch.Tensor]:
    return _embeddings


@pytest.fixture
def table(kind: str) -> dict[str, object]:
    return TABLES[kind]
