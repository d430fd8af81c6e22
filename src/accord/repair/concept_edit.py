"""Concepts as a repair: those that speak to the validator against the generator are turned down, the others up.

What concept k says in an item is its strength times the gradient of l_V by it, summed over positions: to first order,
how much of l_V would go if it were turned off. Where that runs with what l_V lacks, the concept is wanted louder.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from random import Random

import numpy as np
import torch
from torch import Tensor

from accord.concepts.base import ConceptModel, Edit, Encoded, Scale, Sparse
from accord.errors import AccordError
from accord.gap.questions import LabelWords, contexts_of
from accord.lm.backbone import Backbone
from accord.lm.batching import default_batch_tokens, in_batches
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
    contexts = contexts_of(lm, task, "validator", items)
    effects = torch.empty(len(items), concepts.K)
    by_length: dict[int, list[int]] = defaultdict(list)
    for i, context in enumerate(contexts):
        by_length[len(context)].append(i)
    done = 0
    for length, which in by_length.items():

        def compute(batch: list[int], which: list[int] = which) -> None:
            rows = [which[j] for j in batch]
            states, gradient = _gradient(lm, backbone, tokens, torch.tensor([contexts[i] for i in rows]), layer)
            effects[rows] = _effects(concepts, states, gradient, len(rows))

        def report(now: int, total: int, n: int = len(which), before: int = done) -> None:
            if progress:
                progress(before + n * now // total, len(items))

        # A state and what its concepts need on the way back weigh as much as some tokens of a pass forward.
        budget = max(length, default_batch_tokens(lm.device) // 4)
        in_batches(lm, [length] * len(which), compute, batch_tokens=budget, progress=report)
        done += len(which)
    return effects


def agree(effects: Tensor, lacking: Tensor) -> Tensor:
    """Covariance [K] over items of what concepts say [item, K] with what the validator lacks [item].

    To first order, scaling concept k by 1 + ε moves l_V by ε · effects[:, k], and lowers the squared error of l_V by
    twice ε times this.
    """
    effects = effects.double()
    return ((effects - effects.mean(0)) * (lacking - lacking.mean())[:, None]).mean(0)


@torch.enable_grad()
def _gradient(lm: LanguageModel, backbone: Backbone, tokens: YesNo, ids: Tensor, layer: int) -> tuple[Tensor, Tensor]:
    """States [row · position, d] of `layer` but the first of each row, and the gradients of their rows' l_V by them.

    Rows of `ids` are equally long prompts; l_V is that of their end.
    """
    leaves: list[Tensor] = []  # one, or one a row where the model reads row by row

    def keep(states: Tensor) -> Tensor:
        leaves.append(states.detach().float().requires_grad_())
        return leaves[-1].to(states)

    with replaced(backbone, layer, keep):
        top = lm.hidden(ids, at=torch.full((len(ids), 1), ids.shape[1] - 1))[lm.n_layers]
    logits = lm.lens(top[:, 0])
    yes, no = (logits[:, list(side)].logsumexp(-1) for side in tokens)
    gradients = torch.autograd.grad((yes - no).sum(), leaves)
    return torch.cat(leaves).detach(), torch.cat(gradients)


@torch.enable_grad()
def _effects(concepts: ConceptModel, states: Tensor, gradient: Tensor, rows: int) -> Tensor:
    """strength · d(gradient · decoded)/d strength, summed over the positions of each row: [row, K] on the CPU.

    Content stays as it is. States and gradient are [row · position, d].
    """
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
        row = own.pattern.rows // (len(states) // rows)
        summed = each.new_zeros(rows * concepts.K).index_add(0, row * concepts.K + own.pattern.indices, each)
        return summed.reshape(rows, concepts.K).float().cpu()
    return each.reshape(rows, -1, concepts.K).sum(1).float().cpu()


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
