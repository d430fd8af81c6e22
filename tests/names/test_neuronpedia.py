"""A dictionary as Neuronpedia imports it: its files, and numbers that are those of a plain loop."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
import torch

from accord.errors import AccordError
from accord.names import FeatureSource, Side, build_dictionary, export_neuronpedia, neuronpedia
from accord.names.result import NamedDictionary
from accord.text import extract, in_order
from tests.names.conftest import LAYER, make
from tests.tiny import tiny_tokenizer

SOURCE = FeatureSource("tiny", "accord-x", LAYER, title="hostile \u2028 \x1b[31m", creator="me")


def lines(path):
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in text.decode().split("\n") if line]


def named_dictionary(model, lm, sides):
    dictionary = build_dictionary(model, lm, LAYER, sides["train"], sides["held_out"])
    numbers = dictionary.concepts["concept"]
    columns = {"name": [f"birds {k}" if k % 2 else None for k in numbers], "detection": 0.75}
    return NamedDictionary(dictionary.concepts.assign(**columns), dictionary.examples, {"annotator": "tokens"})


@pytest.mark.parametrize("kind", ["topk", "lcblm"])
def test_what_is_written_is_what_the_model_does(kind, lm, sides, tmp_path, monkeypatch):
    monkeypatch.setattr(neuronpedia, "BATCH", 4)
    model = make(kind, sides)
    named = named_dictionary(model, lm, sides)
    place = export_neuronpedia(named, model, sides["train"], lm.tokenizer, SOURCE, tmp_path)
    assert place == tmp_path / "tiny" / f"{LAYER - 1}-accord-x"
    about = {name: lines(place / f"{name}.jsonl")[0] for name in ("model", "release", "sourceset", "source")}
    assert about["source"]["id"] == place.name and about["source"]["visibility"] == "PRIVATE"
    assert about["sourceset"]["releaseName"] == about["release"]["name"] == "accord-x"
    batches = range(-(-len(named.concepts) // 4))
    found = {
        what: [row for i in batches for row in lines(place / what / f"batch-{i}.jsonl.gz")]
        for what in ("features", "activations", "explanations")
    }
    assert sorted(path.name for path in (place / "features").iterdir()) == [f"batch-{i}.jsonl.gz" for i in batches]
    strengths, texts = {}, list(sides["train"].texts["text"])
    with torch.no_grad():
        for batch in in_order(sides["train"].store, LAYER, 1):
            encoded = model.encode(batch.x.to(model.mean))
            fires = model.harden(encoded).strength[0] != 0
            strengths[int(batch.text), int(batch.position)] = torch.where(fires, encoded.strength[0], 0.0).numpy()
    assert len({row["id"] for row in found["activations"] + found["explanations"]}) == len(
        found["activations"] + found["explanations"]
    )
    for row in found["activations"]:
        whole = "".join(row["tokens"])
        assert len(row["tokens"]) == len(row["values"]) and row["values"][row["maxValueTokenIndex"]] > 0
        text = next(i for i, text in enumerate(texts) if whole in text)  # each begins like no other
        before = texts[text].index(whole)
        start = len(lm.tokenizer(texts[text][:before], add_special_tokens=False)["input_ids"]) if before else 0
        expected = [float(strengths[text, start + i][int(row["index"])]) for i in range(len(row["values"]))]
        np.testing.assert_allclose(row["values"], expected, atol=1e-5)
        assert row["maxValue"] == pytest.approx(max(expected), abs=1e-5)
    assert [row["index"] for row in found["features"]] == [str(k) for k in named.concepts["concept"]]
    for row, (_, concept) in zip(found["features"], named.concepts.iterrows(), strict=True):
        own = [each["maxValue"] for each in found["activations"] if each["index"] == row["index"]]
        assert row["maxActApprox"] == max(own) and row["hookName"] == f"blocks.{LAYER - 1}.hook_resid_post"
        assert row["pos_str"] == [token["token"] for token in concept["promoted"]]
        assert row["freq_hist_data_bar_heights"] == list(concept["histogram"])
        assert len(row["freq_hist_data_bar_values"]) == len(concept["histogram"])
        assert row["hasVector"] == (kind == "topk")
        if kind == "topk":
            writes = model.W_dec[int(row["index"])] * model.scale
            np.testing.assert_allclose(row["vector"], writes.detach().numpy(), atol=1e-5)
    assert {row["index"] for row in found["explanations"]} == {str(k) for k in named.concepts["concept"] if k % 2}
    assert "detection 0.75" in found["explanations"][0]["notes"]


def test_what_does_not_fit_is_said(lm, sides, tmp_path):
    model = make("topk", sides)
    named = named_dictionary(model, lm, sides)
    short = Side(sides["train"].store, pd.DataFrame({"text": ["x"] * len(sides["train"].texts)}))
    with pytest.raises(AccordError, match="another tokenizer, or of other texts"):
        export_neuronpedia(named, model, short, tiny_tokenizer(), SOURCE, tmp_path)
    (tmp_path / "tiny").mkdir(exist_ok=True)
    (tmp_path / "tiny" / f"{LAYER - 1}-accord-y").write_text("")
    other = FeatureSource("tiny", "accord-y", LAYER)
    with pytest.raises(AccordError, match="there is a file"):
        export_neuronpedia(named, model, sides["train"], lm.tokenizer, other, tmp_path)


def test_what_a_text_has_beyond_the_last_token_read_is_not_shown_as_silent(lm, sides, tmp_path):
    texts = list(sides["train"].texts["text"])[:4]
    lengths = [len(lm.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    store = extract(lm, texts, tmp_path / "store", layers=[LAYER], max_tokens=sum(lengths) - lengths[3] + 2)
    train = Side(store, pd.DataFrame({"text": texts}))
    model = make("topk", sides)
    dictionary = build_dictionary(model, lm, LAYER, train, sides["held_out"])
    named = NamedDictionary(dictionary.concepts, dictionary.examples, {"annotator": "tokens"})
    place = export_neuronpedia(named, model, train, lm.tokenizer, SOURCE, tmp_path)
    rows = lines(place / "activations" / "batch-0.jsonl.gz")
    cut = [row for row in rows if texts[3].startswith("".join(row["tokens"][:2]))]
    assert cut and all(len(row["tokens"]) == len(row["values"]) == 2 for row in cut)
    assert len({len(row["tokens"]) for row in rows} - {2}) > 0


def test_a_smaller_dictionary_leaves_no_batch_of_a_larger_one(lm, sides, tmp_path, monkeypatch):
    monkeypatch.setattr(neuronpedia, "BATCH", 4)
    model = make("topk", sides)
    named = named_dictionary(model, lm, sides)
    place = export_neuronpedia(named, model, sides["train"], lm.tokenizer, SOURCE, tmp_path)
    assert len(list(place.glob("*/batch-*"))) > 3
    few = NamedDictionary(named.concepts[:3], named.examples, named.metrics)
    assert export_neuronpedia(few, model, sides["train"], lm.tokenizer, SOURCE, tmp_path) == place
    assert [path.name for path in sorted(place.glob("*/batch-*"))] == ["batch-0.jsonl.gz"] * 3
