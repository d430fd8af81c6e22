"""Every loss against a plain version written from its formula, number by number."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.concepts.conftest import rows_for
from torch import Tensor

from accord.concepts import ConceptModel, Step, build, read_config
from accord.concepts.adam import Adam
from accord.concepts.base import Sparse
from accord.concepts.gates import gate_entropy, rate_divergence, relaxed_bernoulli
from accord.concepts.jumprelu import jump
from accord.concepts.lcblm import block_overlap, similarity, twins
from accord.concepts.sae import dead_concepts, living_norm, worst_rows
from accord.concepts.sparse import Pattern
from accord.concepts.topk import CHUNK, aux_k, count_fired, largest
from accord.errors import AccordError

Make = Callable[..., ConceptModel]
Rows = Callable[..., torch.Tensor]


def step(index: int = 5, total: int = 10) -> Step:
    return Step(index, total, torch.Generator().manual_seed(7))


def sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v))


def gelu(v: float) -> float:
    return v * 0.5 * (1 + math.erf(v / math.sqrt(2)))


def pre_activations(model: torch.nn.Module, x: Tensor) -> list[list[float]]:
    xs = ((x - model.mean) / model.scale).tolist()
    W, b, shift = model.W_enc.tolist(), model.b_enc.tolist(), model.b_dec.tolist()
    rows = [[v - s for v, s in zip(row, shift, strict=True)] for row in xs]
    return [[sum(w * v for w, v in zip(W[k], row, strict=True)) + b[k] for k in range(len(b))] for row in rows]


def reconstruction(model: torch.nn.Module, z: list[list[float]]) -> list[list[float]]:
    W, b = model.W_dec.tolist(), model.b_dec.tolist()
    return [[sum(row[k] * W[k][j] for k in range(len(W))) + b[j] for j in range(len(b))] for row in z]


def mse(model: torch.nn.Module, x: Tensor, xhat: list[list[float]]) -> float:
    xs = ((x - model.mean) / model.scale).tolist()
    return sum((a - b) ** 2 for r, h in zip(xs, xhat, strict=True) for a, b in zip(r, h, strict=True)) / x.numel()


def keep_largest(row: list[float], k: int) -> list[float]:
    chosen = sorted(range(len(row)), key=lambda i: -row[i])[:k]
    return [max(v, 0.0) if i in chosen else 0.0 for i, v in enumerate(row)]


def test_topk(make: Make, embeddings: Rows) -> None:
    model, x = make("topk"), embeddings(6)
    z = [keep_largest(row, 3) for row in pre_activations(model, x)]
    terms = model.loss(x, step())
    assert terms["mse"].item() == pytest.approx(mse(model, x, reconstruction(model, z)), rel=1e-5)
    assert terms["aux"].item() == 0
    torch.testing.assert_close(model.encode(x).strength, torch.tensor(z), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dead", [[1], [1, 7], [1, 4, 7], [0, 2, 5, 8, 11]])
@pytest.mark.parametrize("apart", [1.0, 0.01])
def test_aux_k_models_the_residual_with_dead_latents(
    dead: list[int], apart: float, make: Make, embeddings: Rows
) -> None:
    model, x = make("topk"), embeddings(6)
    x = x.mean(0) + apart * (x - x.mean(0))
    model.idle[dead] = 10**9
    pre = pre_activations(model, x)
    xhat = reconstruction(model, [keep_largest(row, 3) for row in pre])
    xs = (x - model.mean) / model.scale
    residual = xs - torch.tensor(xhat)
    k_aux = model.d // 2
    left = 0.0
    for i, row in enumerate(pre):
        z = keep_largest([row[k] for k in dead], k_aux)
        for j in range(model.d):
            left += (residual[i, j].item() - sum(z[a] * model.W_dec[k, j].item() for a, k in enumerate(dead))) ** 2
    want = left / (residual - residual.mean(0)).square().sum().item() * min(1, len(dead) / k_aux) / 32
    terms = model.loss(x, step())
    assert terms["aux"].item() == pytest.approx(want, rel=1e-4)
    model.zero_grad()
    terms["aux"].backward()
    alive = [k for k in range(12) if k not in dead]
    assert model.W_dec.grad[alive].abs().sum() == 0  # the residual is detached: only dead latents learn from it
    assert model.W_dec.grad[dead].abs().sum() > 0


@pytest.mark.parametrize("d", [1, 2, 3])
def test_aux_k_takes_one_dead_latent_of_a_row_where_dimensions_are_few(d: int) -> None:
    model = build(read_config({"kind": "topk", "size": 6, "k": 2}), d, seed=0)
    generator = torch.Generator().manual_seed(1)
    xs, residual = torch.randn(5, d, generator=generator), 0.1 * torch.randn(5, d, generator=generator)
    dead = torch.tensor([0, 2, 5])
    pre = (xs @ model.W_enc.T)[:, dead].relu()
    best = dead[pre.argmax(1)]
    left = (residual - pre.amax(1, keepdim=True) * model.W_dec[best]).square().sum()
    want = left / (residual - residual.mean(0)).square().sum()
    torch.testing.assert_close(aux_k(model, xs, residual, dead, step()), want)
    # A residual that does not vary has no variance to be compared with: the term is large, and a number.
    still = aux_k(model, xs, torch.ones(5, d), dead, step())
    assert torch.isfinite(still) and still > 1e6


def test_a_latent_is_idle_for_as_many_tokens_as_it_has_been_zero(make: Make, embeddings: Rows) -> None:
    model, x = make("topk"), embeddings(4)
    model.idle += torch.arange(12)
    z = torch.tensor([keep_largest(row, 3) for row in pre_activations(model, x)])
    fired = (z > 0).any(0).tolist()
    assert any(fired) and not all(fired)
    model.eval().loss(x, step())
    assert model.idle.tolist() == list(range(12))
    model.train().loss(x, step())
    assert model.idle.tolist() == [0 if fired[k] else k + 4 for k in range(12)]
    for value in (0.0, 1.0):  # among the k largest, and 0 after the ReLU: it has not fired
        pattern = Pattern.of_rows(torch.tensor([[5], [5]]), 12)
        model.idle.fill_(7)
        count_fired(model, Sparse(pattern, torch.tensor([0.0, value])), step())
        assert model.idle.tolist() == [0 if k == 5 and value else 9 for k in range(12)]


@pytest.mark.parametrize("chunk", [1, 4, 512])
def test_the_largest_are_the_same_in_chunks(
    chunk: int, make: Make, embeddings: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make("topk")
    xs = model.standardise(embeddings(9))
    pre = pre_activations(model, embeddings(9))
    monkeypatch.setitem(CHUNK, "cpu", chunk)
    values, indices = largest(model, xs, 3)
    assert values.shape == indices.shape == (9, 3) and not values.requires_grad
    for row, own, which in zip(pre, values.tolist(), indices.tolist(), strict=True):
        assert sorted(which) == sorted(sorted(range(12), key=lambda k: -row[k])[:3])
        assert own == pytest.approx([row[k] for k in which], abs=1e-4)


def test_topk_gradients_equal_those_of_the_dense_loss(make: Make, embeddings: Rows) -> None:
    model, x = make("topk"), embeddings(40)
    sum(model.loss(x, step()).values()).backward()
    got = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    xs = model.standardise(x)
    pre = model.pre(xs)
    top = pre.topk(3)
    z = torch.zeros_like(pre).scatter(1, top.indices, top.values.relu())
    (xs - z @ model.W_dec - model.b_dec).square().mean().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(got[name], parameter.grad, atol=1e-6, rtol=1e-4, msg=name)


def test_batchtopk(make: Make, embeddings: Rows) -> None:
    model, x = make("batchtopk"), embeddings(6)
    pre = pre_activations(model, x)
    least = sorted((v for row in pre for v in row), reverse=True)[6 * 3 - 1]
    z = [[max(v, 0.0) if v >= least else 0.0 for v in row] for row in pre]
    terms = model.loss(x, step())
    assert terms["mse"].item() == pytest.approx(mse(model, x, reconstruction(model, z)), rel=1e-5)
    active = [v for row in z for v in row if v > 0]
    assert model.threshold.tolist() == pytest.approx([0.99 * 0.4 + 0.01 * min(active)] * 12, rel=1e-5)
    cut = model.threshold[0].item()
    want = [[v if v > cut else 0.0 for v in row] for row in pre]
    torch.testing.assert_close(model.encode(x).strength, torch.tensor(want), atol=1e-5, rtol=1e-5)


def test_batchtopk_first_threshold_and_row_independence(make: Make, embeddings: Rows) -> None:
    model, x = make("batchtopk"), embeddings(6)
    model.loss(x, step(index=0))
    largest_of_all = sorted((v for row in pre_activations(model, x) for v in row), reverse=True)[: 6 * 3]
    assert model.threshold.tolist() == pytest.approx([min(v for v in largest_of_all if v > 0)] * 12, rel=1e-5)
    alone = torch.cat([model.encode(row[None]).strength for row in x])
    torch.testing.assert_close(alone, model.encode(x).strength, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["batchtopk", "matryoshka"])
def test_dead_latents_of_a_batch_model_the_residual_of_all(kind: str, make: Make, embeddings: Rows) -> None:
    model, x, dead = make(kind, aux_weight=0.3), embeddings(6), torch.tensor([1, 7])
    model.idle[dead] = model.dead_after
    xs, pre = model.standardise(x), torch.tensor(pre_activations(model, x))
    z = torch.where(pre >= pre.flatten().topk(6 * 3).values[-1], pre.relu(), 0.0)
    residual = (xs - z @ model.W_dec - model.b_dec).detach()
    terms = model.loss(x, step())
    torch.testing.assert_close(terms["aux"], 0.3 * aux_k(model, xs, residual, dead, step()), rtol=1e-4, atol=1e-6)
    fired = (z > 0).any(0).tolist()
    start = [model.dead_after if k in (1, 7) else 0 for k in range(12)]
    assert model.idle.tolist() == [0 if on else idle + 6 for on, idle in zip(fired, start, strict=True)]


def test_a_threshold_follows_active_latents_of_training_alone(make: Make, embeddings: Rows) -> None:
    model, x = make("batchtopk"), embeddings(6)
    model.eval().loss(x, step())
    assert model.threshold.tolist() == pytest.approx([0.4] * 12)
    with torch.no_grad():
        model.b_enc.fill_(-1e3)  # nothing is active
    model.train().loss(x, step())
    assert model.threshold.tolist() == pytest.approx([0.4] * 12)
    model = make("batchtopk")
    model.threshold.fill_(-5.0)  # an imported one may be below 0; strengths are not
    want = torch.tensor(pre_activations(model, x)).relu()
    torch.testing.assert_close(model.encode(x).strength, want, atol=1e-5, rtol=1e-5)


def test_matryoshka(make: Make, embeddings: Rows) -> None:
    model, x = make("matryoshka"), embeddings(6)
    assert model.ends.tolist() == [3, 6, 12]
    pre = pre_activations(model, x)
    least = sorted((v for row in pre for v in row), reverse=True)[6 * 3 - 1]
    z = [[max(v, 0.0) if v >= least else 0.0 for v in row] for row in pre]
    terms = model.loss(x, step())
    short = [mse(model, x, reconstruction(model, [row[:m] + [0.0] * (12 - m) for row in z])) for m in (3, 6)]
    assert terms["mse"].item() == pytest.approx(mse(model, x, reconstruction(model, z)), rel=1e-5)
    assert terms["prefixes"].item() == pytest.approx(sum(short), rel=1e-5)


def test_matryoshka_gradients_equal_those_of_the_dense_loss(make: Make, embeddings: Rows) -> None:
    model, x = make("matryoshka"), embeddings(40)
    sum(model.loss(x, step()).values()).backward()
    got = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    xs = model.standardise(x)
    pre = model.pre(xs).relu()
    top = pre.flatten().topk(40 * 3)
    z = torch.zeros_like(pre.flatten()).scatter(0, top.indices, top.values).reshape(pre.shape)
    sum((xs - z[:, :m] @ model.W_dec[:m] - model.b_dec).square().mean() for m in (3, 6, 12)).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(got[name], parameter.grad, atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("seed", range(3))
def test_a_pattern_is_cut_as_a_loop_cuts_it(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    on = torch.rand(7, 10, generator=g) < 0.3
    pattern = Pattern.of_flat(on.flatten().nonzero().squeeze(1), 7, 10)
    ends = [1, 4, 10]
    want = [(i * 3 + next(m for m in range(3) if k < ends[m]), k) for i in range(7) for k in range(10) if on[i, k]]
    cut = pattern.cut(torch.tensor(ends))
    assert list(zip(cut.rows.tolist(), cut.indices.tolist(), strict=True)) == want
    assert cut.n == 21 and cut.K == 10


@pytest.mark.parametrize("prefixes", [[], [0.5, 0.25], [0.0, 0.5], [1.0], [0.5, 0.54], [0.5] * 2])
def test_prefixes_must_rise(prefixes: list[float]) -> None:
    with pytest.raises(AccordError, match=r"prefixes|at least 1 item"):
        read_config({"kind": "matryoshka", "size": 10, "k": 2, "prefixes": prefixes})


def test_jumprelu(make: Make, embeddings: Rows) -> None:
    model, x = make("jumprelu"), embeddings(6)
    theta = [math.exp(v) for v in model.log_threshold.tolist()]
    z = [[v if v > t else 0.0 for v, t in zip(row, theta, strict=True)] for row in pre_activations(model, x)]
    active = sum(v > 0 for row in z for v in row) / 6
    assert 0 < active < 11
    terms = model.loss(x, step(index=5, total=100))
    assert terms["mse"].item() == pytest.approx(mse(model, x, reconstruction(model, z)), rel=1e-5)
    assert terms["sparsity"].item() == pytest.approx(0.03 * 0.5 * active, rel=1e-5)  # half of the warm-up is over
    torch.testing.assert_close(model.encode(x).strength, torch.tensor(z), atol=1e-5, rtol=1e-5)


def test_gradients_of_the_jump_follow_their_formulas() -> None:
    g = torch.Generator().manual_seed(0)
    pre, theta = torch.randn(9, 4, generator=g), 0.2 + torch.rand(4, generator=g)
    by_strength, by_count, width = torch.randn(9, 4, generator=g), torch.randn(9, generator=g), 0.8
    pre[0, 0] = theta[0]  # not above its threshold
    pre.requires_grad_(), theta.requires_grad_()
    z, count = jump(pre, theta, width)
    ((z * by_strength).sum() + (count * by_count).sum()).backward()
    near = 0
    for k in range(4):
        t, want = theta[k].item(), 0.0
        for i in range(9):
            p, above = pre[i, k].item(), by_strength[i, k].item()
            assert z[i, k].item() == (p if p > t else 0.0)
            assert pre.grad[i, k].item() == (above if p > t else 0.0)  # L0 says nothing to pre-activations
            if abs(p - t) <= width / 2:
                near += 1
                want -= (t * above + by_count[i].item()) / width
        assert theta.grad[k].item() == pytest.approx(want, rel=1e-5, abs=1e-6)
    assert 0 < near < 36
    assert count.tolist() == (pre > theta).sum(1).tolist()


def test_the_estimated_gradient_of_a_threshold_is_that_of_the_mean_over_data() -> None:
    """Of L0 exactly the central difference over the kernel's width; of strengths' squares what calculus says."""
    pre = torch.randn(400_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    width, theta = 0.1, torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    _, count = jump(pre, theta, width)
    count.mean().backward()
    share = [(pre > 0.7 + side * width / 2).double().mean().item() for side in (1, -1)]
    assert theta.grad.item() == pytest.approx((share[0] - share[1]) / width, rel=1e-9)
    theta.grad = None
    z, _ = jump(pre, theta, width)
    (2 - z).square().mean().backward()
    # d/dθ of ∫_{p>θ} (2 − p)² φ + ∫_{p<θ} 4φ is φ(θ)(4 − (2 − θ)²): the estimate takes it to first order in the jump.
    density = math.exp(-(0.7**2) / 2) / math.sqrt(2 * math.pi)
    jumps = [-2 * (2 - p) * -0.7 * density for p in (0.7, 0.0)]  # active on one side of θ, not on the other
    assert theta.grad.item() == pytest.approx(sum(jumps) / 2, rel=0.03)


def test_jumprelu_passes_the_error_on_where_it_is_active(make: Make, embeddings: Rows) -> None:
    model, x = make("jumprelu"), embeddings(40)
    model.loss(x, step())["mse"].backward()
    got = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    xs, theta = model.standardise(x), model.threshold.detach()
    pre = model.pre(xs)
    (xs - (pre * (pre > theta)) @ model.W_dec - model.b_dec).square().mean().backward()
    for name, parameter in model.named_parameters():
        if name != "log_threshold":
            torch.testing.assert_close(got[name], parameter.grad, atol=1e-6, rtol=1e-4, msg=name)


def test_l1(make: Make, embeddings: Rows) -> None:
    model, x = make("l1"), embeddings(6)
    z = [[max(v, 0.0) for v in row] for row in pre_activations(model, x)]
    norms = [math.sqrt(sum(w * w for w in row)) for row in model.W_dec.tolist()]
    price = sum(v * n for row in z for v, n in zip(row, norms, strict=True)) / 6 / 5
    terms = model.loss(x, step(index=5, total=100))
    assert terms["mse"].item() == pytest.approx(mse(model, x, reconstruction(model, z)), rel=1e-5)
    assert terms["sparsity"].item() == pytest.approx(0.3 * 0.5 * price, rel=1e-5)  # half of the warm-up is over


def test_relaxed_gates_follow_their_formula() -> None:
    logits = torch.tensor([[-2.0, 0.0, 3.0]])
    u = torch.rand(1, 3, generator=torch.Generator().manual_seed(7))
    want = [
        sigmoid((v + math.log(q) - math.log(1 - q)) / 0.5)
        for v, q in zip(logits[0].tolist(), u[0].tolist(), strict=True)
    ]
    got = relaxed_bernoulli(logits, 0.5, step())
    assert got[0].tolist() == pytest.approx(want, rel=1e-4)
    many = relaxed_bernoulli(torch.full((20_000, 1), -1.0), 0.05, step())
    assert (many > 0.5).float().mean().item() == pytest.approx(sigmoid(-1.0), abs=0.01)


def test_rate_divergence_and_entropy() -> None:
    logits = torch.tensor([[0.3, -2.0], [1.5, -9.0], [-0.7, 60.0]])
    alpha = [[sigmoid(v) for v in row] for row in logits.tolist()]
    kl = 0.0
    for k in range(2):
        r = sum(row[k] for row in alpha) / 3
        kl += (r * math.log(r / 0.2) + (1 - r) * math.log((1 - r) / 0.8)) / 2
    assert rate_divergence(logits.sigmoid().mean(0), 0.2).item() == pytest.approx(kl, rel=1e-5)
    never_off = rate_divergence(torch.tensor([1.0, 0.0]), 0.2).item()
    assert never_off == pytest.approx((math.log(1 / 0.2) + math.log(1 / 0.8)) / 2, rel=1e-4)
    H = [-a * math.log(a) - (1 - a) * math.log(1 - a) if 0 < a < 1 else 0.0 for row in alpha for a in row]
    assert gate_entropy(logits).mean().item() == pytest.approx(sum(H) / 6, rel=1e-4)


def test_bernoulli(make: Make, embeddings: Rows) -> None:
    model, x = make("bernoulli"), embeddings(6)
    logits = torch.tensor(pre_activations(model, x))
    c = relaxed_bernoulli(logits, 0.5, step())
    terms = model.loss(x, step())
    assert terms["mse"].item() == pytest.approx(mse(model, x, reconstruction(model, c.tolist())), rel=1e-4)
    assert terms["rate"].item() == pytest.approx(10 * rate_divergence(logits.sigmoid().mean(0), 0.2).item(), rel=1e-4)


@pytest.mark.parametrize("kind", ["cosine", "inner", "distance"])
def test_similarity(kind: str) -> None:
    g = torch.Generator().manual_seed(0)
    e, h = torch.randn(4, 3, 2, generator=g), torch.randn(3, 2, generator=g)
    offset = torch.tensor([0.5, 1.0, 2.0])
    got = similarity(kind, e, h, offset)
    for n in range(4):
        for k in range(3):
            a, b = e[n, k].tolist(), h[k].tolist()
            inner = sum(p * q for p, q in zip(a, b, strict=True))
            want = {
                "inner": inner,
                "cosine": inner / math.hypot(*a) / math.hypot(*b),
                "distance": offset[k].item() - math.dist(a, b),
            }[kind]
            assert got[n, k].item() == pytest.approx(want, rel=1e-4, abs=1e-5)
    each = e[:, :1].expand(-1, 3, -1)
    torch.testing.assert_close(similarity(kind, e[:, 0], h, offset), similarity(kind, each, h, offset))


@pytest.mark.parametrize(("K", "E", "d"), [(5, 2, 3), (3, 2, 40)])
def test_block_overlap_equals_the_loop_over_pairs(K: int, E: int, d: int) -> None:
    W = torch.randn(K, E, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    V = [block / block.norm() for block in W]
    pairs = [(V[k] @ V[m].T).square().sum().item() for k in range(K) for m in range(k)]
    for size in (1.0, 0.01):  # of the blocks, which says nothing
        assert block_overlap(size * W).item() == pytest.approx(sum(pairs) / len(pairs), rel=1e-9)


@pytest.mark.parametrize("encoder", ["gelu", "linear", "mlp"])
@pytest.mark.parametrize("decoder", ["stacked", "sum"])
def test_lcblm(encoder: str, decoder: str, make: Make, embeddings: Rows) -> None:
    over = {"encoder": encoder, "decoder": decoder} | ({"ortho_weight": 0.0} if decoder == "sum" else {})
    over |= {"forming": 0.0, "prototype_weight": 1.3, "entropy_weight": 0.7}
    model, x = make("lcblm", **over), embeddings(4)
    K, E = 6, 3
    f = (x - model.mean) / model.scale
    if encoder == "mlp":
        f = torch.nn.functional.gelu(f @ model.hidden.weight.T + model.hidden.bias)
    e = torch.zeros(4, K, E)
    for n in range(4):
        for k in range(K):
            for j in range(E):
                v = (model.W_enc[k, j] @ f[n] + model.b_enc[k, j]).item()
                e[n, k, j] = gelu(v) if encoder == "gelu" else v
    logits = torch.zeros(4, K)
    for n in range(4):
        for k in range(K):
            cosine = (e[n, k] @ model.h[k] / e[n, k].norm() / model.h[k].norm()).item()
            logits[n, k] = model.s.item() * cosine
    noisy = step()
    c = relaxed_bernoulli(logits, 0.5, noisy)
    noise = torch.randn(4, K, E, generator=noisy.generator)
    xhat = torch.zeros(4, 5)
    gamma = 0.0
    for n in range(4):
        xhat[n] = model.b_dec.detach()
        for k in range(K):
            z = c[n, k] * (e[n, k] + 0.1 * noise[n, k])
            xhat[n] += (z @ (model.W_dec[k] if decoder == "stacked" else model.W_dec)).detach()
            a = sigmoid(logits[n, k].item())
            near = (e[n, k] - model.h[k]).square().sum().item() / E
            gamma += (a * near + (1 - a) * e[n, k].square().sum().item() / E) / (4 * K)
    terms = model.loss(x, step(index=1, total=10))  # half of the warm-up of 0.2
    assert terms["mse"].item() == pytest.approx(mse(model, x, xhat.tolist()), rel=1e-4)
    assert terms["prototype"].item() == pytest.approx(1.3 * gamma, rel=1e-4)
    assert terms["rate"].item() == pytest.approx(
        0.5 * 4 * rate_divergence(logits.sigmoid().mean(0), 0.3).item(), rel=1e-3
    )
    assert terms["entropy"].item() == pytest.approx(0.5 * 0.7 * gate_entropy(logits).mean().item(), rel=1e-4)
    if decoder == "stacked":
        assert terms["ortho"].item() == pytest.approx(0.25 * block_overlap(model.W_dec).item(), rel=1e-5)
    encoded = model.encode(x)
    torch.testing.assert_close(encoded.content, e, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(encoded.strength, logits.sigmoid(), atol=1e-5, rtol=1e-4)


def test_what_a_concept_writes_while_concepts_are_formed(make: Make, embeddings: Rows) -> None:
    """At index 3 of 10, after forming for .2 and half of the warm-up of .2: half way from prototype to embedding."""
    model, x = make("lcblm"), embeddings(4)
    xs = model.standardise(x)
    e = model.embed(xs)
    for index, free in ((1, 0.0), (3, 0.5), (4, 1.0)):
        noisy = step(index)
        c = relaxed_bernoulli(model.logits(e), 0.5, noisy)
        content = (1 - free) * model.h + free * e + 0.1 * torch.randn(4, 6, 3, generator=noisy.generator)
        xhat = torch.einsum("nk,nke,ked->nd", c, content, model.W_dec) + model.b_dec
        terms = model.loss(x, step(index))
        torch.testing.assert_close(terms["mse"], (xs - xhat).square().mean())
        rate = rate_divergence(model.logits(e).sigmoid().mean(0), 0.3)
        firm = {1: 0.5 * 3, 3: 2, 4: 1}[index]  # half of the warm-up of rates is over at 1
        torch.testing.assert_close(terms["rate"], 4 * firm * rate)
    assert model.ramp == pytest.approx(0.4)


def test_gates_that_follow_another_are_found() -> None:
    g = torch.Generator().manual_seed(0)
    on = torch.rand(300, 7, generator=g) < 0.2
    on[:, 4] = on[:, 1] ^ (torch.rand(300, generator=g) < 0.03)
    on[:, 5] = False
    on[:, 6] = on[:, 2] | (torch.rand(300, generator=g) < 0.6)
    with np.errstate(invalid="ignore"):
        r = np.nan_to_num(np.corrcoef(on.T.numpy().astype(float)))
    want = [any(r[k, earlier] > 0.5 for earlier in range(k)) for k in range(7)]
    assert want == [False] * 4 + [True, False, False]
    assert twins(on).tolist() == want


def test_prototype_term_does_not_move_the_gates(make: Make, embeddings: Rows) -> None:
    model, x = make("lcblm"), embeddings(4)
    model.loss(x, step())["prototype"].backward()
    assert model.s.grad is None  # only the gates read s


def test_lcblm_shared(make: Make, embeddings: Rows) -> None:
    model, x = make("lcblm-shared"), embeddings(4)
    f = (x - model.mean) / model.scale
    e = torch.nn.functional.gelu(f @ model.W_enc.T + model.b_enc)
    logits = torch.stack([torch.stack([model.s * (r @ h) / r.norm() / h.norm() for h in model.h]) for r in e]).detach()
    noisy = step()
    c = relaxed_bernoulli(logits, 0.5, noisy)
    noise = torch.randn(4, 6, 3, generator=noisy.generator)
    xhat = model.b_dec.detach().repeat(4, 1)
    for n in range(4):
        for k in range(6):
            xhat[n] += (c[n, k] * (model.h[k] + 0.1 * noise[n, k]) @ model.W_dec[k]).detach()
    terms = model.loss(x, step())
    assert "prototype" not in terms
    assert terms["mse"].item() == pytest.approx(mse(model, x, xhat.tolist()), rel=1e-4)
    soft = (
        sum(model.encode(x).strength[:, k, None] * (model.h[k] @ model.W_dec[k])[None] for k in range(6)) + model.b_dec
    )
    torch.testing.assert_close(model.decode(model.encode(x)), model.restore(soft), atol=1e-4, rtol=1e-4)
    model = make("lcblm-shared", decoder="sum", ortho_weight=0.0)
    soft = model.encode(x).strength @ model.h @ model.W_dec + model.b_dec
    torch.testing.assert_close(model.decode(model.encode(x)), model.restore(soft), atol=1e-4, rtol=1e-4)


def rows_drawn(residual: Tensor, count: int, noise: torch.Generator) -> Tensor:
    """Numbers of rows, in proportion to their squared residual."""
    return torch.multinomial(
        torch.tensor([sum(v * v for v in row) for row in residual.tolist()]), count, generator=noise
    )


@pytest.mark.parametrize("kind", ["l1", "supervised", "jumprelu", "bernoulli"])
@torch.no_grad()
def test_dead_latents_are_aimed_at_what_is_left_of_rows(kind: str, make: Make, embeddings: Rows) -> None:
    model, x = make(kind).eval(), embeddings(30)
    dead, alive = [2, 7], [k for k in range(12) if k not in (2, 7)]
    model.idle += torch.arange(12)
    model.idle[[2, 7, 9]] = torch.tensor([model.dead_after, 10**9, model.dead_after - 1])
    before = {name: weight.clone() for name, weight in [*model.named_parameters(), ("idle", model.idle)]}
    xs = model.standardise(x)
    left = xs - model.reconstruct(model.encode(x).strength)
    rows = rows_drawn(left, 2, step().generator)
    unit = left[rows] / left[rows].norm(dim=1, keepdim=True)
    want = {"W_dec": unit, "W_enc": 0.2 * model.W_enc[alive].norm(dim=1).mean() * unit, "b_enc": torch.zeros(2)}
    if kind == "jumprelu":
        want |= {"W_enc": unit, "log_threshold": torch.full((2,), math.log(0.4))}
    if kind == "bernoulli":  # its logit is 4 at the row itself, −4 where it has nothing of what is left
        reach = ((xs[rows] - model.b_dec) * unit).sum(1, keepdim=True)
        assert (reach > 1e-3).all()
        want = {"W_dec": left[rows], "W_enc": 8 * unit / reach, "b_enc": torch.full((2,), -4.0)}
    assert model.reseed(rows_for(kind, x), step()).tolist() == dead
    for name, weight in [*model.named_parameters(), ("idle", model.idle)]:
        if name in want or name == "idle":
            torch.testing.assert_close(weight[dead], want.get(name, torch.zeros(2, dtype=torch.int64)))
            assert torch.equal(weight[alive], before[name][alive])
        else:
            assert torch.equal(weight, before[name])


@pytest.mark.parametrize(("kind", "index"), [("lcblm", 1), ("lcblm", 3), ("lcblm", 5), ("lcblm-shared", 5)])
@pytest.mark.parametrize("encoder", ["gelu", "mlp"])
@torch.no_grad()
def test_a_dead_concept_is_aimed_at_what_is_left_of_a_row(
    kind: str, index: int, encoder: str, make: Make, embeddings: Rows
) -> None:
    model, x = make(kind, similarity="distance", encoder=encoder).eval(), embeddings(60)
    model.idle[[1, 2, 4, 5]] = model.c.dead_after
    xs, now = model.standardise(x), step(index)
    e = model.embed(xs)
    gates = model.logits(e).sigmoid()
    free = {1: 0.0, 3: 0.5, 5: 1.0}[index]
    content = model.h.expand(60, 6, 3) if kind == "lcblm-shared" else free * e + (1 - free) * model.h
    left = xs - torch.einsum("nk,nke,ked->nd", gates, content, model.W_dec) - model.b_dec
    dead = [k for k, twin in enumerate(twins(gates > 0.5)) if (twin and free < 1) or k in (1, 2, 4, 5)]
    rows = rows_drawn(left, len(dead), now.generator)
    features = model.features(xs[rows])
    if kind == "lcblm":
        h = torch.randn(len(dead), 3, generator=now.generator).abs() + 0.1
        unit = torch.nn.functional.normalize(features if encoder == "mlp" else left[rows], dim=1)
        reach = torch.maximum((features * unit).sum(1), 0.2 * features.norm(dim=1))
        want = {"W_enc": torch.einsum("ne,nd->ned", h, 2 * unit / reach[:, None]), "b_enc": -h}
    else:
        h, want = model.embed(xs[rows]), {}
    want |= {"h": h, "offset": 0.7 * h.norm(dim=1)}
    want["W_dec"] = torch.einsum("ne,nd->ned", h / h.square().sum(1, keepdim=True), left[rows])
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    assert model.reseed(x, step(index)).tolist() == dead
    others = [k for k in range(6) if k not in dead]
    assert others
    for name, weight in model.named_parameters():
        if name in want:
            torch.testing.assert_close(weight[dead], want[name])
        assert torch.equal(*((w[others] if name in want else w) for w in (weight, before[name])))
    assert model.idle.tolist() == [0] * 6


def test_rows_are_drawn_again_only_where_there_are_too_few() -> None:
    x = torch.eye(3)
    assert sorted(worst_rows(x, x, 3, step())[0].tolist(), reverse=True) == x.tolist()
    row, residual = worst_rows(x[:1], 2 * x[:1], 2, step())
    assert torch.equal(row, x[[0, 0]]) and torch.equal(residual, 2 * x[[0, 0]])
    assert worst_rows(x, torch.zeros(3, 3), 2, step())[1].tolist() == [[0.0] * 3] * 2  # nothing is left of any row
    assert living_norm(2 * x, torch.tensor([0, 1, 2])) == 1.0 and living_norm(2 * x, torch.tensor([1])) == 2.0


def test_dead_concepts_are_in_order_however_many() -> None:
    model = build(read_config({"kind": "l1", "size": 200}), 4)
    model.idle.copy_(torch.randint(0, 9, (200,), generator=torch.Generator().manual_seed(0)))
    for after in (5, 9):
        assert dead_concepts(model, after).tolist() == [
            k for k, idle in enumerate(model.idle.tolist()) if idle >= after
        ]


def test_decoder_rows_are_held_at_norm_one_where_nothing_else_bounds_them(kind: str, make: Make) -> None:
    model = make(kind)
    held = kind in ("topk", "batchtopk", "matryoshka", "jumprelu")
    assert [id(rows) for rows in model.unit_rows()] == ([id(model.W_dec)] if held else [])


@pytest.mark.parametrize("kind", ["l1", "supervised", "jumprelu", "bernoulli", "lcblm", "lcblm-shared"])
def test_a_concept_is_idle_until_it_fires_in_training(kind: str, make: Make, embeddings: Rows) -> None:
    model, x = make(kind), embeddings(1 if "lcblm" in kind else 3)
    if "lcblm" in kind:
        model.s.data.fill_(1.0)  # logits within 1 of 0
    model.idle += torch.arange(model.K)
    fired = (model.encode(x).strength > (0.5 if model.gated else 0)).any(0).tolist()
    assert any(fired) and not all(fired)
    model.eval().loss(rows_for(kind, x), step())
    assert model.idle.tolist() == list(range(model.K))
    model.train().loss(rows_for(kind, x), step())
    assert model.idle.tolist() == [0 if on else k + len(x) for k, on in enumerate(fired)]


def test_where_weights_start() -> None:
    def built(kind: str, **over: object) -> ConceptModel:
        return build(read_config({"kind": kind, "size": 60} | over), 50, seed=0)

    for kind, over in (("topk", {"k": 2}), ("l1", {}), ("jumprelu", {"bandwidth": 0.2}), ("bernoulli", {"prior": 0.1})):
        model = built(kind, **over)
        assert torch.equal(model.W_enc, model.W_dec) and not model.b_dec.any()
        torch.testing.assert_close(model.W_dec.norm(dim=1), torch.ones(60))
        bias = math.log(0.1 / 0.9) if kind == "bernoulli" else 0.0  # gates start at their prior rate
        torch.testing.assert_close(model.b_enc, torch.full((60,), bias))
    torch.testing.assert_close(built("jumprelu", bandwidth=0.2).threshold, torch.full((60,), 0.2))
    for kind in ("lcblm", "lcblm-shared"):
        model = build(read_config({"kind": kind, "concepts": 60, "width": 40, "similarity": "distance"}), 50, seed=0)
        assert (model.s.item(), model.offset.tolist()) == (10.0, [1.0] * 60) and not model.b_dec.any()
        assert not model.b_enc.any() and model.h.std().item() == pytest.approx(1.0, rel=0.1)
        for weight, std in ((model.W_enc, 50**-0.5), (model.W_dec, (60 * 40) ** -0.5)):
            assert weight.std().item() == pytest.approx(std, rel=0.1) and abs(weight.mean().item()) < std / 10


def test_terms_without_weight_are_left_out_and_noise_not_drawn(make: Make, embeddings: Rows) -> None:
    nothing = dict.fromkeys(("rate_weight", "entropy_weight", "ortho_weight", "noise"), 0.0)
    for kind, more in (("lcblm", {"prototype_weight": 0.0}), ("lcblm-shared", {})):
        model, x, noisy = make(kind, **nothing, **more), embeddings(4), step()
        xs = model.standardise(x)
        e = model.embed(xs)
        gates = relaxed_bernoulli(model.logits(e), model.c.temperature, step())
        content = e if kind == "lcblm" else model.h.expand(4, 6, 3)
        left = xs - torch.einsum("nk,nke,ked->nd", gates, content, model.W_dec) - model.b_dec
        terms = model.loss(x, noisy)
        assert terms.keys() == {"mse"}
        torch.testing.assert_close(terms["mse"], left.square().mean())
    terms, logits = (model := make("lcblm-shared")).loss(x, step()), model.logits(model.embed(model.standardise(x)))
    torch.testing.assert_close(terms["rate"], 4 * rate_divergence(logits.sigmoid().mean(0), 0.3))
    torch.testing.assert_close(terms["ortho"], 0.5 * block_overlap(model.W_dec))


@pytest.mark.parametrize("kind", ["lcblm", "lcblm-shared"])
@torch.no_grad()
def test_the_scale_of_gates_stays_in_its_range(kind: str, make: Make, embeddings: Rows) -> None:
    model = make(kind)
    e = model.embed(model.standardise(embeddings(4)))
    cosine = similarity("cosine", e, model.h, None)
    for given, kept in ((0.2, 1.0), (7.0, 7.0), (300.0, 100.0)):
        model.s.fill_(given)
        torch.testing.assert_close(model.logits(e), kept * cosine)
        model.after_update()
        assert model.s.item() == kept


@pytest.mark.parametrize("clip", [0.5, math.inf])
def test_an_update_keeps_rows_at_norm_one_and_moves_across_them(clip: float) -> None:
    g = torch.Generator().manual_seed(0)
    start = [torch.nn.functional.normalize(torch.randn(6, 4, generator=g), dim=1), torch.randn(6, 4, generator=g)]
    (unit, free), plain = (
        [torch.nn.Parameter(weight.clone()) for weight in start],
        [torch.nn.Parameter(weight.clone()) for weight in start],
    )
    adam, wanted = Adam([unit, free], [unit], weight_decay=0.1, clip=clip), torch.optim.AdamW(plain, weight_decay=0.1)
    for lr in (0.1, 0.03):
        adam.set_lr(lr)
        wanted.param_groups[0]["lr"] = lr
        grads = [torch.randn(6, 4, generator=g) for _ in range(2)]
        unit.grad, free.grad = (grad.clone() for grad in grads)
        across = grads[0] - (grads[0] * plain[0].detach()).sum(1, keepdim=True) * plain[0].detach()
        norm = math.sqrt(float(across.square().sum() + grads[1].square().sum()))
        share = min(1.0, clip / (norm + 1e-6))
        plain[0].grad, plain[1].grad = share * across, share * grads[1]
        assert adam.clip().item() == pytest.approx(norm, rel=1e-5)
        adam.move()
        wanted.step()
        plain[0].data.div_(plain[0].data.norm(dim=1, keepdim=True))
        torch.testing.assert_close([unit.data, free.data], [weight.data for weight in plain])


def test_what_a_reseeded_concept_replaces(make: Make) -> None:
    sae, shared, own = {"W_enc", "b_enc", "W_dec"}, {"h", "W_dec"}, {"h", "W_dec", "W_enc", "b_enc"}
    for kind, names in (("l1", sae), ("bernoulli", sae), ("jumprelu", {*sae, "log_threshold"}),
                        ("lcblm", own), ("lcblm-shared", shared)):  # fmt: skip
        model = make(kind)
        assert {name: id(weight) for name, weight in model.concept_parameters().items()} == {
            name: id(getattr(model, name)) for name in names
        }
    one = make("lcblm", decoder="sum", ortho_weight=0.0, similarity="distance")  # all concepts write through one block
    assert one.concept_parameters().keys() == own - {"W_dec"} | {"offset"}
    assert one.concept_parameters()["offset"] is one.offset
