"""The readout repair: what the validator's own state knows of the generator's log-odds, written back. Closed form.

A readout adds v = w·h + b to the validator's log-odds exactly (`accord.lm.edited.Readout`), so v is fitted to what is
missing: the wanted log-odds less the model's own. It needs no labels: what is wanted is the model's own generator.
Positions of ordinary text are in the regression with 0 as their target, so that the readout stays silent there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accord.gap.metrics import Floats
from accord.gap.questions import LabelWords
from accord.gap.ridge import Ridge
from accord.lm.edited import Readout
from accord.lm.model import LanguageModel
from accord.progress import Progress
from accord.repair.config import ReadoutConfig
from accord.repair.evidence import Evidence, gather
from accord.repair.fitted import Fitted, best_within
from accord.repair.ordinary import Ordinary, YesNo, ordinary_texts, read_texts
from accord.tasks import Task


def fit(
    lm: LanguageModel,
    task: Task,
    config: ReadoutConfig | None = None,
    *,
    seed: int = 0,
    texts: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Fit a readout on the items of `task`: layers, penalty, weight of ordinary text and strength are chosen on
    items and texts held out from them, then all items are fitted.

    First every layer alone, then the band of neighbours that does best, read side by side: neighbours say the same with
    different noise, so together they read it better.

    Args:
        task: its training side.
        seed: what is held out, and the order of the texts.
        texts: ordinary text; the training side of movie-reviews by default. One half is fitted on, the other judges.

    Raises:
        AccordError: too few items or texts, no such layer, or nothing stays within the budget.
    """
    config = config or ReadoutConfig()
    layers = config.layers or list(range(lm.n_layers + 1))
    evidence = gather(lm, task, layers=layers, held_out=config.held_out, seed=seed, progress=progress)
    ordinary = ordinary_texts(texts, seed)
    half = len(ordinary) // 2
    tokens = LabelWords.of(lm, task).tokens(task, "readout")
    quiet, check = (
        read_texts(lm, side, layers, tokens, positions=config.positions, progress=progress)
        for side in (ordinary[:half], ordinary[half:])
    )
    search = _Search(config, evidence, quiet, check)
    tried = [row for layer in layers for row in search.rows([layer])]
    if min(config.window, len(layers)) > 1:
        tried += search.rows(_band(tried, config.window))
    best, table = best_within(tried, config.budget)
    readout, value, measured = _final(tokens, search, tried[best])
    settings = {key: tried[best][key] for key in ("layers", "penalty", "quiet_weight", "strength")}
    chosen = {
        **settings,
        "held_out": {key: tried[best][key] for key in measured},
        "training": measured,
        "silence": float(value.abs().mean()),
        "limit": readout.limit,
    }
    return Fitted([readout], chosen, table)


def target_logodds(generator: Floats, spread: float) -> Floats:
    """The log-odds that the validator should have: (l_G − median) / deviation · spread.

    An affine map, so that its correlation with l_G is 1. Its threshold is at the generator's median: without labels,
    as many items are affirmed as denied (`calibrate` moves that). Not l_G itself, whose deviation of several nats
    would ask for larger values, which cost more on other text.

    >>> target_logodds(np.array([-4.0, -2.0, 0.0]), spread=1.0).round(2).tolist()
    [-1.22, 0.0, 1.22]
    """
    deviation = float(generator.std())
    return np.asarray((generator - np.median(generator)) / (deviation if deviation > 0 else 1.0) * spread)


@dataclass(frozen=True)
class _Search:
    """The items and texts that settings are tried on."""

    config: ReadoutConfig
    evidence: Evidence
    quiet: Ordinary
    check: Ordinary

    def ridge(self, layers: Sequence[int], *, all_items: bool) -> Ridge:
        """The regression on these layers side by side, of all items or those that are not held out."""
        used = self.evidence
        where = np.ones_like(used.gold) if all_items else used.held == 0
        target = target_logodds(used.generator[where], self.config.spread) - used.validator[where]
        states = beside(used.states, layers)[torch.from_numpy(where)]
        return Ridge(states, torch.from_numpy(target), beside(self.quiet.states, layers))

    def rows(self, layers: Sequence[int]) -> list[dict[str, Any]]:
        """Every setting on these layers, judged on held-out items and texts."""
        where = self.evidence.held > 0
        held, check = beside(self.evidence.states, layers)[where], beside(self.check.states, layers)
        ridge, rows = self.ridge(layers, all_items=False), []
        for quiet_weight, penalty in product(self.config.quiet_weights, self.config.penalties):
            probe = ridge.fit(penalty, quiet_weight)
            limit = float(probe(ridge.states).abs().max())
            value, on_text = (probe(x).clamp(-limit, limit) for x in (held, check))
            for strength in self.config.strengths:
                moved = self.evidence.validator.copy()
                moved[where] += strength * value.numpy()
                settings = {"penalty": penalty, "quiet_weight": quiet_weight, "strength": strength}
                judged = self.evidence.judge(moved, where)
                rows.append({"layers": list(layers), **settings, **judged, **self.check.cost(strength * on_text)})
        return rows


def beside(states: Mapping[int, Tensor], layers: Sequence[int]) -> Tensor:
    """States of several layers side by side, [n, layers · d].

    >>> beside({3: torch.zeros(5, 8), 4: torch.ones(5, 8)}, [3, 4]).shape
    torch.Size([5, 16])
    """
    return torch.cat([states[layer] for layer in layers], dim=1)


def _final(tokens: YesNo, search: _Search, row: Mapping[str, Any]) -> tuple[Readout, Tensor, dict[str, float]]:
    """The readout of a setting fitted on all items, its values on the texts held out, and what is measured.

    It moves nothing further than the item that it moves furthest: ordinary text has a few states so unlike all others
    that they alone would be most of the cost.
    """
    layers, strength = row["layers"], row["strength"]
    probe = search.ridge(layers, all_items=True).fit(row["penalty"], row["quiet_weight"])
    items, on_text = (strength * probe(beside(x.states, layers)) for x in (search.evidence, search.check))
    limit = float(items.abs().max())
    value = on_text.clamp(-limit, limit)
    everything = np.ones_like(search.evidence.gold)
    judged = search.evidence.judge(search.evidence.validator + items.numpy(), everything)
    weight, bias = strength * probe.weight, strength * probe.bias
    readout = Readout(tuple(layers), weight.float(), bias, *tokens, limit)
    return readout, value, {**judged, **search.check.cost(value)}


def _band(tried: Sequence[Mapping[str, Any]], window: int) -> list[int]:
    """The neighbouring layers that agree best by themselves, on average, each at its best setting.

    An average, as one layer's lead over the next is mostly chance; and whatever it costs, as together they cost less.
    """
    best: dict[int, float] = {}
    for row in tried:
        layer = row["layers"][0]
        best[layer] = max(best.get(layer, -1.0), row["agreement"])
    ordered = sorted(best)
    bands = [ordered[begin : begin + window] for begin in range(max(1, len(ordered) - window + 1))]
    return max(bands, key=lambda band: sum(best[layer] for layer in band))
