"""Which concepts carry one question: what each form loses when a concept is turned off where the answer is given."""

from typing import Any

import numpy as np
import pandas as pd

from accord.arguments import checked
from accord.concepts.base import ConceptModel
from accord.explain.answers import AnswersByState
from accord.explain.contributions import FormConcepts
from accord.lm.backbone import Backbone
from accord.tasks import Task

FORMS = ("generator", "validator")


@checked
def item_concepts(
    lm: Backbone, layer: int, concepts: ConceptModel, question: Task, *, candidates: int = 6
) -> pd.DataFrame:
    """The concepts that contribute most to the answers to one question.

    A contribution is what a form's log-odds lose when the concept is turned off at the position that answers, as in
    `accord.explain.explain_gap`: exact for the candidates, which a gradient proposes.

    Args:
        layer: the one that `concepts` were made on.
        question: a task of one item; see `accord.explore.question_of_fields`.
        candidates: of each form, the concepts whose contributions are computed exactly.

    Returns:
        A row a concept: concept, and for each form FORM_strength and FORM_contribution (nats); the largest
        contributions, of either form, first.

    Raises:
        AccordError: concepts for states of another width or layer, or label words of several tokens.
    """
    concepts.check_decodes("explaining an answer", alike=True)
    concepts.check_layer(layer)
    concepts = concepts.to(lm.device).eval()
    forms = {form: FormConcepts.of(AnswersByState.of(lm, question, form, layer), concepts) for form in FORMS}
    picked: dict[int, None] = {}
    for form in forms.values():
        order = np.argsort(-np.abs(form.approximate[0]), kind="stable")[:candidates]
        picked.update(dict.fromkeys(int(k) for k in order if form.strength[0, k] != 0))
    columns: dict[str, Any] = {"concept": list(picked)}
    for name, form in forms.items():
        without = form.without([(k,) for k in picked])[:, 0] if picked else np.empty(0)
        columns[f"{name}_strength"] = form.strength[0, list(picked)]
        columns[f"{name}_contribution"] = form.logodds[0] - without
    table = pd.DataFrame(columns)
    most = table[[f"{form}_contribution" for form in FORMS]].abs().max(axis=1)
    return table.loc[most.sort_values(ascending=False, kind="stable").index].reset_index(drop=True)
