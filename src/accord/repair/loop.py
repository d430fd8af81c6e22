"""The one loop that trains every repair: batches from a method, its loss, AdamW, curve and checkpoints.

Everything random in a step comes from (seed, step), so a run that was killed and resumed ends with the same bytes as
one that was not.
"""

import json
import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accord.concepts.checkpoint import State, read_checkpoint, write_checkpoint
from accord.concepts.train import learning_rate, mix
from accord.disk import write_whole
from accord.errors import AccordError
from accord.progress import Progress, tell
from accord.repair.alarm import check_likelihood
from accord.repair.checkpointing import checkpointed
from accord.repair.config import Trained
from accord.repair.lora import ModelInTraining
from accord.repair.method import Method
from accord.repair.scores import Terms, backward

Row = dict[str, float]


def fit(
    trainee: ModelInTraining,
    method: Method,
    config: Trained,
    *,
    seed: int,
    folder: Path,
    settings: dict[str, Any],
    progress: Progress | None = None,
) -> list[Row]:
    """Train to the last step, from the newest checkpoint in `folder/checkpoints` where there is one.

    Writes `folder/curve.jsonl`, a row a step: step, loss, the loss's terms, the method's counts, grad_norm (before
    clipping), lr, seconds since the start.

    Args:
        settings: all that fixes the training; a checkpoint with other settings is refused.

    Raises:
        AccordError: the loss or its gradient is not a finite number (naming step and term); answers that are to be
            ranked first get lost (see `accord.repair.alarm`; the curve is then in the folder); or the folder's
            checkpoint is damaged or of other settings.
    """
    optimizer = torch.optim.AdamW(trainee.weights.values(), lr=config.lr, weight_decay=config.weight_decay)
    saved = read_checkpoint(folder / "checkpoints", trainee, optimizer, settings)
    state = saved[0] if saved else State(settings, 0, [])
    method.memory = state.memory
    earlier = state.rows[-1]["seconds"] if state.rows else 0.0
    started = time.monotonic()
    while state.step < config.steps:
        row = _update(trainee, method, config, optimizer, state.step, seed)
        state.step, state.memory = state.step + 1, method.memory
        state.rows.append({**row, "seconds": earlier + time.monotonic() - started})
        try:
            check_likelihood(state.rows, trainee.lm.vocab_size)
        except AccordError:
            _write_curve(folder, state.rows)
            raise
        if progress:
            tell(progress, f"loss {row['loss']:.4g}")
            progress(state.step, config.steps)
        if state.step % config.checkpoint_every == 0 or state.step == config.steps:
            write_checkpoint(folder / "checkpoints", trainee, optimizer, state, None)
    _write_curve(folder, state.rows)
    return state.rows


def _write_curve(folder: Path, rows: list[Row]) -> None:
    write_whole(folder / "curve.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def _update(
    trainee: ModelInTraining, method: Method, config: Trained, optimizer: torch.optim.Optimizer, step: int, seed: int
) -> Row:
    batch = method.batch(trainee.lm, step)
    rate = learning_rate(step, config)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    again = checkpointed(trainee.lm.blocks) if config.checkpointing else nullcontext()
    shown: dict[str, Tensor] = {}

    def loss(scores: Tensor) -> Terms:
        shown.update(batch.shown(scores.detach()))
        return batch.loss(scores)

    with torch.random.fork_rng(trainee.cards), trainee.training(), again:
        terms = backward(trainee.lm, batch.pairs, loss, micro_batch=config.micro_batch, seed=mix(seed, step))
    norm = torch.nn.utils.clip_grad_norm_(trainee.weights.values(), config.clip or math.inf)
    numbers = torch.stack([*terms.values(), *shown.values(), norm]).tolist()  # the one time that a GPU is waited for
    named, grad_norm = dict(zip(terms, numbers, strict=False)), numbers[-1]
    _check_finite({**named, "gradient norm": grad_norm}, step)
    optimizer.step()
    return {
        "step": step + 1,
        "loss": sum(named.values()),
        **named,
        **batch.counts,
        **dict(zip(shown, numbers[len(terms) :], strict=False)),
        "grad_norm": grad_norm,
        "lr": rate,
    }


def _check_finite(numbers: Mapping[str, float], step: int) -> None:
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise AccordError(
                "training stopped: the loss is not a finite number",
                where=f"step {step}",
                got=f"{name} = {number}",
                fix="lower lr, or load the model in float32",
            )
