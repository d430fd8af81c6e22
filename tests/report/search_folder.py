"""A made-up search on disk: what was sought and what every trial gave."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

RANGES = [
    {"name": "kind", "choices": ["topk", "batchtopk", "l1"]},
    {"name": "training.lr", "low": 1e-4, "high": 1e-2, "log": True},
    {"name": "k", "low": 4, "high": 64},
    {"name": "aux_weight", "low": 0.0, "high": 0.5},
]


def write_search(
    run: Path, trials: int = 40, *, failed: int = 3, direction: str = "maximize", name: str = "concepts/sae:r2_hard"
) -> Path:
    """A search whose learning rate matters, whose kind matters a little, and whose other ranges do not."""
    run.mkdir(parents=True, exist_ok=True)
    told = {"objective": name, "direction": direction, "sampler": "random", "seed": 0, "ranges": RANGES}
    (run / "search.json").write_text(json.dumps(told))
    (run / "study.toml").write_text('name = "tune"\n')
    (run / "best.toml").write_text('name = "tune-best"\n')
    rng = np.random.default_rng(0)
    rows = []
    for i in range(trials):
        lr, kind = 10 ** rng.uniform(-4, -2), int(rng.integers(3))
        value = 0.6 - 0.1 * (np.log10(lr) + 2.8) ** 2 - 0.03 * kind + 0.01 * rng.normal()
        rows.append(
            {
                "trial": i,
                name: None if i < failed else value,
                "kind": RANGES[0]["choices"][kind],
                "training.lr": lr,
                "k": int(rng.integers(4, 65)),
                "aux_weight": rng.uniform(0, 0.5),
                "failed": "training stopped: the loss is not a finite number\n  where:  step 3" if i < failed else None,
            }
        )
        (run / "trials" / f"{i:04}").mkdir(parents=True, exist_ok=True)
        (run / "trials" / f"{i:04}" / "study.toml").write_text("")
    pd.DataFrame(rows).to_csv(run / "trials.csv", index=False)
    return run
