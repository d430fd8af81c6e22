"""A made-up search on disk: what was sought and what every trial gave."""

from pathlib import Path

import numpy as np

from accord.study.ranges import Choices, Interval
from accord.study.search_config import SearchSection
from accord.study.search_result import SearchedRange, SearchResult
from accord.study.trials import Trial

KINDS = ["topk", "batchtopk", "l1"]
RANGES = [
    SearchedRange("kind", Choices(choices=KINDS)),
    SearchedRange("training.lr", Interval(low=1e-4, high=1e-2, log=True)),
    SearchedRange("k", Interval(low=4, high=64)),
    SearchedRange("aux_weight", Interval(low=0.0, high=0.5)),
]
FAILURE = "training stopped: the loss is not a finite number\n  where:  step 3"


def write_search(run: Path, trials: int = 40, *, failed: int = 3, direction: str = "maximize") -> Path:
    """A search whose learning rate matters, whose kind matters a little, and whose other ranges do not."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "study.toml").write_text('name = "tune"\n')
    (run / "best.toml").write_text('name = "tune-best"\n')
    rng = np.random.default_rng(0)
    finished = []
    for i in range(trials):
        lr, kind = float(10 ** rng.uniform(-4, -2)), int(rng.integers(3))
        value = float(0.6 - 0.1 * (np.log10(lr) + 2.8) ** 2 - 0.03 * kind + 0.01 * rng.normal())
        values = {"kind": KINDS[kind], "training.lr": lr, "k": int(rng.integers(4, 65)),
                  "aux_weight": float(rng.uniform(0, 0.5))}  # fmt: skip
        finished.append(Trial(i, values, None, FAILURE) if i < failed else Trial(i, values, value, None))
        (run / "trials" / f"{i:04}").mkdir(parents=True, exist_ok=True)
        (run / "trials" / f"{i:04}" / "study.toml").write_text("")
    section = SearchSection(objective="concepts/sae:r2_hard", direction=direction)
    SearchResult(section, RANGES, "fingerprint").with_trials(finished).write(run)
    return run
