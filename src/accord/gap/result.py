"""The generator/validator gap of one model on one task, as tables and measures with intervals."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from accord.disk import read_object
from accord.gap.change import in_common, paired_changes
from accord.gap.metrics import MEASURES, WITHIN
from accord.intervals import Interval, brief
from accord.report.notebook import InNotebook

METRICS = "metrics.json"
_ANSWER_SCORE = "answer_score"
_FORMS = {"generator": "completing", "validator": "asked"}
NOISE = 1e-4  # nats: what other batches do to float32 log-odds
_TABLES = ("scores", "layers", "layer_metrics", "layer_matrix", "lens", "corrections")


@dataclass(frozen=True)
class Gap(InNotebook):
    """The generator/validator gap of one model on one task.

    >>> from accord.gap import summarize
    >>> scores = pd.DataFrame({"gold": [True, True, False, False], "generator_logodds": [2.0, 1.0, -1.0, 0.5]})
    >>> scores = scores.assign(validator_logodds=[1.0, -0.5, -2.0, -1.0], generator_rank=1, yes_no_mass=0.9)
    >>> gap = Gap(scores, summarize(scores), "first")
    >>> gap
    Gap of 4 items: r 0.97; AUC 1.00 completing, 1.00 asked
      .scores, .metrics, .plot()
    >>> gap.metrics["validator_auc"]["value"]
    1.0

    Attributes:
        scores: a row an item: the item's fields, `group`, `similarity`, `gold`, `answer`, both prompts,
            `generator_logodds` l_G = log p(a | G) − log(1 − p(a | G)), p being what `answer_score` says,
            `validator_logodds` l_V = log Σ p(yes words | V) − log Σ p(no words | V), `generator_first_logodds` of the
            answer's first token, `generator_logprob` log p of the whole answer, `generator_tokens` in it,
            `generator_rank` of its first token, `answer_token` that token's text, `yes_no_mass` Σ p(yes and no
            words | V). Where the validator chooses among labels, `label` is the right one and `validator_choice` the
            most probable one; l_V is the log-odds of the right one against all others. `typicality` log p(y | null)
            of the whole answer y, null being the empty context, and `negated_typicality` log p(y | the negated
            generator prompt), where asked for: both of the model that is measured; `base_typicality` and
            `base_negated_typicality` the same of the model that it was made from, where that is known.
            `prompt_group` where the data name it: which items answer one prompt (else those of one
            `generator_prompt` do). Its `attrs`, which Parquet keeps, say `answer_score` and how many first tokens
            clash.
        metrics: each measure of `accord.gap.metrics.measures_of` as {"value", "low", "high"}, and a "reason" where it
            has no interval; and the number of items whose first tokens clash.
        answer_score: what of an answer counts in l_G: "first", "whole" or "per_token" (see `accord.gap.answer_score`).
        layers: (item, layer, generator_logodds, validator_logodds) by the logit lens, or None.
        layer_metrics: (layer, metric, value, low, high), or None.
        layer_matrix: (generator_layer, validator_layer, pearson, pearson_yes, pearson_no), or None.
        lens: what the lens reads at each layer and position of the item whose two answers differ most: (item,
            form, position, token, layer, top, probability), or None.
        corrections: (score, metric, value, low, high, within, within_low, within_high): how well each score that may
            stand for the generator does, raw or corrected, see `accord.gap.corrected.summarize_corrections`.
    """

    scores: pd.DataFrame
    metrics: dict[str, Interval]
    answer_score: str
    layers: pd.DataFrame | None = None
    layer_metrics: pd.DataFrame | None = None
    layer_matrix: pd.DataFrame | None = None
    lens: pd.DataFrame | None = None
    corrections: pd.DataFrame | None = None

    def as_json(self) -> dict[str, Any]:
        """The metrics, and what of an answer counts: the content of `metrics.json`."""
        return {_ANSWER_SCORE: self.answer_score, **self.metrics}

    def write(self, folder: Path) -> None:
        """Write `scores.parquet`, `metrics.json` and, where measured, the tables of the layers."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in _TABLES:
            table = getattr(self, name)
            if table is not None:
                table.to_parquet(folder / f"{name}.parquet", index=False)
        text = json.dumps(self.as_json(), indent=2, allow_nan=False)
        (folder / METRICS).write_text(text + "\n", encoding="utf-8")

    def headline(self) -> str:
        """How well the two forms agree, and what each knows."""
        known = {how: self.metrics[f"{form}_auc"] for form, how in _FORMS.items() if f"{form}_auc" in self.metrics}
        auc = ", ".join(f"{brief({'value': metric['value']})} {how}" for how, metric in known.items())
        r = [f"r {brief(self.metrics['pearson_all'])}"] if "pearson_all" in self.metrics else []
        return "; ".join([*r, *([f"AUC {auc}"] if auc else [])])

    def __repr__(self) -> str:
        return f"Gap of {len(self.scores):,} items: {self.headline()}\n  .scores, .metrics, .plot()"

    @classmethod
    def read(cls, folder: Path) -> "Gap":
        """What `write` wrote."""
        metrics = read_object(folder / METRICS, _ANSWER_SCORE)
        counted = metrics.pop(_ANSWER_SCORE)
        paths = {name: folder / f"{name}.parquet" for name in _TABLES}
        tables = {name: pd.read_parquet(path) for name, path in paths.items() if path.exists()}
        return cls(tables.pop("scores"), metrics, counted, **tables)

    def paired(self, other: "Gap") -> dict[str, Interval]:
        """Every measure, other − self, paired (see `accord.gap.compare`); empty where the items are not the same."""
        return paired_changes(self.scores, other.scores)

    def items_beside(self, other: "Gap") -> str:
        """How many items two gaps have in common, and whether their scores differ; empty where all are the same."""
        first, second = in_common(self.scores, other.scores)
        n, sizes = len(first), (len(self.scores), len(other.scores))
        if n == sizes[0] == sizes[1]:
            return ""
        if not n:
            return f"none of the {sizes[0]} and {sizes[1]} items is in both"
        of = f"{n} items are in both, of {sizes[0]} and {sizes[1]}"
        columns = ["generator_logodds", "validator_logodds"]
        moved = float(abs(first[columns].to_numpy(float) - second[columns].to_numpy(float)).max())
        if moved <= NOISE:
            return f"{of}; on these the scores are the same: what differs is which items were asked"
        return f"{of}; on these the scores differ by up to {moved:.2g} nats"


RESULTS = {"gap": Gap}
OBJECTIVES = {"gap": (*MEASURES, *WITHIN)}
