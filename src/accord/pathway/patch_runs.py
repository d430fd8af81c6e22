"""Batches of prompts on which one model's states are put into another, layer by layer, in as few runs as possible.

Equally long prompts share a batch. What they share at their beginning is run once; if only the last position is
patched, all before it is run once for all layers, as the receiver's keys and values there stay as they are. Layers are
rows of a batch, and so are a layer's variants, the donor's states and each draw of random ones: a run of few rows takes
as long as reading the weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from accord.gap.metrics import Floats
from accord.lm.batching import default_batch_tokens, in_batches
from accord.lm.beginning import shared_length
from accord.lm.kv import KeysValues
from accord.lm.marked import States, backbone_states
from accord.lm.model import lens_of
from accord.lm.prefix_tree import Ids
from accord.pathway.receiver import Put, Receiver
from accord.progress import Progress

STATES, RANDOM = "states", "random"
_COPIED = 512 * 2**20  # bytes of keys and values that are copied for a run of several layers


@dataclass(frozen=True)
class Patching:
    """What is put into which model, the same for every group of prompts."""

    donor: Receiver
    receiver: Receiver
    tokens: tuple[Ids, Ids]  # of yes and of no
    layers: list[int]
    draws: int
    seed: int

    def logodds(self, model: Receiver, states: States) -> Floats:
        """l_V [row] from top states [row, position, d]; the normaliser of the softmax cancels."""
        yes, no = self.tokens
        logits = lens_of(model.lm, states[:, -1], torch.tensor([*yes, *no], device=model.lm.device)).cpu().double()
        return np.asarray((logits[:, : len(yes)].logsumexp(-1) - logits[:, len(yes) :].logsumexp(-1)).numpy())


def group_table(
    patching: Patching, contexts: Sequence[Ids], which: Sequence[int], first: int, progress: Progress | None
) -> pd.DataFrame:
    """The table of prompts of one length; batches go by the prompts' own ends behind what all share."""
    shared = shared_length([contexts[i] for i in which])
    own = len(contexts[which[0]]) - shared
    tables: list[pd.DataFrame] = []

    def compute(batch: list[int]) -> None:
        items = [which[j] for j in batch]
        tables.append(_batch(patching, torch.tensor([contexts[i] for i in items]), items, shared, first))

    in_batches(patching.receiver.lm, [own] * len(which), compute, progress=progress)
    return pd.concat(tables, ignore_index=True)


def _batch(patching: Patching, ids: Tensor, items: list[int], shared: int, first: int) -> pd.DataFrame:
    lms = (patching.receiver.lm, patching.donor.lm)
    cacheable = all(lm.cacheable and lm.limits.group(ids.shape[1]) == 0 for lm in lms)
    pieces, starts = _cut(ids, shared, first, cacheable)
    left = sum(start + piece.shape[1] <= first for start, piece in zip(starts, pieces, strict=True))
    runs = []
    for model in (patching.donor, patching.receiver):
        _, before = _walk(model, pieces[:left], [], layers=[model.lm.n_layers])
        states, _ = _walk(model, pieces[left:], before, layers=sorted({*patching.layers, model.lm.n_layers}))
        runs.append((states, before, patching.logodds(model, states[-1][model.lm.n_layers])))
    (theirs, _, l_donor), (own, before, l_receiver) = runs
    skipped = [max(first - start, 0) for start in starts[left:]]
    pairs = {
        layer: [
            (backbone_states(donor[layer])[:, skip:].float(), backbone_states(receiver[layer])[:, skip:].float())
            for donor, receiver, skip in zip(theirs, own, skipped, strict=True)
        ]
        for layer in patching.layers
    }
    apart = [layer for layer in pairs if not all(torch.equal(theirs, own) for theirs, own in pairs[layer])]
    logodds = {layer: np.tile(l_receiver, (1 + patching.draws, 1)) for layer in pairs}  # [1 + draws, item], as it is
    tokens = default_batch_tokens(patching.receiver.lm.device) // sum(piece.shape[1] for piece in pieces[left:])
    size = max(1, min(tokens, _copies(before)) // ((1 + patching.draws) * len(items)))  # layers of a run
    for some in (apart[start : start + size] for start in range(0, len(apart), size)):
        logodds |= _patched(patching, {layer: pairs[layer] for layer in some}, first, pieces[left:], before, items)
    rows = []
    for layer, patched in logodds.items():
        averaged = [(STATES, patched[0])] + ([(RANDOM, patched[1:].mean(0))] if patching.draws else [])
        for what, values in averaged:
            columns = {"item": items, "layer": layer, "what": what}
            rows.append(pd.DataFrame({**columns, "receiver": l_receiver, "donor": l_donor, "patched": values}))
    return pd.concat(rows, ignore_index=True)


def _copies(before: KeysValues) -> int:
    """How many rows may have keys and values copied for them."""
    size = sum(keys[0].nbytes + values[0].nbytes for keys, values in before)
    return _COPIED // size if size else _COPIED


def _cut(ids: Tensor, shared: int, first: int, cacheable: bool) -> tuple[list[Tensor], list[int]]:
    """Pieces of prompts [row, position] to run one after the other, and where they start.

    What all rows share is one row. What is before the first position that is patched is a piece of its own, run once
    for all layers. What cannot go on from a cache is run whole, at once.
    """
    if not cacheable:
        return [ids], [0]
    places = sorted({0, shared, *([first] if first > shared else [])})
    ends = [*places[1:], ids.shape[1]]
    pieces = [ids[: 1 if end <= shared else None, start:end] for start, end in zip(places, ends, strict=True)]
    return pieces, places


def _walk(
    model: Receiver,
    pieces: Sequence[Tensor],
    before: KeysValues,
    *,
    layers: Sequence[int],
    puts: Sequence[Sequence[Put]] = (),
) -> tuple[list[Mapping[int, States]], KeysValues]:
    """States of each piece, and the keys and values of all that was run."""
    by_piece = []
    for i, piece in enumerate(pieces):
        states, before = model.run(piece, before, layers=layers, puts=puts[i] if puts else ())
        by_piece.append(states)
    return by_piece, before


def _patched(
    patching: Patching,
    pairs: Mapping[int, Sequence[tuple[Tensor, Tensor]]],
    first: int,
    pieces: Sequence[Tensor],
    before: KeysValues,
    items: Sequence[int],
) -> dict[int, Floats]:
    """Layer -> l_V [1 + draws, item] with the donor's states there, and with each draw of random ones; all in one run.

    `pairs` are each layer's donor's and receiver's states of each piece, [row, position, d].
    """
    variants = 1 + patching.draws
    puts: list[list[Put]] = [[] for _ in pieces]
    for number, (layer, by_piece) in enumerate(pairs.items()):
        for k, (theirs, own) in enumerate(by_piece):
            norm = (theirs - own).norm(dim=-1, keepdim=True)
            rows = items if len(own) == len(items) else [-1]
            noise = [_directions(own, (patching.seed, layer, draw, k), rows) for draw in range(patching.draws)]
            given = torch.cat([theirs, *(own + norm * direction for direction in noise)])
            puts[k].append(Put(layer, first, given, row=number * len(given)))
    times = len(pairs) * variants
    repeated = [(k.repeat(times, 1, 1, 1), v.repeat(times, 1, 1, 1)) for k, v in before]
    top = patching.receiver.lm.n_layers
    states, _ = _walk(patching.receiver, [p.repeat(times, 1) for p in pieces], repeated, layers=[top], puts=puts)
    logodds = patching.logodds(patching.receiver, states[-1][top]).reshape(len(pairs), variants, len(items))
    return dict(zip(pairs, logodds, strict=True))


def _directions(like: Tensor, seed: tuple[int, ...], items: Sequence[int]) -> Tensor:
    """Random unit vectors [row, position, d], drawn item by item so that batches do not change them."""
    drawn = np.stack([np.random.default_rng([*seed, i + 1]).standard_normal(like.shape[1:]) for i in items])
    noise = torch.from_numpy(drawn).to(like)
    unit: Tensor = noise / noise.norm(dim=-1, keepdim=True)
    return unit
