"""Training speed of the TopK autoencoder beside its peers, and SAELens interchange with SAELens.

    python benchmarks/concepts.py [--steps 60] [--batch 2048] [--d 576] [--size 4096] [--k 32] [--device cuda]

All start from the same weights and see the same batches in turn, a step each, so that whatever else the
machine does falls on all of them alike; then all are judged on the same held-out rows. Peers that are not
installed are named.
"""

import argparse
import importlib
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from accord.concepts import (
    Training,
    build,
    evaluate,
    export_saelens,
    fit,
    import_dictionary,
    import_saelens,
    read_config,
)

LR = 1e-3


class Peer:
    """One library's autoencoder: a training step as its own trainer makes it, and its reconstruction."""

    name: str
    package: str
    """What it is installed as."""

    def step(self, x: Tensor) -> None:
        raise NotImplementedError

    def reconstruct(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class Sparsify(Peer):
    name, package = "sparsify", "eai-sparsify"

    def __init__(self, W: Tensor, k: int, steps: int, device: torch.device) -> None:
        module = importlib.import_module("sparsify")
        size, d = W.shape
        self.sae = module.SparseCoder(d, module.SparseCoderConfig(num_latents=size, k=k)).to(device)
        self.sae.encoder.weight.data.copy_(W)
        self.sae.W_dec.data.copy_(W)
        self.optimizer = torch.optim.Adam(self.sae.parameters(), lr=LR, fused=True)
        self.idle = torch.zeros(size, dtype=torch.int64, device=device)

    def step(self, x: Tensor) -> None:
        self.sae.set_decoder_norm_to_unit_norm()
        out = self.sae(x, dead_mask=self.idle > 10_000_000)
        (out.fvu + out.auxk_loss / 32).backward()
        self.idle += len(x)
        self.idle[out.latent_indices.flatten()] = 0
        torch.nn.utils.clip_grad_norm_(self.sae.parameters(), 1.0)
        self.sae.remove_gradient_parallel_to_decoder_directions()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def reconstruct(self, x: Tensor) -> Tensor:
        out: Tensor = self.sae(x).sae_out
        return out


class SAELens(Peer):
    name, package = "sae-lens", "sae-lens"
    sparse = False

    def __init__(self, W: Tensor, k: int, steps: int, device: torch.device) -> None:
        module = importlib.import_module("sae_lens")
        self.input = importlib.import_module("sae_lens.saes.sae").TrainStepInput
        size, d = W.shape
        config = module.TopKTrainingSAEConfig(
            d_in=d,
            d_sae=size,
            k=k,
            use_sparse_activations=self.sparse,
            rescale_acts_by_decoder_norm=not self.sparse,
        )
        self.sae = module.TopKTrainingSAE(config).to(device)
        self.sae.W_enc.data.copy_(W.T)
        self.sae.W_dec.data.copy_(W)
        self.optimizer = torch.optim.Adam(self.sae.parameters(), lr=LR, fused=True)
        self.idle, self.scores = torch.zeros(2, size, device=device)
        self.done = 0

    def step(self, x: Tensor) -> None:
        given = {"coefficients": {}, "dead_neuron_mask": self.idle > 1000, "is_logging_step": False}
        out = self.sae.training_forward_pass(step_input=self.input(sae_in=x, n_training_steps=self.done, **given))
        with torch.no_grad():  # the book-keeping of its trainer's step
            firing = out.feature_acts.bool().float()
            fired = firing.sum(-2).bool()
            fired = fired.to_dense() if fired.is_sparse else fired
            self.idle += 1
            self.idle[fired] = 0
            self.scores += firing.sum(0)
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(self.sae.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.done += 1

    def reconstruct(self, x: Tensor) -> Tensor:
        out: Tensor = self.sae(x)
        return out


class SAELensSparse(SAELens):
    name = "sae-lens, sparse activations"
    sparse = True


class DictionaryLearning(Peer):
    name, package = "dictionary_learning", "dictionary-learning"

    def __init__(self, W: Tensor, k: int, steps: int, device: torch.device) -> None:
        module = importlib.import_module("dictionary_learning.trainers.top_k")
        size, d = W.shape
        self.trainer = module.TopKTrainer(
            steps=steps + 1, activation_dim=d, dict_size=size, k=k, layer=0, lm_name="", lr=LR,
            warmup_steps=0, threshold_start_step=10**9, device=str(device),
        )  # fmt: skip
        self.trainer.ae.encoder.weight.data.copy_(W)
        self.trainer.ae.decoder.weight.data.copy_(W.T)
        self.done = 1  # its step 0 finds a geometric median first

    def step(self, x: Tensor) -> None:
        self.trainer.update(self.done, x)
        self.done += 1

    def reconstruct(self, x: Tensor) -> Tensor:
        out: Tensor = self.trainer.ae(x)
        return out


PEERS: list[type[Any]] = [Sparsify, SAELens, SAELensSparse, DictionaryLearning]


def data(n: int, d: int, seed: int) -> Tensor:
    """Rows with the make of embeddings: sums of 24 of 2,048 directions of unequal size, and noise."""
    shared, own = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    atoms = F.normalize(torch.randn(2048, d, generator=shared), dim=1)
    rows = []
    for part in torch.split(torch.arange(n), 4096):
        chosen = torch.randint(0, 2048, (len(part), 24), generator=own)
        size = torch.rand(len(part), 24, generator=own).mul_(4).exp_()
        rows.append(F.embedding_bag(chosen, atoms, per_sample_weights=size, mode="sum"))
    x = torch.cat(rows)
    scale = x.square().mean().sqrt()
    return x / scale + 0.1 * torch.randn(n, d, generator=own)


def fvu(x: Tensor, xhat: Tensor) -> float:
    return float((x - xhat).square().sum() / (x - x.mean(0)).square().sum())


def race(args: SimpleNamespace) -> None:
    device = torch.device(args.device)
    rows, test = (data(n, args.d, seed).to(device) for n, seed in ((args.batch * args.steps, 1), (4096, 2)))
    config = read_config({"kind": "topk", "size": args.size, "k": args.k, "dead_after": 10_000_000})
    model = build(config, args.d).to(device)
    W = model.state_dict()["W_dec"].clone()
    peers = []
    print(f"torch {torch.__version__}, on {torch.cuda.get_device_name(device) if device.type == 'cuda' else device}")
    for kind in PEERS:
        try:
            peers.append(kind(W, args.k, args.steps, device))
            print(f"{kind.name}: {kind.package} {version(kind.package)}")
        except ImportError as error:
            print(f"not installed, left out: {kind.name} ({error})")
    seconds: dict[str, list[float]] = {name: [] for name in ["accord", *(p.name for p in peers)]}

    def batches(step: int) -> Iterator[Tensor]:
        for x in torch.split(rows, args.batch):
            for peer in peers:
                wait()
                start = time.perf_counter()
                peer.step(x)
                wait()
                seconds[peer.name].append(time.perf_counter() - start)
            start = time.perf_counter()
            yield x
            wait()
            seconds["accord"].append(time.perf_counter() - start)  # everything `fit` does in a step

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    constant = Training(steps=args.steps, lr=LR, warmup=0.0, decay=0.0)
    fit(model, batches, constant)
    left = {"accord": evaluate(model, [test]).fvu}
    with torch.no_grad():
        left |= {peer.name: fvu(test, peer.reconstruct(test)) for peer in peers}
    print(f"TopK {args.d} -> {args.size}, k {args.k}, batch {args.batch}, float32, "
          f"{torch.get_num_threads()} threads, {args.steps} steps")  # fmt: skip
    print(f"{'':30}{'tokens/s':>10}{'best':>10}{'accord is':>11}{'held-out FVU':>14}")
    for name, times in seconds.items():
        settled = times[3:]  # the first steps pay for allocations
        ratios = [t / o for t, o in zip(settled, seconds["accord"][3:], strict=False)]
        print(f"{name:30}{args.batch / median(settled):10.0f}{args.batch / min(settled):10.0f}"
              f"{median(ratios):10.2f}x{left[name]:14.4f}")  # fmt: skip


def interchange() -> None:
    """Ours in SAELens and theirs in ours, largest relative difference."""
    try:
        lens = importlib.import_module("sae_lens")
    except ImportError as error:
        print(f"interchange not checked: sae-lens is not installed ({error})")
        return
    x = 3 + torch.randn(200, 24) * torch.rand(24)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for kind in ("topk", "batchtopk", "matryoshka", "jumprelu", "l1"):
            table = {"kind": kind, "size": 60} | ({} if kind in ("jumprelu", "l1") else {"k": 4})
            model = build(read_config(table), 24)
            model.fit_scale([x])
            if kind in ("batchtopk", "matryoshka"):
                model.state_dict()["threshold"].fill_(0.8)
            path = Path(folder) / kind
            export_saelens(model, path)
            theirs: Any = lens.SAE.load_from_disk(str(path))
            encoded = model.encode(x)
            there = worst(theirs.encode(x), encoded.strength, theirs(x), model(x))
            theirs.save_model(str(path / "back"))
            again = import_saelens(path / "back")
            back = worst(theirs.encode(x), again.encode(x).strength, theirs(x), again(x))
            print(f"interchange, {kind:24} ours in SAELens: {there:.1e}   theirs in ours: {back:.1e}")
        for architecture in (
            "gated",
            "transcoder",
            "skip_transcoder",
            "jumprelu_transcoder",
            "jumprelu_skip_transcoder",
        ):
            for normalise in ("none", "layer_norm", "constant_norm_rescale"):
                dictionary = random_dictionary(lens, architecture, normalise)
                dictionary.save_model(str(Path(folder) / "theirs"))
                ours = import_dictionary(Path(folder) / "theirs")
                off = worst(dictionary.encode(x), ours.encode(x).strength, dictionary(x), ours(x))
                print(f"interchange, {architecture:24} theirs in ours: {off:.1e}   ({normalise})")


def random_dictionary(lens: Any, architecture: str, normalise: str) -> Any:
    """One of SAELens' own classes with random weights, 24 -> 60 (-> 20)."""
    cls, config = lens.registry.get_sae_class(architecture)
    own = {"d_out": 20, "apply_b_dec_to_input": False} if "transcoder" in architecture else {}
    made = cls(config(d_in=24, d_sae=60, normalize_activations=normalise, **own))
    for parameter in made.parameters():
        parameter.data.copy_(0.3 * torch.randn_like(parameter))
    return made


def worst(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> float:
    """Largest difference of a and b and of c and d, each relative to the largest value."""
    return float(max((a - b).abs().max() / b.abs().max(), (c - d).abs().max() / d.abs().max()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"steps": 60, "batch": 2048, "d": 576, "size": 4096, "k": 32}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps, where they are trained")
    arguments = parser.parse_args()
    interchange()
    race(SimpleNamespace(**vars(arguments)))


if __name__ == "__main__":
    main()
