"""Every kind of concept model and head encodes, decodes and learns on a GPU as on the CPU."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from accord.concepts import ConceptModel, Edit, Scale, Set, Step, Training, build, evaluate, fit, read_config
from accord.concepts.config import KINDS
from accord.concepts.topk import largest
from accord.concepts.train import rounded_products
from accord.heads import ConceptLM, Reader, build_head, cross_entropy, next_counts, read_head, train_head
from accord.heads.config import KINDS as HEADS
from accord.lm import Backbone
from accord.lm.perplexity import perplexity

TABLES: dict[str, dict[str, Any]] = {
    "topk": {"size": 40, "k": 4, "dead_after": 100},
    "batchtopk": {"size": 40, "k": 4, "dead_after": 100},
    "matryoshka": {"size": 40, "k": 4, "dead_after": 100},
    "jumprelu": {"size": 40, "sparsity": 0.03, "bandwidth": 0.4},
    "l1": {"size": 40},
    "supervised": {"size": 38, "labels": ["low", "high"]},
    "transcoder": {"size": 40},
    "bernoulli": {"size": 40, "prior": 0.2},
    "lcblm": {"concepts": 8, "width": 3, "prior": 0.3, "ortho_weight": 0.5},
    "lcblm-shared": {"concepts": 8, "width": 3, "prior": 0.3, "ortho_weight": 0.5},
}
# The random numbers of a GPU are others than the CPU's: kinds that draw are compared where nothing is drawn.
DRAWS = {"bernoulli", "lcblm", "lcblm-shared"}
SHORT = Training(steps=8, lr=1e-3, log_every=1, evaluate_every=4, reseed_every=3, patience=None)


def _batches(start: int, on: torch.device | str = "cpu") -> Iterator[Tensor]:
    while True:
        x = torch.randn(64, 12, generator=torch.Generator().manual_seed(start))
        yield (3 + x * torch.arange(1.0, 13)).to(on)
        start += 1


def rows_for(kind: str, x: Tensor) -> Any:
    """What a kind learns from: rows [64, 12], or pairs of these and others, or of these and labels."""
    if kind == "supervised":
        return x, (x[:, 1] > 3).long()
    return (x, x.abs() - 2 * x.flip(1)) if kind == "transcoder" else x


def _made(kind: str, device: torch.device | str) -> ConceptModel:
    model = build(read_config({"kind": kind, **TABLES[kind]}), 12, seed=3)
    model.fit_scale([rows_for(kind, x) for x in islice(_batches(100), 4)])
    if kind in ("batchtopk", "matryoshka"):
        model.threshold.fill_(1.0)
    return model.to(device)


def test_none_is_left_out() -> None:
    assert set(TABLES) == set(KINDS) - {"imported"}  # which only decodes: see test_study


@pytest.mark.parametrize("kind", TABLES)
def test_it_encodes_edits_and_decodes(kind: str, device: torch.device) -> None:
    edits: dict[int, Edit] = {0: Scale(0.0), 1: Set(1.5), 2: Scale(2.0)}
    seen = []
    for where in ("cpu", device):
        model, x = _made(kind, where).eval(), next(_batches(0, where))
        encoded = model.encode(x)
        seen.append([encoded.strength, model.decode(encoded), model.decode(model.edit(encoded, edits))])
    for here, there in zip(*seen, strict=True):
        assert there.device.type == device.type and torch.allclose(here, there.cpu(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", TABLES)
def test_its_loss_and_gradient(kind: str, device: torch.device) -> None:
    seen = []
    for where in ("cpu", device):
        model, x = _made(kind, where), next(_batches(0, where))
        model.train(kind not in DRAWS)
        generator = torch.Generator(where).manual_seed(0)
        rows = rows_for(kind, x)
        terms = model.loss(rows, Step(3, 10, generator))
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        model.after_update()
        model.reseed(rows, Step(3, 10, generator))
        seen.append(
            (
                {name: term.detach() for name, term in terms.items()},
                {name: weight.grad for name, weight in model.named_parameters()},
            )
        )
    (here, by_weight), (there, others) = seen
    if kind in DRAWS:
        assert all(bool(torch.isfinite(term)) for term in there.values())
        return
    for name, term in here.items():
        assert float(term) == pytest.approx(float(there[name]), rel=1e-4, abs=1e-6), name
    for name, gradient in by_weight.items():
        theirs = others[name]
        assert (gradient is None) == (theirs is None)
        if gradient is not None and theirs is not None:
            assert torch.allclose(gradient, theirs.cpu(), atol=1e-4, rtol=1e-3), name


@pytest.mark.parametrize("kind", TABLES)
def test_it_learns(kind: str, device: torch.device) -> None:
    """After eight updates its curve is the CPU's; of kinds that draw, within the spread of their draws."""
    seen = []
    for where in ("cpu", device):
        model = _made(kind, where)
        held_out = rows_for(kind, next(_batches(50, where)))
        batches = lambda start, on=where: (rows_for(kind, x) for x in _batches(start, on))  # noqa: E731
        rows = fit(model, batches, SHORT, held_out=lambda x=held_out: [x]).rows
        seen.append((rows, evaluate(model, [held_out]).fvu))
    (here, fvu), (there, theirs) = seen
    near = 0.2 if kind in DRAWS else 1e-2
    assert [row["loss"] for row in there] == pytest.approx([row["loss"] for row in here], rel=near)
    assert theirs == pytest.approx(fvu, rel=near)


@pytest.mark.parametrize(("d", "size", "k"), [(64, 1024, 16), (48, 40, 30), (16, 24, 24)])
def test_a_rounded_product_names_candidates_and_not_values(d: int, size: int, k: int, device: torch.device) -> None:
    """The k largest that training on a GPU takes are those of the product in full, with its values."""
    model = build(read_config({"kind": "topk", "size": size, "k": k}), d, seed=5)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        model.b_enc.normal_(std=0.1, generator=generator)
        model.b_dec.normal_(generator=generator)
    xs = torch.randn(300, d, generator=generator)
    exact = torch.nn.functional.linear(xs - model.b_dec, model.W_enc, model.b_enc).detach()
    values, chosen = (found.cpu() for found in largest(model.to(device).train(), xs.to(device), k))
    assert chosen.sort(1).values.diff(dim=1).gt(0).all()
    assert torch.allclose(values, exact.gather(1, chosen), atol=1e-5)
    assert torch.allclose(values.sort(1).values, exact.topk(k).values.sort(1).values, atol=1e-5)


def test_products_are_rounded_on_a_gpu_while_it_trains_and_nowhere_else() -> None:
    products = torch.backends.cuda.matmul
    for device, within in (("cuda", "tf32"), ("cpu", "none")):
        with suppress(KeyError), rounded_products(torch.device(device)):
            assert products.fp32_precision == within
            raise KeyError
        assert products.fp32_precision == "none"


class Rows(NamedTuple):
    x: Tensor
    next: Tensor


HEAD_TABLES: dict[str, dict[str, Any]] = {
    "original": {"reads": "reconstruction"},
    "finetuned": {"reads": "embedding", "vocabulary": "observed"},
    "new": {"reads": "latents"},
}


@pytest.mark.parametrize("kind", HEAD_TABLES)
def test_heads(kind: str, models: tuple[Backbone, Backbone], texts: list[str]) -> None:
    assert set(HEAD_TABLES) == set(HEADS)
    seen = []
    for lm in models:
        ids = torch.randint(3, 40, (8, 20), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            x = lm.hidden(ids)[lm.n_layers][:, 1:].flatten(0, 1)
        rows = Rows(x, torch.cat([ids[:, 2:], torch.full((8, 1), -1)], 1).flatten().to(lm.device))
        concepts = build(read_config({"kind": "topk", "size": 24, "k": 4}), 32, seed=3)
        concepts.fit_scale([x.cpu()])
        table = {"kind": kind, **HEAD_TABLES[kind]}
        if kind == "original":
            reader = Reader("reconstruction", concepts.to(lm.device).eval())
            seen.append(perplexity(ConceptLM(lm, lm.n_layers, reader), texts[:4]).token_weighted)
            continue
        table["training"] = dict(steps=4, lr=1e-3, log_every=1, evaluate_every=2, patience=None)
        config = read_head(table)
        reader = Reader(config.reads, None if config.reads == "embedding" else concepts.to(lm.device).eval())
        head = build_head(config, lm, reader, x, counts=next_counts([rows], lm.vocab_size))
        train_head(head, reader, _again(rows))
        seen.append(cross_entropy(head, reader, [rows]))
    assert seen[0] == pytest.approx(seen[1], rel=1e-3)


def _again(rows: Rows) -> Callable[[int], Iterator[Rows]]:
    def supply(_: int) -> Iterator[Rows]:
        while True:
            yield rows

    return supply
