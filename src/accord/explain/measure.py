"""Which concepts stand between what a model says and what it affirms.

For every item, a concept's *contribution* to a form is what its log-odds lose when the concept is turned off at the
position that answers: c = l − l(off), exact for the candidates that a gradient proposes (attribution patching, Nanda
2023: gradient · what the concept writes). From the contributions:

- share of a form, cov(c, l) / var(l): how much of the form's differences between items goes through the concept;
- pull, cov(c_V, l_G) / (sd l_V · sd l_G): its part in the correlation of the two forms. Were the validator the sum of
  its concepts, the pulls would add up to Pearson's r. A concept with a negative pull makes the validator contradict
  the generator.

Whether that is so is checked on items that chose nothing, see `accord.explain.ablation_check`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accord.arguments import checked
from accord.concepts.base import ConceptModel
from accord.errors import AccordError
from accord.explain.ablation_check import check, choose, in_numbers
from accord.explain.answers import AnswersByState
from accord.explain.config import FEWEST
from accord.explain.contributions import FormConcepts, covariance, pull_estimate
from accord.explain.result import Explanation
from accord.intervals import Floats
from accord.intervals.estimate import constant
from accord.lm.backbone import Backbone
from accord.progress import Progress
from accord.tasks import Task

FORMS = ("generator", "validator")
_PER_ITEM = 5  # concepts listed of each item and form


@checked
def explain_gap(
    lm: Backbone,
    layer: int,
    concepts: ConceptModel,
    task: Task,
    *,
    candidates: int = 48,
    chosen: int = 8,
    draws: int = 20,
    seed: int = 0,
    progress: Progress | None = None,
) -> Explanation:
    """Explain the gap of a task by the concepts of a layer.

    Args:
        layer: the one that `concepts` were made on.
        candidates: concepts whose contributions are computed exactly: those that the gradient finds largest on the
            half of the items that chooses, of both forms alike.
        chosen: concepts that are turned off together in the check, of each sign.
        draws: random sets of concepts beside them.
        progress: called with (items done, items in all) of each pass.

    Raises:
        AccordError: fewer than 20 items, or concepts for states of another width or layer.
    """
    concepts.check_decodes("explaining a gap", alike=True)
    concepts.check_layer(layer)
    if len(task.items) < FEWEST:
        raise AccordError("too few items to explain a gap", got=len(task.items), wanted=f"{FEWEST} or more")
    if concepts.d != lm.d_model:
        raise AccordError("the concepts are for states of another width", got=concepts.d, wanted=lm.d_model)
    concepts = concepts.to(lm.device).eval()
    forms = {form: FormConcepts.of(AnswersByState.of(lm, task, form, layer), concepts) for form in FORMS}
    choosing, checking = _halves([item.gold for item in task.items], seed)
    picked = _candidates(forms, candidates, choosing)
    exact = {form: forms[form].without([(k,) for k in picked], progress) for form in FORMS}
    logodds = {form: forms[form].logodds for form in FORMS}
    contributions = {form: logodds[form] - exact[form] for form in FORMS}  # [candidate, item]
    generator, validator = (logodds[form][choosing] for form in FORMS)
    sets = choose(contributions["validator"][:, choosing], generator, validator, picked, chosen)
    ablations = check(forms["validator"], sets, logodds["generator"], checking, draws, seed)
    return Explanation(
        _concept_table(forms, logodds, contributions, picked),
        _item_table(forms, contributions, picked),
        _scores(task, logodds),
        ablations,
        {
            "layer": layer,
            "items": len(task.items),
            "answer_score": forms["generator"].answers.counted,
            "candidates": len(picked),
            "approximation": {form: forms[form].foretold(picked, contributions[form]) for form in FORMS},
            "checked_items": len(checking),
            "check": in_numbers(ablations),
        },
    )


def _candidates(forms: Mapping[str, FormConcepts], n: int, items: NDArray[np.int64]) -> list[int]:
    """The concepts with the largest mean |approximate contribution| to these items, from both forms by turns."""
    orders = [np.argsort(-np.abs(form.approximate[items]).mean(0), kind="stable").tolist() for form in forms.values()]
    mixed = dict.fromkeys(k for pair in zip(*orders, strict=True) for k in pair)
    return list(mixed)[:n]


def _halves(gold: Sequence[bool], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the items that choose concepts and of those that check them, gold classes divided alike."""
    rng = np.random.default_rng(seed)
    sides: tuple[list[int], list[int]] = ([], [])
    for label in (True, False):
        which = rng.permutation(np.flatnonzero(np.array(gold) == label))
        for side, part in zip(sides, np.array_split(which, 2), strict=True):
            side.extend(part.tolist())
    return np.array(sorted(sides[0])), np.array(sorted(sides[1]))


def _concept_table(
    forms: Mapping[str, FormConcepts],
    logodds: Mapping[str, Floats],
    contributions: Mapping[str, Floats],
    picked: Sequence[int],
) -> pd.DataFrame:
    v, g = logodds["validator"], logodds["generator"]
    rows = []
    for place, k in enumerate(picked):
        pull = pull_estimate(contributions["validator"][place], v, g).interval()
        row: dict[str, Any] = {"concept": k}
        for form in FORMS:
            spread = float(logodds[form].var())
            row[f"{form}_rate"] = forms[form].rate[k]
            shared = float(covariance(contributions[form][place], logodds[form]))
            row[f"{form}_share"] = shared / spread if not constant(logodds[form]) else 0.0
        rows.append({**row, "pull": pull["value"], "low": pull["low"], "high": pull["high"]})
    return pd.DataFrame(rows).sort_values("pull", kind="stable", ignore_index=True)


def _item_table(
    forms: Mapping[str, FormConcepts], contributions: Mapping[str, Floats], picked: Sequence[int]
) -> pd.DataFrame:
    rows = []
    for form in FORMS:
        own = contributions[form]
        for item in range(own.shape[1]):
            for place in np.argsort(-np.abs(own[:, item]), kind="stable")[:_PER_ITEM]:
                k = picked[place]
                strength = forms[form].strength[item, k]
                rows.append((item, form, k, strength, own[place, item]))
    return pd.DataFrame(rows, columns=["item", "form", "concept", "strength", "contribution"])


def _scores(task: Task, logodds: Mapping[str, Floats]) -> pd.DataFrame:
    rows = [
        (item.gold, item.answer, *task.prompts(item), logodds["generator"][i], logodds["validator"][i])
        for i, item in enumerate(task.items)
    ]
    names = ["gold", "answer", "generator_prompt", "validator_prompt", "generator_logodds", "validator_logodds"]
    return pd.DataFrame(rows, columns=names)
