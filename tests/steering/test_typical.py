"""Statistics of concepts, what they promote, and which go with a label, each against plain loops."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from accord.concepts import Encoded
from accord.errors import AccordError
from accord.lm import Backbone
from accord.steering import Target, associated, live, measure_typical, pick, promoted, promoted_labels, token_labels
from accord.steering.promotion import logit_changes
from accord.text import Batch


def batches(x: Tensor, size: int) -> list[Batch]:
    n = len(x)
    token, text = torch.arange(n) % 7, torch.arange(n) // 9
    whole = Batch(x, token, token.roll(-1), text, torch.arange(n))
    parts = zip(*(getattr(whole, name).split(size) for name in ("x", "token", "next", "text", "position")), strict=True)
    return [Batch(*part) for part in parts]


def label(text: Tensor) -> Tensor:
    """Of text i; every fifth has none."""
    return torch.where(text % 5 == 4, torch.nan, (text * 3 % 4).float() - text * 0.1)


@pytest.mark.parametrize("kind", ["topk", "lcblm", "bernoulli"])
def test_statistics_are_those_of_a_plain_loop(concepts: Any, states: Any, kind: str) -> None:
    model, x = concepts(kind, 2), states(2)
    typical = measure_typical(model, batches(x, 64), label)
    with torch.no_grad():
        encoded = model.encode(x)
        hard, s = model.harden(encoded).strength != 0, encoded.strength.double()
    y = label(torch.arange(len(x)) // 9).double()
    known = ~y.isnan()
    assert typical.tokens == len(x) and hard.any(0).sum() > 3
    for k in range(model.K):
        active = s[hard[:, k], k]
        np.testing.assert_allclose(float(typical.rate[k]), len(active) / len(x), rtol=1e-6)
        r = np.corrcoef(s[known, k], y[known])[0, 1]
        np.testing.assert_allclose(float(typical.association[k]), r, rtol=1e-4, atol=1e-6)
        if not len(active):
            assert typical.mean[k].isnan() and typical.p99[k].isnan()
            continue
        np.testing.assert_allclose(float(typical.mean[k]), active.mean(), rtol=1e-5)
        p99 = np.quantile(active, 0.99, method="inverted_cdf")
        np.testing.assert_allclose(float(typical.p99[k]), p99, rtol=0.0225)
        assert typical.edit(k, 2.0).value == pytest.approx(2 * float(active.mean()), rel=1e-5)
        with torch.no_grad():
            rows = hard[:, k].nonzero().flatten()
            without = s.float().clone()
            without[:, k] = 0
            gone = model.decode(Encoded(without, encoded.content))
        written = (model.decode(Encoded(s.float(), encoded.content)) - gone)[rows].mean(0)
        torch.testing.assert_close(typical.written[k], written.detach(), rtol=1e-3, atol=1e-4)


def test_batches_do_not_matter_and_nothing_is_refused(concepts: Any, states: Any) -> None:
    model, x = concepts("topk", 2), states(2)
    whole, parts = (measure_typical(model, batches(x, size), label).table() for size in (1000, 7))
    np.testing.assert_allclose(whole.to_numpy(), parts.to_numpy(), rtol=1e-5, atol=1e-7)
    assert measure_typical(model, batches(x, 50)).association.isnan().all()
    with pytest.raises(AccordError, match="no embeddings"):
        measure_typical(model, [])
    dead = measure_typical(model, batches(x[:1], 1))
    with pytest.raises(AccordError, match="no typical strength"):
        dead.edit(int((dead.rate == 0).nonzero()[0]), 1.0)


@pytest.mark.parametrize("head", ["spliced", "original", "new"])
def test_promoted_tokens_rise_with_the_concept(
    lm: Backbone, concepts: Any, concept_lm: Any, states: Any, head: str
) -> None:
    x = states(3)
    target = Target.of(lm, concepts("topk", 3), 3) if head == "spliced" else None
    target = target or Target.of(concept_lm("topk", 3, head), None, None)
    typical = measure_typical(target.concepts, batches(x, 64))
    chosen = live(typical)[:3]
    tokens = promoted(target, typical, chosen, x, n=5)
    for k in chosen:
        change = torch.zeros(lm.vocab_size)
        for row in x[:32]:  # by hand: what is read at this row with and without what the concept writes
            with torch.no_grad():
                if head == "new":
                    own = target.lm.head  # type: ignore[attr-defined]
                    change += float(typical.mean[k]) * own.weight[k]
                else:
                    after, before = lm.lens(row + typical.written[k]), lm.lens(row)
                    change += (after - after.mean()) - (before - before.mean())
        assert tokens[k] == change.topk(5).indices.tolist()
    with pytest.raises(AccordError, match="no typical strength"):
        promoted(target, typical, [99], x)


def test_labels_of_tokens_and_of_what_concepts_promote(lm: Backbone, concepts: Any, states: Any) -> None:
    x = states(3)
    rows = batches(x, 64)
    deviations = token_labels(rows, label, 40)
    tokens, y = torch.arange(len(x)) % 7, label(torch.arange(len(x)) // 9)
    average = float(y[~y.isnan()].mean())
    for t in range(7):
        own = y[(tokens == t) & ~y.isnan()]
        expected = float((own - average).sum()) / (len(own) + 5)
        np.testing.assert_allclose(float(deviations[t]), expected, rtol=1e-4, atol=1e-6)
    assert deviations[7:].isnan().all()
    target = Target.of(lm, concepts("topk", 3), 3)
    typical = measure_typical(target.concepts, rows)
    labels = torch.randn(lm.vocab_size, generator=torch.Generator().manual_seed(0))
    labels[::3] = torch.nan
    scores = promoted_labels(target, typical, labels, x.mean(0))
    for k, change in logit_changes(target, typical, live(typical)[:4], x.mean(0)[None]):
        with torch.no_grad():
            moved = lm.lens(x.mean(0) + typical.written[k]) - lm.lens(x.mean(0))
        torch.testing.assert_close(change, moved - moved.mean(), rtol=1e-4, atol=1e-4)
        expected = np.corrcoef(change[~labels.isnan()], labels[~labels.isnan()])[0, 1]
        np.testing.assert_allclose(float(scores[k]), expected, atol=1e-5)
    best = associated(scores, typical, 3)
    assert list(best) == sorted(live(typical), key=lambda k: -abs(float(scores[k])))[:3]
    assert pick(typical, 4, 0) != pick(typical, 4, 1) and len(set(pick(typical, 4, 0))) == 4
