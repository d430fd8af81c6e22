"""Heads against their definitions: the copied lens, the sparse product, the chunked loss, the unseen tokens."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from accord.concepts import ConceptModel, Pattern, Sparse, Step
from accord.errors import AccordError
from accord.heads import (
    FinetunedHead,
    Linear,
    NewHead,
    Reader,
    Vocabulary,
    build_head,
    cross_entropy,
    next_counts,
    read_head,
)
from accord.heads.chunked import chunks, mean_over_chunks
from accord.heads.reader import decoder_rows
from accord.heads.train import HeadLearner
from accord.lm import Backbone
from tests.heads.conftest import Exact
from tests.tiny import FAMILIES

Make = Callable[..., Any]


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_finetuned_head_starts_as_the_lens(family: str, backbone: Make, states: Make) -> None:
    lm = backbone(family)
    for layer in (1, lm.n_layers):
        x = states(lm, layer).x
        head = build_head(FinetunedHead(reads="embedding"), lm, Reader(), x)
        with torch.no_grad():
            torch.testing.assert_close(head(x), lm.lens(x), atol=1e-5, rtol=1e-5)


def test_training_it_leaves_the_backbone_alone(llama: Backbone, states: Make) -> None:
    rows = states(llama, 3)
    before = {name: tensor.clone() for name, tensor in llama.model.state_dict().items()}
    head = build_head(FinetunedHead(reads="embedding"), llama, Reader(), rows.x)
    head.nll(rows.x[:4], rows.next[:4]).sum().backward()
    with torch.no_grad():
        for parameter in head.parameters():
            assert parameter.grad is not None
            parameter.add_(parameter.grad)
    assert all(torch.equal(tensor, before[name]) for name, tensor in llama.model.state_dict().items())


def test_sparse_and_dense_latents_give_the_same_logits_and_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    head = Linear(NewHead(), 24, Vocabulary(50))
    torch.nn.init.normal_(head.weight, generator=generator)
    torch.nn.init.normal_(head.bias, generator=generator)
    indices = torch.stack([torch.randperm(24, generator=generator)[:4] for _ in range(7)])
    values = torch.randn(28, generator=generator)
    sparse = Sparse(Pattern.of_rows(indices, 24), values)
    target = torch.randn(7, 50, generator=generator)
    results = []
    for inputs in (sparse, sparse.dense()):
        logits = head(inputs)
        gradients = torch.autograd.grad((logits * target).sum(), list(head.parameters()))
        results.append([logits.detach(), *gradients])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kind_of_head", ["finetuned", "new", "latents"])
def test_chunked_loss_is_the_plain_one(
    kind_of_head: str, backbone: Make, states: Make, concepts: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = backbone("gemma2")
    rows = states(lm, 3)
    reader = Reader("latents", concepts("topk", rows.x)) if kind_of_head == "latents" else Reader()
    table = {"kind": "finetuned"} if kind_of_head == "finetuned" else {"kind": "new"}
    head = build_head(read_head({**table, "reads": reader.reads}), lm, reader, rows.x)
    keep = rows.next >= 0
    x, following = rows.x[keep], rows.next[keep]
    plain = F.cross_entropy(head(reader(x)), following)
    expected = torch.autograd.grad(plain, list(head.parameters()))
    monkeypatch.setattr("accord.heads.chunked.LOGIT_CHUNK", 300 * 13)
    assert len(chunks(len(x), 300)) > 5
    learner = HeadLearner(head, reader)
    received, count = learner.receive(rows)
    assert count == len(x)
    loss = 2 * learner.loss(received, Step(0, 1))["ce"]
    loss.backward()
    torch.testing.assert_close(loss, 2 * plain)
    for parameter, gradient in zip(head.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * gradient, atol=1e-6, rtol=1e-4)
    with torch.no_grad():
        assert not learner.loss(received, Step(0, 1))["ce"].requires_grad


def test_no_logits_beyond_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.heads.chunked.LOGIT_CHUNK", 100)
    assert [part.stop - part.start for part in chunks(7, 50)] == [2, 2, 2, 1]
    assert [part.stop - part.start for part in chunks(2, 1000)] == [1, 1]
    with pytest.raises(ValueError, match="no rows"):
        mean_over_chunks(lambda part: torch.zeros(1), [], [])


def test_unseen_tokens_share_a_small_probability() -> None:
    counts = torch.tensor([0, 3, 1, 0, 1, 5, 0])
    vocabulary = Vocabulary.of_counts(counts)
    assert vocabulary.observed.tolist() == [1, 2, 4, 5] and vocabulary.size == 7
    assert float(vocabulary.unseen) == pytest.approx(2 / 11)  # two of ten tokens occurred once
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    p = vocabulary.spread(logits).softmax(-1)
    torch.testing.assert_close(p[:, [1, 2, 4, 5]], logits.softmax(-1) * (9 / 11))
    torch.testing.assert_close(p[:, [0, 3, 6]], torch.full((5, 3), 2 / 11 / 3))
    following = torch.tensor([1, 0, 5, 6, 2])
    torch.testing.assert_close(vocabulary.nll(logits, following), -p[range(5), following].log())
    whole = Vocabulary.of_counts(counts + 1)
    assert whole.whole and torch.equal(whole.observed, torch.arange(7))


@pytest.mark.parametrize("table", [{"kind": "new", "reads": "embedding"}, {"kind": "finetuned", "reads": "embedding"}])
def test_observed_vocabulary_is_the_full_one_cut(table: dict[str, str], llama: Backbone, states: Make) -> None:
    rows = states(llama, 3)
    counts = next_counts([rows], llama.vocab_size)
    assert counts.sum() == (rows.next >= 0).sum()
    full = build_head(read_head(table), llama, Reader(), rows.x)
    cut = build_head(read_head({**table, "vocabulary": "observed"}), llama, Reader(), rows.x, counts=counts)
    seen = counts.nonzero().squeeze(1)
    with torch.no_grad():
        torch.testing.assert_close(cut.columns(rows.x), full.columns(rows.x)[:, seen])
        assert torch.isfinite(cut(rows.x)).all() and cut(rows.x).shape == (len(rows.x), llama.vocab_size)
    with pytest.raises(AccordError, match="needs the counts"):
        build_head(read_head({**table, "vocabulary": "observed"}), llama, Reader(), rows.x)


def test_decoder_rows_are_the_decoder(kind: str, llama: Backbone, states: Make, concepts: Make) -> None:
    rows = states(llama, 2)
    model: ConceptModel = concepts(kind, rows.x)
    reader = Reader("latents", model)
    directions, rest = decoder_rows(model)
    z = reader(rows.x)
    dense = z if isinstance(z, Tensor) else z.dense()
    assert dense.shape[1] == reader.latent_width == len(directions)
    with torch.no_grad():
        torch.testing.assert_close(dense @ directions + rest, model(rows.x), atol=1e-4, rtol=1e-4)
    constant = model.directions()
    if constant is not None:
        torch.testing.assert_close(directions, constant, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "cohere", "granite"])
def test_first_weights_are_better_than_none_and_than_chance(family: str, backbone: Make, states: Make) -> None:
    """On tokens that the backbone itself finds likely, a new head predicts at once much of what it predicts."""
    lm = backbone(family)
    rows = states(lm, 3, n=30)
    with torch.no_grad():
        rows = rows._replace(next=torch.multinomial(lm.lens(rows.x).softmax(-1), 1, generator=seeded()).squeeze(1))
    for reader in (Reader(), Reader("reconstruction", Exact(32)), Reader("latents", Exact(32))):
        config = NewHead(reads=reader.reads)
        ce = {}
        for start in ("original", "zero"):
            head = build_head(config.model_copy(update={"start": start}), lm, reader, rows.x)
            ce[start] = cross_entropy(head, reader, [rows])
            if start == "original":
                with torch.no_grad():
                    weight = head.get_parameter("weight")
                    weight.copy_(weight.flatten()[torch.randperm(weight.numel(), generator=seeded())].view_as(weight))
                ce["random"] = cross_entropy(head, reader, [rows])
        with torch.no_grad():
            best = float(F.cross_entropy(lm.lens(rows.x), rows.next))
        assert ce["original"] < 0.5 * best + 0.5 * ce["zero"] < ce["random"], (reader.reads, ce, best)


def test_first_weights_from_every_kind(kind: str, llama: Backbone, states: Make, concepts: Make) -> None:
    """Latents through the decoder into the head: the same as the reconstruction read by the same affine map."""
    rows = states(llama, 3, n=30)
    model = concepts(kind, rows.x)
    logits = []
    for reads in ("latents", "reconstruction"):
        reader = Reader(reads, model)
        head = build_head(NewHead(reads=reads), llama, reader, rows.x)
        with torch.no_grad():
            logits.append(head(reader(rows.x)))
    torch.testing.assert_close(*logits, atol=1e-3, rtol=1e-3)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_sections_say_what_is_wrong(llama: Backbone, states: Make, exact: ConceptModel) -> None:
    assert read_head({"kind": "new"}).reads == "latents"
    with pytest.raises(AccordError, match=r"did you mean 'finetuned'"):
        read_head({"kind": "fine-tuned"})
    with pytest.raises(AccordError, match="reads"):
        read_head({"kind": "original", "reads": "latents"})
    with pytest.raises(AccordError, match=r"training\.rate"):
        read_head({"kind": "new", "training": {"rate": 1}})
    x = states(llama, 3).x
    with pytest.raises(AccordError, match="not the one that the head asks for"):
        build_head(NewHead(reads="latents"), llama, Reader(), x)
    with pytest.raises(AccordError, match="sample"):
        build_head(NewHead(reads="embedding"), llama, Reader(), x[:, :5])
    with pytest.raises(AccordError, match="needs a concept model"):
        Reader("latents")
    with pytest.raises(AccordError, match="nothing to edit"):
        Reader("embedding").with_edits({0: None})  # type: ignore[dict-item]
