"""On the real small model: steering toward what a concept is known to write moves what an independent judge says."""

import numpy as np
import pytest
import torch

import accord
from accord.concepts import Set, build, read_config
from accord.steering import Sentiment


@pytest.mark.real
def test_words_of_praise_make_texts_positive() -> None:
    lm = accord.load("smollm2-135m", device="cpu")
    model = build(read_config({"kind": "topk", "size": 8, "k": 1}), lm.d_model, seed=0).eval()
    words = [" wonderful", " great", " beautiful", " brilliant"]
    praise = [lm.tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]
    with torch.no_grad():
        rows = lm.lens_parts()[1].weight[[ids[0] for ids in praise]].float()  # type: ignore[index]
        direction = rows.mean(0)
        model.W_dec[0] = direction / direction.norm()
        states = lm.hidden(torch.tensor([[1, *lm.tokenizer("The film was")["input_ids"]]]))[lm.n_layers][0, 1:]
        size = float(states.norm(dim=1).mean())
    prompts = ["The film was a", "It is a", "The actors give a"]
    steered = accord.steer(lm, {0: Set(0.5 * size)}, concepts=model, layer=lm.n_layers, positions="generated")
    texts = {}
    for name, side in (("plain", lm), ("steered", steered)):
        samples = accord.lm.generate(side, prompts=prompts, n=3, max_new_tokens=6)
        texts[name] = Sentiment()([sample.text for sample in samples])
    assert np.mean(texts["steered"] - texts["plain"]) > 0.2
