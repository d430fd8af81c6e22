"""Does each kind of concept model find atoms that are known? Superposition of 64 atoms in 32 dimensions, two data sets:

easy: 3 atoms in every row, little noise, never a row twice.
hard: each atom by itself at a rate of .047, so that rows have three on average; noise .05; 20,000 rows, seen again and
again.

    python benchmarks/concepts_truth.py [--data hard] [--seeds 3] [--steps 3000] [--device cuda] [kind ...]

Every kind is told what the data are like (how many atoms, how many of them active) and has its defaults for the rest;
of l1, jumprelu and the β-VAE the price is chosen, as nothing in the data tells it. Judged on 4,000 rows that none was
trained on. Two baselines that are no concept models of accord stand beside: vq, one code a row and three, and beta-vae.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from statistics import fmean, stdev

import concept_baselines  # noqa: F401  # registers its kinds
import torch
from scipy.stats import t as student
from torch import Tensor

from accord.concepts import (
    ConceptModel,
    Superposition,
    Training,
    build,
    class_purity,
    concept_directions,
    evaluate,
    fit,
    intervention_consistency,
    match,
    mutual_information_gap,
    read_config,
)

D, ATOMS, RATE, BATCH, ROWS = 32, 64, 0.047, 512, 20_000
GATES: dict[str, object] = {"concepts": ATOMS, "prior": RATE}
TABLES: dict[str, dict[str, object]] = {
    "topk": {"size": ATOMS, "k": 3},
    "batchtopk": {"size": ATOMS, "k": 3},
    "matryoshka": {"size": ATOMS, "k": 3},
    "jumprelu": {"size": ATOMS, "sparsity": 0.01},
    "l1": {"size": ATOMS, "sparsity": 1.0},
    "bernoulli": {"size": ATOMS, "prior": RATE},
    "lcblm": GATES,
    "lcblm-shared": GATES,
    "vq": {"size": ATOMS},
    "vq of 3": {"size": ATOMS, "stages": 3},
    "beta-vae": {"size": ATOMS, "beta": 0.05},
}
COLUMNS = ("matched", "cosine", "MIG", "purity", "R²", "hard", "L0", "alive", "consistency", "seconds")


def data(name: str, seed: int) -> tuple[Superposition, Callable[[int], Iterator[Tensor]]]:
    """The truth, and batches to learn it from."""
    if name == "easy":
        truth = Superposition.random(D, ATOMS, active=3, seed=seed)
        return truth, truth.batches(BATCH, seed)
    truth = Superposition.random(D, ATOMS, rate=RATE, noise=0.05, seed=seed)
    rows = truth.sample(ROWS, seed + 1000)[0]

    def batches(step: int) -> Iterator[Tensor]:
        while True:
            drawn = torch.randperm(ROWS, generator=torch.Generator().manual_seed(step))[:BATCH]
            yield rows[drawn]
            step += 1

    return truth, batches


def recover(kind: str, table: dict[str, object], name: str, seed: int, training: Training, device: str) -> list[float]:
    """Train a kind on one set of atoms: a row of the table."""
    truth, batches = data(name, seed)
    model = build(read_config({"kind": kind.partition(" ")[0]} | table), D, seed)
    model.fit_scale(islice(batches(10**6), 20))
    begun = time.perf_counter()
    fit(model.to(device), batches, training.model_copy(update={"seed": seed}))
    seconds = time.perf_counter() - begun
    with torch.no_grad():
        return [*_judged(model.cpu(), truth), seconds]


def _judged(model: ConceptModel, truth: Superposition) -> list[float]:
    x, c = truth.sample(4000, seed=999)
    encoded, quality = model.encode(x), evaluate(model, [x])
    # A row's class is the atom that it has most of; a concept is as strong as it is where it fires at all.
    some, strength = (c > 0).any(1), encoded.strength * (model.harden(encoded).strength > 0)
    found = match(concept_directions(model, x), truth.atoms)
    return [
        found.fraction,
        found.mean_cosine,
        float(mutual_information_gap(encoded.strength, c > 0).mean()),
        float(class_purity(strength[some], c[some].argmax(1)).nanmean()),
        quality.r2,
        quality.r2_hard,
        quality.l0,
        quality.alive,
        float(intervention_consistency(model, x).nanmean()),
    ]


def shown(label: str, row: Sequence[float]) -> str:
    return f"{label:24}" + "".join(f"{value:12.3f}" for value in row)


def half_width(values: Sequence[float]) -> float:
    """Of the 95 % t-interval of their mean."""
    n = len(values)
    return float(student.ppf(0.975, n - 1)) * stdev(values) / n**0.5 if n > 1 else float("nan")


def table_of(kinds: Sequence[str], names: Sequence[str], seeds: int, training: Training, device: str) -> None:
    """Print a row a seed, then mean and interval over the seeds; consistency is 1 wherever directions are fixed."""
    print(" " * 24 + "".join(f"{column:>12}" for column in COLUMNS))
    for name in names:
        for kind in kinds:
            rows = [recover(kind, TABLES[kind], name, seed, training, device) for seed in range(seeds)]
            for seed, row in enumerate(rows):
                print(shown(f"{kind} {name} {seed}", row))
            columns = list(zip(*rows, strict=True))
            print(shown(f"{kind} {name} mean", [fmean(column) for column in columns]))
            print(shown(f"{kind} {name} ±", [half_width(column) for column in columns]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="kind", help=f"of {', '.join(TABLES)}; all by default")
    parser.add_argument("--data", choices=("easy", "hard"), help="both by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps, where they are trained")
    args = parser.parse_args()
    torch.set_num_threads(1)  # the products are tiny
    training = Training(steps=args.steps, lr=3e-3, clip=1.0, log_every=args.steps, checkpoint_every=args.steps)
    names = [args.data] if args.data else ["easy", "hard"]
    table_of(args.kinds or list(TABLES), names, args.seeds, training, args.device)


if __name__ == "__main__":
    main()
