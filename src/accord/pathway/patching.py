"""Cross-model activation patching: which layers' states carry what one model answers otherwise than another.

The donor's state of a layer takes the place of the receiver's at the validator prompt's last position (or at all but
the first), the receiver's upper layers go on from it, and one looks how far its answer moves to the donor's
(CMAP: Prakash et al. 2024, arXiv 2402.14811).
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from accord.arguments import checked
from accord.errors import AccordError
from accord.gap.questions import LabelWords, contexts_of
from accord.intervals import Estimate, Floats, ratio_estimate
from accord.lm.edited import backbone_of
from accord.lm.model import LanguageModel
from accord.pathway.patch_runs import Patching, group_table
from accord.pathway.receiver import Receiver
from accord.progress import Progress
from accord.tasks import Task
from accord.unfinished import each

# Root mean square difference of l_V in nats below which two models answer alike and there is no effect to recover:
# far above float error, far below what anyone would call a repair.
_NO_EFFECT = 1e-3
_NO_ENDS = {"low": None, "high": None}


@checked
@torch.no_grad()
def patch(
    donor: LanguageModel,
    receiver: LanguageModel,
    task: Task,
    *,
    layers: Sequence[int] | None = None,
    draws: int = 3,
    every_position: bool = False,
    seed: int = 0,
    parts: Path | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """l_V of the receiver with the donor's states put into it, of every item and layer.

    Rows (item, layer, what, receiver, donor, patched): l_V of either model as it is, and of the patched receiver.
    `what` is "states" where the donor's state was put, and "random" where a random direction of the same norm as
    donor's state − receiver's state was added to the receiver's; then `patched` is the mean over `draws`.

    Args:
        donor, receiver: of equal shape and vocabulary.
        layers: all by default, 0 to the last.
        draws: random directions, drawn anew for every item and layer.
        every_position: put the states of all positions but a prompt's first, not only of the last.
        parts: a folder for finished parts; what is whole there already is not computed again.
        progress: called with (items done, items in all).

    Raises:
        AccordError: the models differ in shape, or label words are several tokens each.
    """
    check_shapes(donor, receiver)
    tokens = LabelWords.of(receiver, task).tokens(task, "patching")
    contexts = contexts_of(receiver, task, "validator")
    chosen = list(layers or range(receiver.n_layers + 1))
    patching = Patching(Receiver(donor), Receiver(receiver), tokens, chosen, draws, seed)
    groups: dict[int, list[int]] = defaultdict(list)
    for i, context in enumerate(contexts):
        groups[len(context)].append(i)
    makes: dict[str, Callable[[], pd.DataFrame]] = {}
    done = 0
    for length, items in sorted(groups.items()):

        def make(length: int = length, items: list[int] = items, before: int = done) -> pd.DataFrame:
            def report(now: int, total: int) -> None:
                if progress:
                    progress(before + len(items) * now // total, len(contexts))

            return group_table(patching, contexts, items, length - 1 if not every_position else 1, report)

        makes[f"length-{length:05d}.parquet"] = make
        done += len(items)
    return pd.concat(each(parts, makes), ignore_index=True).sort_values(["layer", "what", "item"], ignore_index=True)


def recovered(table: pd.DataFrame, *, resamples: int = 1000) -> pd.DataFrame:
    """How much of the donor's effect each layer's states carry: rows (layer, what, value, low, high).

    Σ (patched − receiver)(donor − receiver) / Σ (donor − receiver)² over items: the slope of the regression through
    0 of the patched effect on the full one. It is the usual normalised effect (patched − receiver) / (donor −
    receiver) (Heimersheim and Nanda 2024, arXiv 2404.15255), items weighted by the square of their full effect, as
    those on which the models agree have no ratio. 0: none, 1: all of it. The 95 % interval is over items, see
    `accord.intervals.ratio_estimate`; none with `resamples` 0. Undefined where the two models' l_V differ by less than
    0.001 nats (root mean square).
    """
    rows = []
    for (layer, what), part in table.groupby(["layer", "what"]):
        part = part.sort_values("item")
        before, full = part["receiver"].to_numpy(), (part["donor"] - part["receiver"]).to_numpy()
        shift = part["patched"].to_numpy() - before
        top, bottom = shift * full, full * full
        if float(np.sqrt(bottom.mean())) < _NO_EFFECT:
            rows.append({"layer": layer, "what": what, "value": None, **_NO_ENDS})
            continue
        estimate = _carried(top, bottom)
        numbers = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
        rows.append({"layer": layer, "what": what, **(numbers if resamples else {**_NO_ENDS, "value": estimate.value})})
    return pd.DataFrame(rows).astype({"value": float, "low": float, "high": float})


def _carried(top: Floats, bottom: Floats) -> Estimate:
    """Σ top / Σ bottom [item]; nothing and all are certain where every item says so."""
    if not top.any():
        return Estimate(0.0, 0.0, 0.0)
    return Estimate(1.0, 1.0, 1.0) if np.array_equal(top, bottom) else ratio_estimate(top, bottom)


def check_shapes(base: LanguageModel, other: LanguageModel) -> None:
    """Raise AccordError unless states of one model can take the place of the other's, layer for layer."""
    first, second = ((lm.n_layers, backbone_of(lm).n_layers, lm.d_model, lm.vocab_size) for lm in (base, other))
    if first != second:
        raise AccordError(
            "the two models are not of the same shape",
            got=f"{other.name}: {second[0]} layers, width {second[2]}, vocabulary {second[3]}",
            wanted=f"{base.name}: {first[0]} layers, width {first[2]}, vocabulary {first[3]}",
            fix="compare a model with one that was made from it",
        )
