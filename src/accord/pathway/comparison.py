"""A base and a repaired model, the items, and each measure of the pathway on them; every one a part once done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from accord.concepts.base import ConceptModel
from accord.gap.answer_score import AnswerScore
from accord.gap.measure import measure_gap
from accord.gap.metrics import summarize_layers
from accord.gap.questions import contexts_of, generator_queries
from accord.gap.result import Gap
from accord.gap.ridge import FOLDS
from accord.gap.states import context_states
from accord.lm.model import LanguageModel
from accord.lm.scoring import score
from accord.pathway.cka import linear_cka
from accord.pathway.concept_changes import concept_changes
from accord.pathway.patching import patch, recovered
from accord.pathway.progress import Steps
from accord.pathway.readout import readout_curve
from accord.pathway.tables import ALL, BASE, INTO_BASE, REPAIRED
from accord.progress import Progress
from accord.tasks import Task
from accord.tasks.splits import held_apart
from accord.unfinished import each, once

GENERATOR, VALIDATOR = FORMS = ("generator", "validator")
LayerStates = dict[int, Tensor]


@dataclass
class Comparison:
    """The two models, the items, and the states that several measures share."""

    base: LanguageModel
    repaired: LanguageModel
    tests: Mapping[str, Task]
    layers: list[int]  # that are reported
    read: list[int]  # whose states are read: these, and the concept model's
    seed: int
    resamples: int
    parts: Path | None
    _states: dict[tuple[str, str], LayerStates] = field(default_factory=dict)

    @property
    def models(self) -> dict[str, LanguageModel]:
        """Both, by the names they have in every table."""
        return {BASE: self.base, REPAIRED: self.repaired}

    @property
    def first(self) -> Task:
        """The test that everything but the readout is measured on."""
        return next(iter(self.tests.values()))

    def part(self, name: str) -> Path | None:
        """Where a step keeps what is done."""
        return None if self.parts is None else self.parts / name

    def gap(self, model: str, progress: Progress) -> Gap:
        """The gap of a model on the first test, by layer."""
        return measure_gap(
            self.models[model],
            self.first,
            layers=True,
            lens=False,
            typicality=(),
            resamples=self.resamples,
            parts=self.part(f"gap-{model}"),
            progress=progress,
        )

    def states(self, model: str, task: Task, form: str, steps: Steps) -> LayerStates:
        """The backbone's own states at the end of each item's prompt: layer -> [item, d]. Those of the first test are
        kept, as several measures read them.
        """
        if task is self.first and (model, form) in self._states:
            return self._states[model, form]
        lm, contexts = self.models[model], contexts_of(self.base, task, form)
        states = context_states(lm, contexts, self.read, progress=steps.next())
        if task is self.first:
            self._states[model, form] = states
        return states

    def cka(self, steps: Steps) -> pd.DataFrame:
        """CKA of the two models' states on distinct prompts of either form."""

        def of(form: str) -> pd.DataFrame:
            place = {context: i for i, context in enumerate(contexts_of(self.base, self.first, form))}
            distinct = sorted(place.values())
            old, new = (self.states(model, self.first, form, steps) for model in self.models)
            rows = [
                {"form": form, "layer": layer}
                | linear_cka(old[layer][distinct], new[layer][distinct], resamples=self.resamples)
                for layer in self.layers
            ]
            table = pd.DataFrame(rows, columns=["form", "layer", "value", "low", "high"])
            return table.astype({"value": float, "low": float, "high": float})

        return pd.concat(
            each(self.parts, {f"cka-{form}.parquet": partial(of, form) for form in FORMS}), ignore_index=True
        )

    def readout(self, train: Task, scores: pd.DataFrame, steps: Steps) -> pd.DataFrame:
        """The readout curve of both models; `scores` is the base model's table of the first test."""
        tables = {name: self._scores(name, task, scores, steps) for name, task in self.tests.items()}
        learned = once(self.parts, "train.parquet", partial(_generator_logodds, self.base, train, steps.next()))
        target = torch.from_numpy(learned["generator_logodds"].to_numpy(copy=True))
        groups, _ = held_apart(train, FOLDS)

        def of(model: str) -> pd.DataFrame:
            own = self.states(model, train, VALIDATOR, steps)
            tests = {
                name: (self.states(model, task, VALIDATOR, steps), tables[name]) for name, task in self.tests.items()
            }
            own = {layer: own[layer] for layer in self.layers}
            table = readout_curve(own, target, groups, tests, seed=self.seed, resamples=self.resamples)
            return table.assign(model=model)[["model", *table.columns]]

        return pd.concat(
            each(self.parts, {f"readout-{m}.parquet": partial(of, m) for m in self.models}), ignore_index=True
        )

    def _scores(self, name: str, task: Task, first: pd.DataFrame, steps: Steps) -> pd.DataFrame:
        if task is self.first:
            return first
        return measure_gap(
            self.base, task, typicality=(), resamples=0, parts=self.part(f"scores-{name}"), progress=steps.next()
        ).scores

    def concepts(self, layer: int, model: ConceptModel, steps: Steps) -> pd.DataFrame:
        """What changed of each concept at the end of the first test's validator prompts."""

        def make() -> pd.DataFrame:
            old, new = (self.states(name, self.first, VALIDATOR, steps)[layer] for name in self.models)
            return concept_changes(model, old, new, seed=self.seed, resamples=self.resamples)

        return once(self.parts, "concepts.parquet", make)


def patch_both(
    pair: Comparison, task: Task, ways: Sequence[tuple[str, str]], draws: int, steps: Steps
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The recovered effects, and the l_V behind them."""
    patched: list[pd.DataFrame] = []
    effects: list[pd.DataFrame] = []
    for way, place in ways:
        into_base = way == INTO_BASE
        table = patch(
            pair.repaired if into_base else pair.base,
            pair.base if into_base else pair.repaired,
            task,
            layers=pair.layers,
            draws=draws,
            every_position=place == ALL,
            seed=pair.seed,
            parts=pair.part(f"patch-{place}-{'into-base' if into_base else 'into-repaired'}"),
            progress=steps.next(),
        )
        effect = recovered(table, resamples=pair.resamples)
        for rows, tables in ((table, patched), (effect, effects)):
            rows.insert(0, "direction", way)
            rows.insert(1, "positions", place)
            tables.append(rows)
    return pd.concat(effects, ignore_index=True), pd.concat(patched, ignore_index=True)


def curves(gap: Gap, resamples: int) -> pd.DataFrame:
    """The lens' measures of each layer, and how its l_V agrees with the model's own final l_G."""
    assert gap.layers is not None and gap.layer_metrics is not None
    final = gap.layers["item"].map(gap.scores["generator_logodds"])
    against = summarize_layers(gap.scores, gap.layers.assign(generator_logodds=final), resamples=resamples)
    against = against[against["metric"].str.startswith("pearson")]
    return pd.concat([gap.layer_metrics, against.assign(metric="final_" + against["metric"])])


def both_models(tables: Mapping[str, pd.DataFrame | None], layers: Sequence[int], *columns: str) -> pd.DataFrame:
    """Tables of both models as one, of these layers alone."""
    whole = pd.concat([table.assign(model=model) for model, table in tables.items() if table is not None])
    for column in columns:
        whole = whole[whole[column].isin(layers)]
    return whole[["model", *(name for name in whole if name != "model")]].reset_index(drop=True)


def _generator_logodds(lm: LanguageModel, task: Task, progress: Progress | None) -> pd.DataFrame:
    """l_G of every item, by itself."""
    logodds = AnswerScore.of(lm, task).logodds
    answers = score(lm, generator_queries(lm, task, task.items), progress=progress)
    return pd.DataFrame({"generator_logodds": [logodds(answer) for answer in answers]})
