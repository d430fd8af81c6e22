"""How often the program waits for its device. Each number here is a bound: what waits more often than it did, fails."""

from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from accord.concepts import Training, build, fit, read_config
from accord.lm import Backbone, LanguageModel, Query, generate, score
from accord.lm.edited import Steered
from accord.repair.config import RankAlign
from accord.repair.lora import trainable
from accord.repair.scores import Odds, Pair, backward
from accord.steering import AddDirection
from accord.text import extract
from tests.gpu.test_concepts import TABLES, rows_for
from tests.waiting import waits

# Of one training step. How many concepts are dead is known by the next step on a GPU; the simulated device is asked.
A_STEP = {"topk": 1, "batchtopk": 1, "l1": 0, "bernoulli": 0, "lcblm": 0, "lcblm-shared": 0}
A_STEP |= {"matryoshka": 1, "jumprelu": 0, "transcoder": 0, "supervised": 0}

A_PASS = 1  # transformers' own, as it makes its mask


def _shown(seen: Counter[str]) -> str:
    return "\n".join(f"{n:5} {place}" for place, n in seen.most_common())


def _batches(device: torch.device) -> Iterator[Tensor]:
    x = torch.randn(64, 12, generator=torch.Generator().manual_seed(0)).to(device)
    while True:
        yield x


@pytest.mark.parametrize("kind", TABLES)
def test_a_training_step(kind: str, device: torch.device) -> None:
    counts = []
    for steps in (2, 12):
        model = build(read_config({"kind": kind, **TABLES[kind], "dead_after": 10**6}), 12, seed=3)
        model.fit_scale([rows_for(kind, next(_batches(torch.device("cpu"))))])
        pace = Training(steps=steps, log_every=100, evaluate_every=100, checkpoint_every=100)
        with waits(device) as seen:
            fit(model.to(device), lambda _: (rows_for(kind, x) for x in _batches(device)), pace)
        counts.append(seen)
    more = counts[1] - counts[0]
    assert more.total() <= 10 * A_STEP[kind], _shown(more)


def test_a_batch_of_scoring(models: tuple[LanguageModel, LanguageModel]) -> None:
    """Twice as many queries of the same shape in the same batches wait no more often."""
    lm, counts = models[1], []
    for n in (8, 16):
        ids = torch.randint(3, 200, (n, 6), generator=torch.Generator().manual_seed(0)).tolist()
        with waits(lm.device) as seen:
            score(lm, [Query(tuple(row), ((3,), (4,))) for row in ids])
        counts.append(seen.total())
    assert counts[1] <= counts[0] + 8


def test_states_that_are_picked(models: tuple[LanguageModel, LanguageModel]) -> None:
    """Ids and places are copied once a pass, however many layers are kept."""
    lm = models[1]
    with waits(lm.device) as seen:
        lm.hidden(torch.full((4, 8), 5), layers=range(lm.n_layers + 1), at=torch.full((4, 1), 7))
    assert seen.total() <= 2 + A_PASS, _shown(seen)


def test_an_update_of_a_repair(models: tuple[Backbone, Backbone]) -> None:
    """Twice as many pairs wait no more often."""
    lm, counts = models[1], []
    for n in (4, 8):
        pairs = [Odds((5, 6, 7 + i), ((53,), (54,)), ((55,),)) for i in range(n)]
        pairs += [Pair((8, 9, 7 + i), (60, 61)) for i in range(n)]  # type: ignore[misc]
        with trainable(lm, RankAlign(r=2), 0) as trainee, waits(lm.device) as seen:
            backward(trainee.lm, pairs, lambda scores: {"all": scores.square().mean()})
        counts.append(seen)
    assert counts[1].total() == counts[0].total() <= 12, _shown(counts[1])


def test_a_token_of_a_text(models: tuple[LanguageModel, LanguageModel]) -> None:
    lm, counts = models[1], []
    for length in (2, 6):
        with waits(lm.device) as seen:
            generate(lm, prompts=["food bird"], n=3, max_new_tokens=length, seed=1)
        counts.append(seen)
    more = counts[1] - counts[0]
    assert more.total() <= 4 * 8, _shown(more)


def test_an_edit(models: tuple[LanguageModel, LanguageModel]) -> None:
    """A direction that lies where the model lies is copied nowhere."""
    lm, ids = models[1], torch.full((4, 8), 5, device=models[1].device)
    steered = Steered(lm, [AddDirection(2, torch.ones(32, device=lm.device))])
    with waits(lm.device) as seen:
        steered.hidden(ids)
    assert seen.total() <= A_PASS, _shown(seen)


def test_extraction(models: tuple[LanguageModel, LanguageModel], texts: list[str], tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A batch of texts waits a bounded number of times, however many texts it has."""
    lm = models[1]
    with waits(lm.device) as seen:
        extract(lm, texts[:40], tmp_path, layers=[1, 2, 3])
    assert seen.total() <= 200, _shown(seen)
