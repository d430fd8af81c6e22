"""The concept language model under the functions that know only the contract, against its backbone and by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from accord.concepts import ConceptModel, Scale, Set, build, read_config
from accord.errors import AccordError
from accord.gap import measure_gap
from accord.heads import (
    ConceptLM,
    FinetunedHead,
    Head,
    NewHead,
    Reader,
    build_head,
    is_concept_lm,
    load_concept_lm,
    recovered_on_rows,
    recovered_on_texts,
    replaced,
    save_concept_lm,
)
from accord.lm import Backbone, LanguageModel, Query, score
from accord.lm.kv import kv_cache
from accord.lm.marked import Marked, backbone_states
from accord.lm.perplexity import perplexity
from accord.lm.sampling import generate
from accord.lm.windows import tokenize
from tests.gap.test_measure import pairs

Make = Callable[..., Any]
TEXTS = ["A bee is a kind of food.", "", "no", "The birds are kind. " * 4, "Yes, yes."]


def finetuned(lm: Backbone, layer: int, reader: Reader, x: Tensor) -> ConceptLM:
    head = build_head(FinetunedHead(reads=reader.reads), lm, reader, x)
    return ConceptLM(lm, layer, reader, head)


def same_everywhere(lm: LanguageModel, expected: LanguageModel) -> None:
    """Scores, gap, perplexity and texts of the two agree."""
    queries = [Query((1, *context), ((7, 9), (30,))) for context in ((5, 6, 7, 8, 9), (5, 6, 7, 8, 10), (40,))]
    for a, b in zip(score(lm, queries), score(expected, queries), strict=True):
        np.testing.assert_allclose(a.total, b.total, atol=1e-4)
        np.testing.assert_allclose(a.logodds, b.logodds, atol=1e-4)
    a, b = (measure_gap(model, pairs(6), layers=True, resamples=0) for model in (lm, expected))
    assert a.layers is not None and b.layers is not None and len(a.layers) == 6 * (lm.n_layers + 1)
    columns = ["generator_logodds", "validator_logodds"]
    np.testing.assert_allclose(a.scores[columns], b.scores[columns], atol=1e-4)
    shared = b.layers[b.layers["layer"] <= lm.n_layers]
    np.testing.assert_allclose(a.layers[columns], shared[columns], atol=1e-4)
    np.testing.assert_allclose(perplexity(lm, TEXTS).nll, perplexity(expected, TEXTS).nll, rtol=1e-4, atol=1e-4)
    for options in ({"prompts": None, "n": 3}, {"prompts": ["A bee", "Are chairs food?"]}):
        texts = [generate(model, max_new_tokens=8, **options) for model in (lm, expected)]
        assert [sample.ids for sample in texts[0]] == [sample.ids for sample in texts[1]]


@pytest.mark.parametrize("layer", [0, 1, 3])
@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "opt"])
def test_exact_concepts_change_nothing(family: str, layer: int, backbone: Make, exact: ConceptModel) -> None:
    lm = backbone(family)
    same_everywhere(ConceptLM(lm, layer, Reader("reconstruction", exact)), lm)


@pytest.mark.parametrize("family", ["llama", "gemma3", "opt"])
def test_a_head_not_yet_trained_changes_nothing(family: str, backbone: Make, states: Make, exact: ConceptModel) -> None:
    """Copied norm and head on the top layer, on states and on exact reconstructions; the layers below as ever."""
    lm = backbone(family)
    for reader in (Reader(), Reader("reconstruction", exact)):
        model = finetuned(lm, lm.n_layers, reader, states(lm, lm.n_layers).x)
        assert model.d_model == lm.d_model
        same_everywhere(model, lm)


def test_without_concepts_and_head_it_is_the_backbone(llama: Backbone) -> None:
    same_everywhere(ConceptLM(llama, 2, Reader()), llama)


@torch.no_grad()
def test_an_inner_head_reads_its_layer(llama: Backbone, states: Make, concepts: Make, kind: str) -> None:
    """Logits by hand: the head on the layer's states, the backbone's own at the first position; cached or not."""
    rows = states(llama, 2)
    reader = Reader("latents", concepts(kind, rows.x))
    head = build_head(NewHead(), llama, reader, rows.x)
    lm = ConceptLM(llama, 2, reader, head)
    ids = torch.randint(3, 300, (3, 9), generator=torch.Generator().manual_seed(3))
    own = llama.hidden(ids, layers=[2, 3])
    expected = torch.cat(
        [llama.lens(own[2][:, :1]), head(reader(own[2][:, 1:].flatten(0, 1))).unflatten(0, (3, 8))], dim=1
    )
    assert lm.n_layers == 2 and backbone_states(lm.hidden(ids)[2]).shape == (3, 9, 32)
    torch.testing.assert_close(lm.lens(lm.hidden(ids)[2]), expected, atol=1e-4, rtol=1e-4)
    at = torch.tensor([[0, 4], [8, 0], [3, 3]])
    some = lm.lens(lm.hidden(ids, at=at)[2])
    torch.testing.assert_close(some, expected[torch.arange(3)[:, None], at], atol=1e-4, rtol=1e-4)
    cache = kv_cache([])
    parts = [lm.hidden(part, cache=cache)[2] for part in (ids[:, :4], ids[:, 4:5], ids[:, 5:])]
    torch.testing.assert_close(torch.cat([lm.lens(part) for part in parts], 1), expected, atol=1e-4, rtol=1e-4)
    below = lm.hidden(ids, layers=[0, 1])
    torch.testing.assert_close(lm.lens(below[1]), llama.lens(llama.hidden(ids, layers=[1])[1]))
    with pytest.raises(AccordError, match="no such layer"):
        lm.hidden(ids, layers=[3])


@torch.no_grad()
@pytest.mark.parametrize("layer", [0, 1, 3])
def test_a_reconstruction_goes_through_the_rest(layer: int, llama: Backbone, states: Make, concepts: Make) -> None:
    """The same in one piece and from a cache; not the backbone's; the first position untouched."""
    model = concepts("topk", states(llama, layer).x)
    lm = ConceptLM(llama, layer, Reader("reconstruction", model))
    ids = torch.randint(3, 300, (2, 9), generator=torch.Generator().manual_seed(3))
    whole, plain = lm.hidden(ids, layers=[layer, 3]), llama.hidden(ids, layers=[layer, 3])
    assert lm.n_layers == 3 and lm.d_model == 32
    assert torch.equal(whole[layer][:, 0], plain[layer][:, 0])
    wanted = model(plain[layer][:, 1:].flatten(0, 1)).unflatten(0, (2, 8))
    torch.testing.assert_close(whole[layer][:, 1:], wanted)
    if 0 < layer < 3:
        with replaced(llama, layer, lambda x: wanted.flatten(0, 1)):
            torch.testing.assert_close(llama.hidden(ids)[3], whole[3])
    assert (whole[3] - plain[3]).abs().max() > 0.1
    cache = kv_cache([])
    parts = [lm.hidden(part, cache=cache)[3] for part in (ids[:, :1], ids[:, 1:5], ids[:, 5:])]
    torch.testing.assert_close(torch.cat(parts, 1), whole[3], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(llama.hidden(ids)[3], plain[3])  # no hook is left behind


@torch.no_grad()
@pytest.mark.parametrize("layer", [1, 3])
def test_edits_change_what_they_name(layer: int, llama: Backbone, exact: ConceptModel) -> None:
    lm = ConceptLM(llama, layer, Reader("reconstruction", exact))
    ids = torch.randint(3, 300, (2, 6), generator=torch.Generator().manual_seed(3))
    edited = lm.with_edits({4: Set(0.5), 7: Scale(-2.0)})
    plain, changed = (model.hidden(ids, layers=[layer])[layer] for model in (lm, edited))
    assert torch.equal(plain[:, 0], changed[:, 0])
    expected = plain[:, 1:].clone()
    expected[..., 4], expected[..., 7] = 0.5, expected[..., 7] * -2
    torch.testing.assert_close(changed[:, 1:], expected)
    assert edited.backbone is lm.backbone and not lm.reader.edits
    assert edited.settings() != lm.settings()
    same_everywhere(edited.with_edits({}), llama)
    with pytest.raises(AccordError, match="no such concept"):
        lm.with_edits({32: Set(0.0)})


@torch.no_grad()
def test_edited_latents_reach_the_head(llama: Backbone, states: Make, concepts: Make, kind: str) -> None:
    rows = states(llama, 3)
    reader = Reader("latents", concepts(kind, rows.x))
    head = build_head(NewHead(), llama, reader, rows.x)
    weight, width = head.get_parameter("weight"), reader.latent_width
    off = ConceptLM(llama, 3, reader, head).with_edits({2: Set(0.0)})
    z = reader(rows.x)
    z = z if isinstance(z, Tensor) else z.dense()
    each = width // reader.concepts.K  # type: ignore[union-attr]
    own = slice(2 * each, 3 * each)
    marked = Marked(rows.x, torch.ones(len(rows.x)))
    expected = head(reader(rows.x)) - z[:, own] @ weight[own]
    torch.testing.assert_close(off.lens(marked), expected, atol=1e-4, rtol=1e-4)


def models(lm: Backbone, states: Make, concepts: Make) -> dict[str, ConceptLM]:
    """One of every row of the perplexity table, two layers among them."""
    rows, inner = states(lm, 3), states(lm, 1)
    topk, lcblm = concepts("topk", rows.x), concepts("lcblm", inner.x)

    def made(config: FinetunedHead | NewHead, layer: int, reader: Reader, x: Tensor) -> ConceptLM:
        head: Head = build_head(config, lm, reader, x, counts=torch.arange(lm.vocab_size) % 3)
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
        return ConceptLM(lm, layer, reader, head)

    return {
        "original": ConceptLM(lm, 3, Reader()),
        "finetuned": made(FinetunedHead(reads="embedding"), 3, Reader(), rows.x),
        "new": made(NewHead(reads="embedding", vocabulary="observed"), 3, Reader(), rows.x),
        "topk latents": made(NewHead(), 3, Reader("latents", topk), rows.x),
        "topk reconstruction": ConceptLM(lm, 3, Reader("reconstruction", topk)),
        "lcblm latents": made(NewHead(hard=True), 1, Reader("latents", lcblm, hard=True), inner.x),
        "lcblm reconstruction": ConceptLM(lm, 1, Reader("reconstruction", lcblm, edits={1: Set(1.0)})),
        "lcblm, finetuned": made(FinetunedHead(), 1, Reader("reconstruction", lcblm, edits={0: Scale(2)}), inner.x),
    }


def test_saved_and_loaded_as_a_folder(llama: Backbone, states: Make, concepts: Make, tmp_path: Path) -> None:
    ids = torch.randint(3, 300, (2, 6), generator=torch.Generator().manual_seed(3))
    for i, (name, lm) in enumerate(models(llama, states, concepts).items()):
        folder = tmp_path / str(i)
        save_concept_lm(lm, folder)
        save_concept_lm(lm, folder)  # again, in place
        assert is_concept_lm(folder) and {path.suffix for path in folder.rglob("*.*")} == {".json", ".safetensors"}
        again = load_concept_lm(folder, backbone=llama)
        with torch.no_grad():
            logits = [model.lens(model.hidden(ids)[model.n_layers]) for model in (lm, again)]
        assert torch.equal(*logits), name
        assert again.settings() == lm.settings() and again.name == lm.name
    assert not is_concept_lm(tmp_path) and not is_concept_lm(tmp_path / "3" / "concepts")
    with pytest.raises(AccordError, match="not a concept language model"):
        load_concept_lm(tmp_path, backbone=llama)


def test_it_names_its_backbone(llama: Backbone, states: Make, concepts: Make, tmp_path: Path) -> None:
    home, folder = tmp_path / "backbone", tmp_path / "model"
    llama.model.save_pretrained(home)
    llama.tokenizer.save_pretrained(home)
    from accord.lm import load

    lm = ConceptLM(load(home), 3, Reader("reconstruction", concepts("topk", states(llama, 3).x)))
    save_concept_lm(lm, folder)
    again = load_concept_lm(folder, device="cpu")
    np.testing.assert_array_equal(perplexity(lm, TEXTS).nll, perplexity(again, TEXTS).nll)
    load_concept_lm(folder, backbone=llama)  # another name and fingerprint, the same weights


def test_another_backbone_is_refused(
    llama: Backbone, backbone: Make, states: Make, concepts: Make, tmp_path: Path
) -> None:
    save_concept_lm(ConceptLM(llama, 3, Reader("reconstruction", concepts("topk", states(llama, 3).x))), tmp_path)
    load_concept_lm(tmp_path, backbone=backbone("llama"))  # made anew, the same weights
    for other in (backbone("llama", seed=5), backbone("gpt2")):
        with pytest.raises(AccordError, match="made on another backbone"):
            load_concept_lm(tmp_path, backbone=other)
    (tmp_path / "concepts" / "weights.safetensors").write_bytes(b"")
    with pytest.raises(AccordError, match="cannot read"):
        load_concept_lm(tmp_path, backbone=llama)


def test_parts_that_do_not_fit(llama: Backbone, states: Make, concepts: Make, exact: ConceptModel) -> None:
    rows = states(llama, 3)
    with pytest.raises(AccordError, match="original head cannot read latents"):
        ConceptLM(llama, 3, Reader("latents", exact))
    with pytest.raises(AccordError, match="no such layer"):
        ConceptLM(llama, 4, Reader())
    with pytest.raises(AccordError, match="another width"):
        ConceptLM(llama, 3, Reader("reconstruction", type(exact)(8)))  # type: ignore[call-arg, arg-type]
    head = build_head(NewHead(), llama, Reader("latents", exact), rows.x)
    with pytest.raises(AccordError, match="something else"):
        ConceptLM(llama, 3, Reader("latents", concepts("topk", rows.x)), head)


def test_ce_recovered_by_hand(llama: Backbone, states: Make, exact: ConceptModel) -> None:
    """Exact concepts recover all, concepts that say the mean nothing; the middle is the formula on plain logits."""
    rows = states(llama, 3, n=30)
    with torch.no_grad():
        likely = torch.multinomial(llama.lens(rows.x).softmax(-1), 1, generator=torch.Generator().manual_seed(1))
    rows = rows._replace(next=torch.where(rows.next < 0, -1, likely.squeeze(1)))
    exact.fit_scale([rows.x])
    ce = recovered_on_rows(llama, exact, [rows, rows])
    keep = rows.next >= 0
    with torch.no_grad():
        logp = llama.lens(rows.x[keep]).log_softmax(-1)
        mean = llama.lens(rows.x.mean(0)[None]).log_softmax(-1).expand(len(logp), -1)
    following = rows.next[keep][:, None]
    assert ce.tokens == 2 * int(keep.sum())
    assert ce.original == pytest.approx(-float(logp.gather(1, following).mean()), abs=1e-5)
    assert ce.ablated == pytest.approx(-float(mean.gather(1, following).mean()), abs=1e-4)
    assert ce.recovered == ce.recovered_hard == pytest.approx(1.0, abs=1e-5)


def test_ce_recovered_on_texts(llama: Backbone, states: Make, concepts: Make, exact: ConceptModel) -> None:
    texts = [sample.text for sample in generate(llama, n=12, max_new_tokens=20, temperature=1.0, seed=1)]
    top = states(llama, 3)
    exact.fit_scale([top.x])
    for layer in (1, 3):
        ce = recovered_on_texts(llama, layer, exact, texts)
        nll = perplexity(llama, texts)
        assert ce.original == pytest.approx(nll.nll.sum() / nll.tokens.sum())
        assert ce.soft == pytest.approx(ce.original, abs=1e-5) and ce.hard == ce.soft
    gated = concepts("lcblm", top.x)
    ce = recovered_on_texts(llama, 3, gated, texts)
    for hard, value in ((False, ce.soft), (True, ce.hard)):
        nll = perplexity(ConceptLM(llama, 3, Reader("reconstruction", gated, hard)), texts)
        assert value == pytest.approx(nll.nll.sum() / nll.tokens.sum())
    assert ce.soft != ce.hard
    with pytest.raises(AccordError, match="no token"):
        recovered_on_texts(llama, 3, exact, [""])


def test_ce_recovered_by_a_transcoder(llama: Backbone, states: Make) -> None:
    texts = ["food bird bird of", "kind of food are", "yes no x bird food are"]
    low, high = states(llama, 1).x, states(llama, 2).x
    model = build(read_config({"kind": "transcoder", "size": 24}), 32, seed=3).eval()
    model.fit_scale([(low, high)])  # type: ignore[list-item]
    ce = recovered_on_texts(llama, 1, model, texts, target=2)
    nll = perplexity(llama, texts)
    assert ce.original == pytest.approx(nll.nll.sum() / nll.tokens.sum())

    def put_in(out: Callable[[Tensor], Tensor]) -> float:
        """What it reads is computed by itself, before anything is put in; a text at a time."""
        total = 0.0
        for text in texts:
            tokens = tokenize(llama, [text], max_length=50)
            ids = tokens.rows(list(tokens.windows(25)))
            x = llama.hidden(ids, layers=[1])[1][0, 1:]
            with replaced(llama, 2, lambda _, x=x: out(x)):  # type: ignore[misc]
                total += float(perplexity(llama, [text]).nll.sum())
        return total / float(nll.tokens.sum())

    with torch.no_grad():
        assert ce.soft == pytest.approx(put_in(model), abs=1e-5)
        assert ce.ablated == pytest.approx(put_in(lambda x: high.mean(0).expand(len(x), -1)), abs=1e-5)
    assert len({ce.soft, ce.ablated, ce.original}) == 3
    for layer, target in ((1, None), (1, 1), (2, 1)):
        with pytest.raises(AccordError, match="a layer above the one that they read"):
            recovered_on_texts(llama, layer, model, texts, target=target)
