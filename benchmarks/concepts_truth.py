"""Does each kind of concept model find atoms that are known? Superposition of 64 atoms in 32 dimensions, 3
active.

    python benchmarks/concepts_truth.py [--seeds 3] [--steps 3000] [--device cuda] [kind ...]

The recipes are for this data, whose concepts have one direction each and a known rate: the true k or prior,
and, for gates, a heavy weight on rates (with the light ones that suit embeddings, one concept likes to serve
two atoms).
"""

import argparse
import time
from itertools import islice

import torch

from accord.concepts import (
    Superposition,
    Training,
    build,
    concept_directions,
    evaluate,
    fit,
    intervention_consistency,
    match,
    read_config,
)

GATES: dict[str, object] = {"prior": 3 / 64, "entropy_weight": 0.1}
RECIPES: dict[str, dict[str, object]] = {
    "topk": {"size": 64, "k": 3},
    "batchtopk": {"size": 64, "k": 3},
    "l1": {"size": 64, "sparsity": 1.0},
    "bernoulli": {"size": 64, "prior": 3 / 64, "rate_weight": 10.0},
    "lcblm": GATES | {"concepts": 64, "width": 4, "prototype_weight": 0.1, "rate_weight": 100.0},
    "lcblm-shared": GATES
    | {"concepts": 64, "width": 32, "encoder": "linear", "similarity": "distance", "rate_weight": 10.0},
}


def recover(kind: str, seed: int, steps: int, device: str) -> str:
    """Train one kind on one set of atoms: a row of the table."""
    truth = Superposition.random(32, 64, active=3, seed=seed)
    model = build(read_config({"kind": kind} | RECIPES[kind]), 32, seed)
    model.fit_scale(islice(truth.batches(512, seed=seed + 1000)(0), 20))
    model.to(device)
    start = time.perf_counter()
    fit(model, truth.batches(512, seed), Training(steps=steps, lr=3e-3, clip=1.0, seed=seed))
    seconds = time.perf_counter() - start
    model.cpu()
    x, _ = truth.sample(4000, seed=999)
    found, quality = match(concept_directions(model, x), truth.atoms), evaluate(model, [x])
    consistency = float(intervention_consistency(model, x).nanmean())
    note = "" if model.directions() is None else " (trivially: its directions are fixed)"
    return (
        f"{kind:13}{seed:5}{found.fraction:9.3f}{found.mean_cosine:8.3f}{quality.r2:8.3f}{quality.r2_hard:8.3f}"
        f"{quality.l0:7.2f}{quality.alive:7.2f}{seconds:6.0f} s{consistency:8.3f}{note}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="kind", help=f"of {', '.join(RECIPES)}; all by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps, where they are trained")
    args = parser.parse_args()
    torch.set_num_threads(1)  # the products are tiny
    print("kind          seed  matched  cosine      R²    hard     L0  alive    time  consistency")
    for kind in args.kinds or RECIPES:
        for seed in range(args.seeds):
            print(recover(kind, seed, args.steps, args.device), flush=True)


if __name__ == "__main__":
    main()
