"""A tiny backbone, random concept models in the scale of its states, and concept language models on them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.concepts import ConceptModel, build, read_config
from accord.heads import ConceptLM, NewHead, Reader, build_head
from accord.lm import Backbone
from tests.tiny import tiny_model, tiny_tokenizer

TABLES: dict[str, dict[str, Any]] = {
    "topk": {"kind": "topk", "size": 24, "k": 4},
    "lcblm": {"kind": "lcblm", "concepts": 6, "width": 3, "prior": 0.3},
    "bernoulli": {"kind": "bernoulli", "size": 24, "prior": 0.2},
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def lm() -> Backbone:
    return Backbone(tiny_model("llama"), tiny_tokenizer(), name="tiny")


@pytest.fixture(scope="session")
def states(lm: Backbone) -> Callable[[int], Tensor]:
    """Raw states of a layer [n, d]."""

    @torch.no_grad()
    def of(layer: int) -> Tensor:
        ids = torch.randint(3, lm.vocab_size, (10, 21), generator=torch.Generator().manual_seed(0))
        return lm.hidden(ids, layers=[layer])[layer][:, 1:].flatten(0, 1)

    return of


@pytest.fixture(scope="session")
def concepts(states: Callable[[int], Tensor]) -> Callable[..., ConceptModel]:
    def of(kind: str, layer: int) -> ConceptModel:
        x = states(layer)
        model = build(read_config(TABLES[kind]), x.shape[1], seed=3)
        model.fit_scale([x])
        return model.eval()

    return of


@pytest.fixture(scope="session")
def concept_lm(lm: Backbone, states: Callable[[int], Tensor], concepts: Callable[..., ConceptModel]) -> Any:
    """A concept language model: with the original head on the reconstruction, or a new one on latents."""

    def of(kind: str, layer: int, head: str) -> ConceptLM:
        if head == "original":
            return ConceptLM(lm, layer, Reader("reconstruction", concepts(kind, layer)))
        reader = Reader("latents", concepts(kind, layer))
        return ConceptLM(lm, layer, reader, build_head(NewHead(reads="latents"), lm, reader, states(layer)))

    return of
