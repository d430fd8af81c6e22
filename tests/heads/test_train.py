"""Training a head: it learns, and a killed run goes on to the same bits."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.concepts import Training, fit
from accord.errors import AccordError
from accord.heads import (
    ConceptLM,
    FinetunedHead,
    FinetuneTraining,
    Head,
    HeadTraining,
    NewHead,
    Reader,
    build_head,
    cross_entropy,
    next_counts,
    train_head,
    unigram_ce,
)
from accord.lm import Backbone
from accord.lm.perplexity import perplexity
from accord.text import batches as store_batches
from accord.text import extract, in_order
from tests.heads.conftest import Rows

Make = Callable[..., Any]
SHORT: dict[str, Any] = dict(steps=40, lr=1e-2, log_every=10, evaluate_every=20, checkpoint_every=16, patience=None)


@torch.no_grad()
def chain(lm: Backbone, n: int, seed: int) -> Rows:
    """States of a language in which a token mostly tells the next one: (5 t + 1) mod 40, plus three."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 40, (n, 1), generator=generator)
    for _ in range(15):
        odd = torch.rand(n, 1, generator=generator) < 0.2
        step = torch.where(odd, torch.randint(0, 40, (n, 1), generator=generator), (5 * ids[:, -1:] + 1) % 40)
        ids = torch.cat([ids, step], dim=1)
    ids = ids + 3
    x = lm.hidden(ids)[lm.n_layers][:, 1:]
    return Rows(x.flatten(0, 1), torch.cat([ids[:, 2:], torch.full((n, 1), -1)], 1).flatten())


def batches(rows: Rows, size: int = 64) -> Callable[[int], Iterator[Rows]]:
    def supply(start: int) -> Iterator[Rows]:
        while True:
            which = torch.randint(0, len(rows.x), (size,), generator=torch.Generator().manual_seed(start))
            yield Rows(rows.x[which], rows.next[which])
            start += 1

    return supply


def heads(lm: Backbone, concepts: Make, rows: Rows, **training: Any) -> dict[str, tuple[Head, Reader]]:
    made = {}
    settings = {**SHORT, **training}
    topk = concepts("topk", rows.x, size=64, k=8)
    fit(topk, lambda start: (batch.x for batch in batches(rows)(start)), Training(steps=200, lr=3e-3))
    for name, reader in {
        "embedding": Reader(),
        "latents": Reader("latents", topk),
        "lcblm latents": Reader("latents", concepts("lcblm", rows.x, concepts=24)),
        "reconstruction": Reader("reconstruction", topk),
    }.items():
        config = NewHead(reads=reader.reads, training=HeadTraining(**settings))
        made[name] = build_head(config, lm, reader, rows.x), reader
    tuned = FinetunedHead(reads="embedding", training=FinetuneTraining(**settings), vocabulary="observed")
    counts = next_counts([rows], lm.vocab_size)
    made["finetuned"] = build_head(tuned, lm, Reader(), rows.x, counts=counts), Reader()
    return made


def test_it_beats_the_unigram_on_held_out_rows(llama: Backbone, concepts: Make) -> None:
    rows, held_out = chain(llama, 120, seed=1), chain(llama, 30, seed=2)
    unigram = unigram_ce(next_counts([rows], llama.vocab_size), [held_out])
    for name, (head, reader) in heads(llama, concepts, rows, steps=400).items():
        before = cross_entropy(head, reader, [held_out])
        result = train_head(head, reader, batches(rows), held_out=lambda: [held_out])
        after = cross_entropy(head, reader, [held_out])
        assert after < unigram - 0.1 and after < before, (name, before, after, unigram)
        assert result.rows[-1]["held_out_ce"] == pytest.approx(after)


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("name", ["latents", "finetuned"])
def test_resuming_gives_the_same_bits(name: str, llama: Backbone, concepts: Make, tmp_path: Path) -> None:
    rows, held_out = chain(llama, 20, seed=1), chain(llama, 5, seed=2)

    def run(folder: Path | None, stop_at: int | None = None) -> tuple[Head, list[dict[str, float]]]:
        head, reader = heads(llama, concepts, rows)[name]

        def stop(row: dict[str, float]) -> None:
            if row["step"] == stop_at:
                raise StoppedError

        result = train_head(head, reader, batches(rows), held_out=lambda: [held_out], folder=folder, progress=stop)
        return head, result.rows

    straight, curve = run(None)
    with pytest.raises(StoppedError):
        run(tmp_path, stop_at=30)
    assert (tmp_path / "checkpoints").exists() and not (tmp_path / "curve.jsonl").exists()
    resumed, again = run(tmp_path)
    for key, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[key])
    drop = lambda rows: [{k: v for k, v in row.items() if k != "seconds"} for row in rows]  # noqa: E731
    assert drop(curve) == drop(again)
    written = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert drop(written) == drop(curve)


def test_a_checkpoint_of_other_concepts_is_refused(llama: Backbone, concepts: Make, tmp_path: Path) -> None:
    rows = chain(llama, 20, seed=1)
    head, reader = heads(llama, concepts, rows)["latents"]
    train_head(head, reader, batches(rows), folder=tmp_path)
    assert reader.concepts is not None
    with torch.no_grad():
        next(reader.concepts.parameters()).add_(1.0)
    with pytest.raises(AccordError, match="made with another concepts"):
        train_head(head, reader, batches(rows), folder=tmp_path)


def test_it_stops_before_it_knows_the_texts_by_heart(llama: Backbone) -> None:
    rows, held_out = chain(llama, 4, seed=1), chain(llama, 30, seed=2)
    config = NewHead(reads="embedding", training=HeadTraining(lr=3e-2, evaluate_every=10))
    head = build_head(config, llama, Reader(), rows.x)
    result = train_head(head, Reader(), batches(rows), held_out=lambda: [held_out])
    judged = [row["held_out_ce"] for row in result.rows if "held_out_ce" in row]
    assert result.stopped_early and result.steps < 1000
    assert cross_entropy(head, Reader(), [held_out]) == pytest.approx(min(judged[1:]))  # the first is in the warm-up
    with pytest.raises(AccordError, match="patience needs held-out"):
        train_head(head, Reader(), batches(rows))


def test_texts_ends_teach_nothing(llama: Backbone) -> None:
    rows = chain(llama, 2, seed=1)
    ends = Rows(rows.x, torch.full_like(rows.next, -1))
    head = build_head(NewHead(reads="embedding", training=HeadTraining(**SHORT)), llama, Reader(), rows.x)
    with pytest.raises(AccordError, match="has a next token"):
        train_head(head, Reader(), batches(ends))
    with pytest.raises(AccordError, match="has a next token"):
        cross_entropy(head, Reader(), [ends])
    assert cross_entropy(head, Reader(), [ends, rows]) == cross_entropy(head, Reader(), [rows])


def test_from_a_store_on_disk(llama: Backbone, concepts: Make, tmp_path: Path) -> None:
    """Texts to a store to a head to a language model that predicts them better than before."""
    texts = ["The birds are kind. Yes, no.", "A bee is a kind of food.", "Are chairs of food? no"] * 8
    store = extract(llama, texts, tmp_path / "store", shard_tokens=150)
    everything = list(in_order(store, llama.n_layers, 200))
    reader = Reader("latents", concepts("topk", everything[0].x))
    config = NewHead(vocabulary="observed", training=HeadTraining(**SHORT))
    counts = next_counts(everything, llama.vocab_size)
    head = build_head(config, llama, reader, everything[0].x, counts=counts)
    nll = [perplexity(ConceptLM(llama, llama.n_layers, reader, head), texts).nll.sum()]
    supply = lambda step: store_batches(store, llama.n_layers, 64, start_step=step)  # noqa: E731
    train_head(head, reader, supply, held_out=lambda: everything)
    nll.append(perplexity(ConceptLM(llama, llama.n_layers, reader, head), texts).nll.sum())
    assert nll[1] < 0.6 * nll[0]
    # What training saw is what the model says, but for the first tokens, which the backbone predicts.
    short = perplexity(llama, [text[0] for text in texts]).nll.sum()
    ce = cross_entropy(head, reader, everything) * float(counts.sum())
    assert nll[1] - short == pytest.approx(ce, rel=1e-4)
