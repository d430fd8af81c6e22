"""Concepts as a repair: those that speak to the validator against the generator are turned down, the others up.

What concept k says in an item is its strength times the gradient of l_V by it, summed over positions: to first order,
how much of l_V would go if it were turned off. Where that runs with what l_V lacks, the concept is wanted louder.
"""

from collections.abc import Iterator, Sequence
from random import Random

import numpy as np
import torch
from torch import Tensor

from accord.concepts.base import ConceptModel, Edit, Encoded, Scale, Sparse
from accord.errors import AccordError
from accord.gap.questions import LabelWords, contexts_of
from accord.lm.backbone import Backbone
from accord.lm.edited import backbone_of
from accord.lm.model import LanguageModel
from accord.lm.splice import replaced
from accord.progress import Progress
from accord.repair.config import ConceptsConfig
from accord.repair.edit_search import Candidate, EditSearch
from accord.repair.evidence import gather
from accord.repair.fitted import Fitted
from accord.repair.ordinary import YesNo, ordinary_texts
from accord.repair.readout import target_logodds
from accord.steering.edits import EditConcepts
from accord.tasks import Item, Task


def fit(
    lm: LanguageModel,
    task: Task,
    config: ConceptsConfig | None = None,
    *,
    concepts: ConceptModel,
    layer: int,
    seed: int = 0,
    texts: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Choose which concepts to turn up and down, and how far, on items and texts held out from those of `task`.

    Args:
        concepts: made on the states of `layer`.

    Raises:
        AccordError: concepts of another width, too few items or texts, or no such layer.
    """
    config = config or ConceptsConfig()
    backbone = backbone_of(lm)
    if not 0 <= layer <= backbone.n_layers or concepts.d != backbone.d_model:
        raise AccordError(
            "these concepts do not fit the model",
            where=lm.name,
            got=f"layer {layer}, width {concepts.d}",
            wanted=f"a layer from 0 to {backbone.n_layers}, width {backbone.d_model}",
        )
    concepts.check_decodes("an edit that repairs")
    concepts.check_layer(layer)
    evidence = gather(lm, task, held_out=config.held_out, seed=seed, progress=progress)
    fitted = np.flatnonzero(evidence.held == 0).tolist()
    used = sorted(Random(f"attributed {seed}").sample(fitted, min(config.attributed, len(fitted))))
    effects = attribution(lm, task, [task.items[i] for i in used], concepts, layer, progress=progress)
    lacking = target_logodds(evidence.generator, float(evidence.validator.std()) or 1.0) - evidence.validator
    agreement = agree(effects, torch.from_numpy(lacking[used]))
    search = EditSearch(lm, task, evidence, config.items, ordinary_texts(texts, seed)[: config.texts])
    return search.choose(_candidates(agreement, config, concepts, layer), config.budget, progress)


def attribution(
    lm: LanguageModel,
    task: Task,
    items: Sequence[Item],
    concepts: ConceptModel,
    layer: int,
    *,
    progress: Progress | None = None,
) -> Tensor:
    """What each concept says to the validator in each item, in nats of l_V: float32 [item, K].

    strength · ∂l_V/∂strength, summed over the prompt's positions but the first, which no edit touches.
    """
    tokens, backbone = LabelWords.of(lm, task).tokens(task, "attribution"), backbone_of(lm)
    rows = []
    for i, context in enumerate(contexts_of(lm, task, "validator", items)):
        states, gradient = _gradient(lm, backbone, tokens, torch.tensor([context]), layer)
        rows.append(_effects(concepts, states, gradient))
        if progress:
            progress(i + 1, len(items))
    return torch.stack(rows)


def agree(effects: Tensor, lacking: Tensor) -> Tensor:
    """Covariance [K] over items of what concepts say [item, K] with what the validator lacks [item].

    To first order, scaling concept k by 1 + ε moves l_V by ε · effects[:, k], and lowers the squared error of l_V by
    twice ε times this.
    """
    effects = effects.double()
    return ((effects - effects.mean(0)) * (lacking - lacking.mean())[:, None]).mean(0)


@torch.enable_grad()
def _gradient(lm: LanguageModel, backbone: Backbone, tokens: YesNo, ids: Tensor, layer: int) -> tuple[Tensor, Tensor]:
    """States [position, d] of `layer` but the first, and the gradient of l_V at the prompt's end by them."""
    leaf: list[Tensor] = []

    def keep(states: Tensor) -> Tensor:
        leaf.append(states.detach().float().requires_grad_())
        return leaf[0].to(states)

    with replaced(backbone, layer, keep):
        top = lm.hidden(ids, at=torch.tensor([[ids.shape[1] - 1]]))[lm.n_layers]
    logits = lm.lens(top[0, 0])
    yes, no = (logits[list(side)].logsumexp(-1) for side in tokens)
    return leaf[0].detach(), torch.autograd.grad(yes - no, leaf[0])[0]


@torch.enable_grad()
def _effects(concepts: ConceptModel, states: Tensor, gradient: Tensor) -> Tensor:
    """strength · d(gradient · decoded)/d strength, summed over positions: [K]. Content stays as it is."""
    encoded = concepts.encode(states.to(concepts.mean))
    content = None if encoded.content is None else encoded.content.detach()
    if encoded.sparse is not None:
        values = encoded.sparse.values.detach().requires_grad_()
        own: Tensor | Sparse = Sparse(encoded.sparse.pattern, values)
    else:
        values = encoded.strength.detach().requires_grad_()
        own = values
    decoded = concepts.decode(Encoded(own, content, encoded.frame))
    each = values.detach() * torch.autograd.grad((decoded * gradient.to(decoded)).sum(), values)[0]
    if isinstance(own, Sparse):
        return each.new_zeros(concepts.K).index_add(0, own.pattern.indices, each).float().cpu()
    return each.sum(0).float().cpu()


def _candidates(agreement: Tensor, config: ConceptsConfig, concepts: ConceptModel, layer: int) -> Iterator[Candidate]:
    order = agreement.abs().argsort(descending=True).tolist()
    speaking = [k for k in order if agreement[k] != 0]
    counts = sorted({min(count, len(speaking)) for count in config.counts} - {0})
    for count in counts:
        for factor in config.factors:
            edits: dict[int, Edit] = {
                k: Scale(1 + factor if agreement[k] > 0 else max(0.0, 1 - factor)) for k in speaking[:count]
            }
            settings = {"concepts": count, "factor": factor, "layer": layer}
            yield settings, [EditConcepts(layer, concepts, edits)]
