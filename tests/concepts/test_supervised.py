"""The kind that learns from labels: its loss term by term, what moves whom, and who tells the label at last."""

import math
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from accord.concepts import (
    Set,
    Step,
    Superposition,
    Training,
    build,
    evaluate,
    export_saelens,
    fit,
    import_saelens,
    read_config,
)
from accord.concepts.labelled import judge_labels, label_numbers, numbers_by_side
from accord.concepts.supervised import Supervised
from accord.errors import AccordError

D, C = 5, 3
TRUTH = Superposition.random(16, 24, active=2, seed=0)


def made(**over: object) -> Supervised:
    """With weights that are nowhere special."""
    table = {"kind": "supervised", "labels": ["a", "b", "c"], "size": 4, "sparsity": 0.3}
    model = build(read_config(table | over), D, seed=3)
    assert isinstance(model, Supervised)
    model.fit_scale([rows(150)])
    g = torch.Generator().manual_seed(4)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=g)
    return model


def rows(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return 3 + torch.randn(n, D, generator=g), torch.randint(-1, C, (n,), generator=g)


def softmax(values: list[float]) -> list[float]:
    whole = sum(math.exp(v) for v in values)
    return [math.exp(v) / whole for v in values]


def test_its_loss() -> None:
    model, (x, label) = made(label_weight=2.0, adversary_weight=0.5), rows(12)
    assert {-1, 0, 1, 2} == set(label.tolist())
    W, b, W_adversary, b_adversary, b_dec = (
        w.tolist() for w in (model.W_enc, model.b_enc, model.W_adversary, model.b_adversary, model.b_dec)
    )
    wrong = told_wrong = leak = 0.0
    known = [i for i in range(12) if label[i] >= 0]
    for i in known:
        xs = [v - o for v, o in zip(model.standardise(x)[i].tolist(), b_dec, strict=True)]
        pre = [sum(w * v for w, v in zip(W[k], xs, strict=True)) + b[k] for k in range(C + 4)]
        rest = [max(v, 0.0) for v in pre[C:]]
        p = softmax(
            [
                sum(w * v for w, v in zip(row, rest, strict=True)) + o
                for row, o in zip(W_adversary, b_adversary, strict=True)
            ]
        )
        wrong -= math.log(softmax(pre[:C])[label[i]]) / len(known)
        told_wrong -= math.log(p[label[i]]) / len(known)
        leak += sum(q * math.log(q * C) for q in p) / len(known)
    step = Step(5, 100, torch.Generator().manual_seed(7))
    terms = model.loss((x, label), step)
    assert terms["labels"].item() == pytest.approx(2.0 * wrong, rel=1e-4)
    assert terms["adversary"].item() == pytest.approx(told_wrong, rel=1e-4)
    assert terms["leak"].item() == pytest.approx(0.5 * 0.5 * leak, rel=1e-4)  # half of the warm-up is over
    plain = model.terms(model.standardise(x), model.encode(x).strength, step)
    assert {name: terms[name].item() for name in plain} == {name: value.item() for name, value in plain.items()}
    some = model.rows_of((x, label), slice(2, 5))
    assert torch.equal(some[0], x[2:5]) and torch.equal(some[1], label[2:5])
    none = model.loss((x, torch.full((12,), -1)), step)
    assert all(none[name].item() == 0 for name in ("labels", "adversary", "leak"))


def test_who_is_moved_by_what() -> None:
    """The adversary by its own mistakes alone, and these move nothing else; the leak moves the rest alone."""
    model, batch = made(), rows(40)
    step = Step(50, 100, torch.Generator().manual_seed(7))
    adversary = {"W_adversary", "b_adversary"}
    for name, moved in (("adversary", adversary), ("leak", {"W_enc", "b_enc", "b_dec"})):
        model.zero_grad()
        model.loss(batch, step)[name].backward()
        assert {key for key, w in model.named_parameters() if w.grad is not None and w.grad.any()} == moved
        if name == "leak":
            assert not model.W_enc.grad[:C].any() and model.W_enc.grad[C:].any()


class Told:
    """Rows whose label is one atom's presence, in texts of ten tokens."""

    def __init__(self, texts: int, seed: int) -> None:
        x = TRUTH.sample(10 * texts, seed)[0]
        g = torch.Generator().manual_seed(seed)
        self.label = torch.randint(0, 2, (texts,), generator=g)
        self.text = torch.arange(10 * texts) // 10
        self.x = x + 1.5 * self.label[self.text, None] * TRUTH.atoms[0]

    def rows(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.x, self.label[self.text]

    def batches(self, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        for step in count(start):
            drawn = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(step))[:256]
            yield self.x[drawn], self.label[self.text[drawn]]

    def read(self) -> Any:
        return [SimpleNamespace(x=self.x, text=self.text)], self.label.numpy()


def learned(train: Told, **over: object) -> Supervised:
    table = {"kind": "supervised", "labels": ["off", "on"], "size": 32, "sparsity": 0.1}
    model = build(read_config(table | over), 16, seed=1)
    assert isinstance(model, Supervised)
    model.fit_scale(train.rows())
    fit(model, train.batches, Training(steps=400, lr=1e-2, clip=1.0, log_every=400, evaluate_every=400))
    return model


def test_labelled_concepts_tell_the_label_and_the_rest_does_not() -> None:
    train, held_out = Told(200, 1), Told(100, 2)
    free, kept = learned(train, adversary_weight=0.0), learned(train)
    told, kept_told = (judge_labels(model, train.read(), held_out.read()) for model in (free, kept))
    assert kept_told["accuracy"] > 0.95 and kept_told["accuracy_states"] > 0.95
    assert told["accuracy_rest"] > kept_told["accuracy_rest"] + 0.15
    assert kept_told["largest_label"] == max(np.bincount(held_out.label)) / 100
    assert evaluate(kept, held_out.rows()).r2 > 0.6
    # What the labelled concept writes is the atom: turning it on turns the label on.
    off = held_out.x[held_out.label[held_out.text] == 0]
    strength = kept.encode(held_out.x[held_out.label[held_out.text] == 1]).strength[:, 1].mean().detach()
    change = kept.decode(kept.edit(kept.encode(off), {1: Set(float(strength))})) - kept.decode(kept.encode(off))
    assert float(torch.nn.functional.cosine_similarity(change.mean(0).detach(), TRUTH.atoms[0], dim=0)) > 0.7


def test_what_is_told_against_plain_loops(tmp_path: Path) -> None:
    train, held_out = Told(60, 1), Told(40, 2)
    train.label[3] = held_out.label[5] = -1
    model = learned(train, adversary_weight=0.0)
    got = judge_labels(model, train.read(), held_out.read())
    known = [i for i in range(40) if held_out.label[i] >= 0]
    strength, right, tokens = model.encode(held_out.x).strength, 0, 0
    for i in known:
        own = strength[10 * i : 10 * i + 10, :2]
        right += int(own.mean(0).argmax()) == int(held_out.label[i])
        tokens += sum(int(row.argmax()) == int(held_out.label[i]) for row in own)
    assert got["accuracy"] == pytest.approx(right / 39) and got["accuracy_tokens"] == pytest.approx(tokens / 390)
    means = [side.x.reshape(-1, 10, 16).mean(1)[side.label >= 0].double().numpy() for side in (train, held_out)]
    scaler = StandardScaler().fit(means[0])
    probe = LogisticRegression(C=0.5, max_iter=1000, tol=1e-8)  # a ridge of 1: half of it is theirs
    probe.fit(scaler.transform(means[0]), train.label[train.label >= 0].numpy())
    want = (probe.predict(scaler.transform(means[1])) == held_out.label[known].numpy()).mean()
    assert got["accuracy_states"] == pytest.approx(want, abs=1 / 39 + 1e-9)
    export_saelens(model, tmp_path)
    again = import_saelens(tmp_path)
    torch.testing.assert_close(again.encode(held_out.x).strength, strength, atol=1e-4, rtol=1e-3)


def test_probes_read_as_many_texts_as_they_learn_from_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    train, held_out = Told(60, 1), Told(40, 2)
    train.label[3] = -1
    model = build(read_config({"kind": "supervised", "labels": ["off", "on"], "size": 32}), 16, seed=1)
    model.fit_scale(train.rows())
    few = Told(60, 1)
    few.label[3], few.label[21:] = -1, -1
    want = judge_labels(model, few.read(), held_out.read())
    monkeypatch.setattr("accord.concepts.labelled._PROBED", 20)

    def batches() -> Iterator[Any]:
        for i in range(0, 600, 30):
            yield SimpleNamespace(x=train.x[i : i + 30], text=train.text[i : i + 30])
            if i > 210:
                pytest.fail("what nobody learns from was read")

    assert judge_labels(model, (batches(), train.label.numpy()), held_out.read()) == pytest.approx(want)


def test_labels_of_texts() -> None:
    assert label_numbers(pd.Series(["b", None, "c", "a"]), ["a", "b"]).tolist() == [1, -1, -1, 0]
    assert label_numbers(pd.Series([1.0, 0.0, float("nan")]), ["0", "1"]).tolist() == [1, 0, -1]
    days = pd.Series([20240115.0, 20240116.0, float("nan")])
    assert label_numbers(days, ["20240115", "20240116"]).tolist() == [0, 1, -1]
    assert label_numbers(pd.Series([2, -1, 0]), ["bad", "good"]).tolist() == [1, 0, -1]
    with pytest.raises(AccordError, match=r"No text has this label(.|\n)*good"):
        label_numbers(pd.Series([-2.0, -1.0]), ["bad", "good"])
    with pytest.raises(AccordError, match=r"dull(.|\n)*a, b"):
        label_numbers(pd.Series(["a", "b"]), ["a", "dull"])


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (torch.zeros(3, D), "embeddings and labels"),
        ((torch.zeros(3, D), torch.zeros(2, dtype=torch.int64)), "embeddings and labels"),
        ((torch.zeros(3, D), torch.zeros(3)), "embeddings and labels"),
        ((torch.zeros(3, D), torch.tensor([0, 1, 3])), "no such label"),
    ],
)
def test_rows_that_do_not_fit(batch: Any, said: str) -> None:
    with pytest.raises(AccordError, match=said):
        made().receive(batch)
    with pytest.raises(AccordError, match="labels must differ"):
        read_config({"kind": "supervised", "labels": ["a", "a"], "size": 3})


def test_labels_are_told_in_one_way_on_both_sides() -> None:
    train, held_out = numbers_by_side(pd.Series([1.0, 2.0, 3.0]), pd.Series([3.0, 1.0]), ["1", "2"])
    assert train.tolist() == [0, 1, -1] and held_out.tolist() == [-1, 0]  # 3 is not above 0, but none of them
    sides = numbers_by_side(pd.Series(["a", "b"]), pd.Series(["a"]), ["a", "b"])
    assert [side.tolist() for side in sides] == [[0, 1], [0]]
    with pytest.raises(AccordError, match="No training text has this label"):
        numbers_by_side(pd.Series(["a"]), pd.Series(["b"]), ["a", "b"])
    with pytest.raises(AccordError, match="No text held out has a label"):
        numbers_by_side(pd.Series(["a", "b"]), pd.Series(["c"]), ["a", "b"])
