"""A tiny backbone, stores of both sides of a corpus with labels, and concept models of two sorts on them."""

from string import ascii_letters

import numpy as np
import pandas as pd
import pytest
import torch

from accord.concepts import build, read_config
from accord.lm import Backbone
from accord.names import Side
from accord.text import extract
from tests.tiny import tiny_model, tiny_tokenizer

LAYER = 2
TABLES = {
    "topk": {"kind": "topk", "size": 20, "k": 4},
    "l1": {"kind": "l1", "size": 12},
    "lcblm": {"kind": "lcblm", "concepts": 6, "width": 3, "prior": 0.3},
    "lcblm-shared": {"kind": "lcblm-shared", "concepts": 6, "width": 3, "prior": 0.3},
}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def lm():
    return Backbone(tiny_model("gemma2"), tiny_tokenizer(), name="tiny")


@pytest.fixture(scope="session")
def sides(lm, tmp_path_factory):
    draw = np.random.default_rng(0)
    words = ["food", "bird", "Bird", "kind", "of", "are", "yes", "no", "x"]

    def side(name, count):
        # Each begins like no other: equal beginnings have states that differ by rounding alone, and so no order.
        texts = [f"{ascii_letters[i]} " + " ".join(draw.choice(words, draw.integers(1, 12))) for i in range(count)]
        labels = [None if i % 7 == 3 else float(draw.normal()) for i in range(count)]
        store = extract(lm, texts, tmp_path_factory.mktemp(name), layers=[LAYER], shard_tokens=50)
        return Side(store, pd.DataFrame({"text": texts, "label": labels}))

    return {"train": side("train", 40), "held_out": side("held_out", 25)}


def make(kind, sides):
    """A random model of this kind, in the scale of the training embeddings; float64, so that few strengths tie."""
    store = sides["train"].store
    model = build(read_config(TABLES[kind]), store.d_model, seed=3)
    model.fit_scale([store.shard(0, LAYER)["x"]])
    return model.double().eval()
