"""The threshold alone: one number added to every validator log-odds, on whatever model, repaired or not."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from accord.gap.metrics import Floats
from accord.gap.questions import LabelWords
from accord.lm.edited import Readout
from accord.lm.model import LanguageModel
from accord.progress import Progress
from accord.repair.config import CalibrateConfig
from accord.repair.evidence import validator_logodds
from accord.repair.fitted import Fitted
from accord.repair.ordinary import ordinary_texts, read_texts
from accord.tasks import Task


def fit(
    lm: LanguageModel,
    task: Task,
    config: CalibrateConfig | None = None,
    *,
    seed: int = 0,
    texts: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Find the shift of l_V whose threshold suits the items of `task`, its training side.

    A readout without weights: every correlation and the AUC stay as they are, the accuracy follows. It acts at every
    position but a text's first; `choices` says what that costs on ordinary text, beside no shift and the other way of
    choosing it (by gold it is what labels would give).

    Args:
        lm: any model, such as a repaired one.
        texts: ordinary text; the training side of movie-reviews by default.
    """
    config = config or CalibrateConfig()
    tokens = LabelWords.of(lm, task).tokens(task, "calibrate")
    validator, gold = validator_logodds(lm, task, task.items), np.array([item.gold for item in task.items])
    ordinary = read_texts(lm, ordinary_texts(texts, seed), [], tokens, positions=config.positions, progress=progress)
    shifts = {"none": 0.0, "share": -share_threshold(validator, config.share), "gold": -gold_threshold(validator, gold)}
    rows = []
    for by, shift in shifts.items():
        moved = validator + shift
        judged = {
            "affirmed": float((moved > 0).mean()),
            "validator_accuracy": float(((moved > 0) == gold).mean()),
            **ordinary.cost(torch.full_like(ordinary.sign, shift)),
        }
        rows.append({"by": by, "shift": shift, **judged, "chosen": by == config.by})
    readout = Readout((lm.n_layers,), torch.zeros(lm.d_model), shifts[config.by], *tokens)
    chosen = next(row for row in rows if row["chosen"])
    return Fitted([readout], {key: chosen[key] for key in chosen if key != "chosen"}, pd.DataFrame(rows))


def share_threshold(validator: Floats, share: float) -> float:
    """The log-odds that a share of the items lies above.

    >>> share_threshold(np.array([-2.0, -1.0, 1.0, 5.0]), 0.5)
    0.0
    """
    return float(np.quantile(validator, 1 - share))


def gold_threshold(validator: Floats, gold: NDArray[np.bool_]) -> float:
    """The log-odds that divides gold-yes from gold-no items with the fewest errors.

    Between two neighbouring items; of several equally good places the one with the widest gap between its neighbours.

    >>> gold_threshold(np.array([-2.0, -1.0, 1.0, 5.0]), np.array([False, False, False, True]))
    3.0
    """
    order = np.argsort(validator, kind="stable")
    values, right = validator[order], gold[order]
    # With the threshold before place i, items from i on are affirmed.
    errors = np.concatenate([[0], np.cumsum(right)]) + np.concatenate([np.cumsum(~right[::-1])[::-1], [0]])
    edges = np.concatenate([[values[0] - 1.0], values, [values[-1] + 1.0]])
    gaps = np.diff(edges)
    best = max(np.flatnonzero(gaps > 0).tolist(), key=lambda i: (-errors[i], gaps[i]))
    return float((edges[best] + edges[best + 1]) / 2)
