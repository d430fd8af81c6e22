"""A study whose concepts are of an inner layer: every kind of head works on them, and does there what is said."""

import io
import json

import pytest
import torch
from rich.console import Console
from tests.tiny import tiny_hub_folder, tiny_texts

from accord.concepts import load as load_concepts
from accord.embeddings.result import HELD_OUT, Embeddings
from accord.errors import AccordError
from accord.heads import load_concept_lm
from accord.heads.config import KINDS as HEADS
from accord.lm.opening import load as load_lm
from accord.lm.perplexity import perplexity
from accord.study import engine
from accord.text import in_order

LAYER = 1
TRAINING = "training = { steps = 4, batch = 64 }"
STUDY = f"""\
name = "s"
[backbone]
model = "model"
device = "cpu"
layer = {LAYER}
[text]
source = "texts.csv"
label = "mood"
max_tokens = 250
held_out_tokens = 120
[[concepts]]
kind = "topk"
size = 24
k = 4
{TRAINING}
[[heads]]
kind = "original"
[[heads]]
kind = "finetuned"
reads = "embedding"
{TRAINING}
[[heads]]
kind = "finetuned"
{TRAINING}
[[heads]]
kind = "new"
reads = "embedding"
{TRAINING}
[[heads]]
kind = "new"
{TRAINING}
[[heads]]
kind = "new"
reads = "reconstruction"
{TRAINING}
[perplexity]
judge = "model"
samples = 2
max_new_tokens = 4
own_texts = 4
"""
ROWS = {
    "topk-reconstruction-original-L1": 3,  # layers of the model that the row makes
    "finetuned-L1": 1,
    "topk-reconstruction-finetuned-L1": 1,
    "new-L1": 1,
    "topk-latents-new-L1": 1,
    "topk-reconstruction-new-L1": 1,
}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A study file in a folder with a model and texts."""
    monkeypatch.chdir(tmp_path)
    tiny_hub_folder(tmp_path / "model")
    rows = [f"{text},{i % 7 - 3}" for i, text in enumerate(tiny_texts())]
    (tmp_path / "texts.csv").write_text("\n".join(["text,mood", *rows]))

    def write(text):
        (tmp_path / "study.toml").write_text(text)
        return tmp_path / "study.toml"

    return write


def run(study):
    engine.run(study, console=Console(file=io.StringIO(), width=200))


def test_every_head_reads_the_inner_layer(write, tmp_path):
    run(write(STUDY))
    with torch.no_grad():
        check(tmp_path)


def check(tmp_path):
    folder, lm = tmp_path / "runs" / "s", load_lm(tmp_path / "model", device="cpu")
    texts = Embeddings.read(folder / "embeddings")
    made = {path.name.removesuffix("-s0"): path for path in (folder / "heads").iterdir()}
    assert {*ROWS, "backbone"} == set(made)
    heads = [json.loads((path / "metrics.json").read_text())["head"] for path in made.values()]
    assert set(heads) == set(HEADS)  # every kind there is
    concepts = load_concepts(folder / "concepts" / "topk-L1-s0")
    ids = torch.randint(3, 300, (2, 7), generator=torch.Generator().manual_seed(0))
    states = lm.hidden(ids, layers=[LAYER])[LAYER]
    for name, layers in ROWS.items():
        own = load_concept_lm(made[name], backbone=lm)
        measured = json.loads((made[name] / "metrics.json").read_text())
        assert (own.layer, own.n_layers) == (LAYER, layers), name
        read = states[:, 1:].flatten(0, 1)
        if own.reader.reads == "latents":
            read = concepts.encode(read).strength
        elif own.reader.reads == "reconstruction":
            read = concepts(read)
        got = own.lens(own.hidden(ids)[own.n_layers])[:, 1:].flatten(0, 1)
        if own.head is None:  # the rest of the backbone runs on the reconstruction
            cut = torch.cat([states[:, :1], read.unflatten(0, (2, 6))], 1)
            for block in lm.blocks[LAYER:]:
                place = torch.arange(7)[None].expand(2, -1)
                rotary = lm.model.model.rotary_emb(cut, place)
                mask = torch.full((7, 7), float("-inf")).triu(1)[None, None]
                cut = block(cut, attention_mask=mask, position_ids=place, position_embeddings=rotary)
                cut = cut[0] if isinstance(cut, tuple) else cut
            want = lm.lens(cut)[:, 1:].flatten(0, 1)
            scores = perplexity(own, texts.texts(HELD_OUT), max_length=512)
            assert measured["held_out_ce"] == pytest.approx(float(scores.nll.sum() / scores.tokens.sum()), rel=1e-5)
        else:  # the model ends where its head reads
            want = own.head(read)
            rows = torch.cat([batch.x[batch.next >= 0] for batch in in_order(texts.store(HELD_OUT), LAYER, 99)])
            following = torch.cat([batch.next[batch.next >= 0] for batch in in_order(texts.store(HELD_OUT), LAYER, 99)])
            logits = own.head(own.reader(rows))
            ce = torch.nn.functional.cross_entropy(logits, following)
            assert measured["held_out_ce"] == pytest.approx(float(ce), rel=1e-4), name
            assert measured["held_out_ce"] <= measured["start_ce"] + 1e-6
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    page = (folder / "report.html").read_text()
    assert all(name in page for name in ROWS)


def test_kinds_that_make_sense_and_those_that_do_not(write, tmp_path):
    with pytest.raises(AccordError, match=r"embedding.*reconstruction"):
        run(write(STUDY.replace('kind = "original"\n', 'kind = "original"\nreads = "latents"\n', 1)))
    transcoder = f'\n[[concepts]]\nkind = "transcoder"\nsize = 8\nlayers = [1]\n{TRAINING}\n'
    with pytest.raises(AccordError, match=r"puts? back what they? reads?"):
        run(write(STUDY.replace('kind = "original"\n', 'kind = "original"\nconcepts = "transcoder"\n', 1) + transcoder))
    with pytest.raises(AccordError, match="layer"):
        run(write(STUDY.replace("layer = 1\n", "layer = 4\n")))
    assert not (tmp_path / "runs").exists()
