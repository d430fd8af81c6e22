"""One trainer for whatever learns from batches (concept models, heads): curve and checkpoints out.

Everything random in a step comes from (seed, step) and every batch from its step number, so a training that
was killed and resumed ends with the same bits as one that was not. Several ranks (`accord.ranks`) draw the same
batches, each takes its own rows of them, and their gradients are added up: so one may go on with what eight began.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accord import on_cpu
from accord.arguments import checked
from accord.concepts.adam import Adam
from accord.concepts.base import Learner
from accord.concepts.checkpoint import State, begin_alike, read_checkpoint, write_checkpoint
from accord.concepts.config import Pace, Schedule
from accord.concepts.replay import Replay
from accord.concepts.step import Step
from accord.concepts.supply import received
from accord.disk import write_whole
from accord.errors import AccordError
from accord.progress import Progress, tell
from accord.ranks import Ranks
from accord.steps import OpenStep

Row = dict[str, float]
NORM = "gradient norm"

_UNCHECKED = 16  # steps after which a GPU is asked at the latest whether its numbers still are numbers


@dataclass(frozen=True)
class Fit:
    """What training gave: the curve's rows, the steps done, and whether held-out results stopped it early."""

    rows: list[Row]
    steps: int
    stopped_early: bool


@checked
@on_cpu.quick()
def fit(
    model: Learner,
    batches: Callable[[int], Iterator[Any]],
    training: Schedule,
    *,
    held_out: Callable[[], Iterable[Any]] | None = None,
    folder: Path | str | None = None,
    progress: Callable[[Row], None] | OpenStep | None = None,
    ranks: Ranks | None = None,
) -> Fit:
    """Train `model` in place; a concept model takes batches of raw embeddings `[n, d]`.

    >>> from itertools import repeat
    >>> from accord.concepts import Training, build, read_config
    >>> model = build(read_config({"kind": "topk", "size": 16, "k": 2}), d=4)
    >>> x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    >>> before = (model(x) - x).square().mean()
    >>> _ = fit(model, lambda step: repeat(x), Training(steps=30))  # the same batch thirty times
    >>> bool((model(x) - x).square().mean() < before)
    True

    `batches(s)` yields the batches of steps s, s + 1, …; `held_out()` those to judge by. With a
    `folder`, checkpoints go to `folder/checkpoints` (from which the same call resumes) and the curve to
    `folder/curve.jsonl`. `progress` gets every new row of the curve; True shows a bar, with the loss.
    With `patience`, the model ends as it was at its best held-out `objective`.

    With `ranks`, every rank calls this with the same arguments and ends with the same model, which is, up to float
    error, the one that a single rank trains. Batches are whole ones on all ranks, of any number of rows. Rank 0 alone
    uses the folder.

    Raises AccordError when the loss or the gradient stops being a finite number (naming step and term), when
    the batches run out early, when the folder holds another training, or when several ranks do not train the same or
    cannot; RankLost when another rank is gone.
    """
    first = ranks is None or ranks.rank == 0
    trainer = _Trainer(model, training, held_out, Path(folder) if folder and first else None, progress, ranks)
    model.train()
    with closing(received(model, iter(batches(trainer.state.step)))) as supply:
        while trainer.state.step < training.steps and not trainer.stopped:
            batch = next(supply, None)
            if batch is None:
                steps = trainer.state.step
                raise AccordError("the training batches ran out", got=f"{steps} steps", wanted=training.steps)
            trainer.update(*batch)
    trainer.finish()
    return Fit(trainer.state.rows, trainer.state.step, trainer.stopped)


class _Trainer:
    """A training under way: optimiser, state, and what happens around an update."""

    def __init__(
        self,
        model: Learner,
        training: Schedule,
        held_out: Callable[[], Iterable[Any]] | None,
        folder: Path | None,
        progress: Callable[[Row], None] | OpenStep | None,
        ranks: Ranks | None,
    ) -> None:
        if training.patience and held_out is None:
            raise AccordError(
                "patience needs held-out embeddings", got="held_out = None", fix="give some, or no patience"
            )
        if ranks is not None and not model.by_ranks:
            problem = "Several ranks cannot train this: its loss knows only the rows that it is given."
            fix = "train it with one, or take what is of a whole batch from its step and set by_ranks"
            raise AccordError(problem, got=type(model).__name__, fix=fix)
        self.model, self.training, self.held_out, self.ranks = model, training, held_out, ranks
        if isinstance(progress, OpenStep):  # a bar, see `accord.arguments.checked`
            progress = _on_bar(progress, training.steps)
        self.folder, self.progress, self.started = folder, progress, time.monotonic()
        clip = training.clip or math.inf
        self.adam = Adam(list(model.parameters()), model.unit_rows(), weight_decay=training.weight_decay, clip=clip)
        self.optimizer = self.adam.optimizer
        self.generator = torch.Generator(device=model.device)
        self.replay = Replay(self.generator) if self.adam.in_one and ranks is None else None
        settings = {**model.settings(), "training": training.model_dump()}
        self.state, self.best = State(settings, 0, []), None
        saved = read_checkpoint(folder / "checkpoints", model, self.optimizer, settings) if folder else None
        if ranks is not None:
            saved = begin_alike(ranks, saved or (self.state, None), model, self.optimizer)
        if saved is not None:
            self.state, self.best = saved
        self.earlier = self.state.rows[-1]["seconds"] if self.state.rows else 0.0
        self.finite = _Finite()

    @property
    def stopped(self) -> bool:
        return self.training.patience is not None and self.state.stale >= self.training.patience

    def update(self, x: Any, rows: int) -> None:
        t, done = self.training, self.state.step
        rate = learning_rate(done, t)
        self.adam.set_lr(rate)
        step = Step(done, t.steps, self.generator.manual_seed(mix(t.seed, done)), self.ranks, rows)
        if self.replay is None:
            numbers = self._work(x, step, lambda numbers: self._check(done, numbers))
        else:
            numbers = self.replay(lambda batch: self._work(batch, step), x, self.model.phase(step))
            self._check(done, numbers)
        if t.reseeds(done + 1):
            forget(self.optimizer, self.model, self._reseed(x, step))
        self.model.after_step(rows)
        self.state.step += 1
        self._after(numbers, rate, rows)

    def _check(self, done: int, numbers: dict[str, Tensor]) -> None:
        self.finite.note(done, numbers)
        if self._told_of(done + 1):
            self.finite.check()

    def _work(self, x: Any, step: Step, before: Callable[[dict[str, Tensor]], None] | None = None) -> dict[str, Tensor]:
        """What the device does in a step: the loss, its gradient, the update. Returns terms, loss and gradient norm.

        `before` gets these before the update, so that it may stop it.
        """
        model, ranks = self.model, self.ranks
        self.optimizer.zero_grad(set_to_none=True)
        with rounded_products(model.device, half=model.half_products):
            terms = model.loss(x if ranks is None else model.rows_of(x, ranks.slice(step.rows)), step)
            loss = torch.stack(list(terms.values())).sum()
        with rounded_products(model.device):
            loss.backward()  # type: ignore[no-untyped-call]
        if ranks is not None:
            ranks.add_gradients(model.parameters())
        norm = self.adam.clip()
        numbers = {name: value.detach() for name, value in (terms | {"loss": loss, NORM: norm}).items()}
        if before is not None:
            before(numbers)
        self.adam.move()
        model.after_update()
        return numbers

    def _told_of(self, step: int) -> bool:
        """Is anything shown, kept or drawn after this many steps? On a CPU their numbers are at hand anyhow."""
        t = self.training
        paces = (_UNCHECKED, t.log_every, t.evaluate_every, t.checkpoint_every)
        at_hand = self.model.device.type == "cpu"
        return at_hand or step == t.steps or t.reseeds(step) or any(step % pace == 0 for pace in paces)

    def _reseed(self, x: Any, step: Step) -> Tensor:
        """Reseed from the whole batch, on every rank alike."""
        concepts = self.model.reseed(x, replace(step, ranks=None))
        if self.ranks is not None:  # a last bit may decide which row is drawn, and machines may differ in it
            self.ranks.same(self.model.state_dict().values())
        return concepts

    def _after(self, numbers: dict[str, Tensor], rate: float, rows: int) -> None:
        t, step = self.training, self.state.step
        last = step == t.steps
        judge = self.held_out is not None and (last or step % t.evaluate_every == 0)
        if last or judge or step % t.log_every == 0:
            told = {name: value.item() for name, value in numbers.items() if name != NORM}
            row: Row = {"step": step, "lr": rate, "loss": told.pop("loss"), "batch": rows, **told}
            if judge:
                row |= self._judge()
            row["seconds"] = self.earlier + time.monotonic() - self.started
            self.state.rows.append(row)
            if self.progress:
                self.progress(row)
        if self.folder and (last or self.stopped or step % t.checkpoint_every == 0):
            write_checkpoint(self.folder / "checkpoints", self.model, self.optimizer, self.state, self.best)

    def _judge(self) -> Row:
        assert self.held_out is not None
        self.model.eval()
        measures = self.model.judge(self.held_out())
        self.model.train()
        if self.ranks is not None:  # what stops one rank stops all
            measures = self.ranks.told(measures)
        value, state = measures[self.model.objective], self.state
        # While the loss's own weights still rise, FVU may rise with them: only afterwards does waiting count.
        settled = state.step >= self.training.steps * max(self.model.ramp, self.training.warmup)
        if self.training.patience and settled:
            if state.best_value is None or value < state.best_value:
                state.best_value, state.stale = value, 0
                self.best = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
            else:
                state.stale += 1
        return measures

    def finish(self) -> None:
        if self.best is not None:
            self.model.load_state_dict(self.best)
        self.model.eval()
        if self.folder:
            write_whole(self.folder / "curve.jsonl", "".join(json.dumps(row) + "\n" for row in self.state.rows))


def curve_told(progress: Progress | None) -> Callable[[Row], None]:
    """Takes rows of a curve, as `fit` gives them, and tells the loss, and what was last judged, beside how far it is.

    Rows are of steps whose numbers are looked at anyhow: no GPU is waited for because somebody watches.
    """
    newest: Row = {}

    def take(row: Row) -> None:
        newest.update(row)
        names = {"loss": "loss", "fvu": "held-out FVU", "held_out_ce": "held-out nats a token"}
        tell(progress, ", ".join(f"{called} {newest[name]:.4g}" for name, called in names.items() if name in newest))

    return take


def _on_bar(bar: OpenStep, steps: int) -> Callable[[Row], None]:
    told = curve_told(bar)

    def take(row: Row) -> None:
        bar.move(int(row["step"]), steps)
        told(row)

    return take


def learning_rate(step: int, training: Pace) -> float:
    """Of update `step` (from 0): a linear rise over `warmup`, flat, a linear fall to 0 over `decay`.

    >>> pace = Pace(steps=10, lr=1.0, warmup=0.2, decay=0.2)
    >>> [learning_rate(step, pace) for step in (0, 1, 5, 8, 9)]
    [0.5, 1.0, 1.0, 1.0, 0.5]
    """
    rise, fall = training.warmup * training.steps, training.decay * training.steps
    up = (step + 1) / rise if rise else 1.0
    down = (training.steps - step) / fall if fall else 1.0
    return training.lr * min(1.0, up, down)


@torch.no_grad()
def forget(optimizer: torch.optim.Optimizer, model: Learner, concepts: Tensor) -> None:
    """Reset the optimiser's moments of these concepts: they belong to weights that are gone."""
    for parameter in model.concept_parameters().values() if len(concepts) else ():
        for name, moment in optimizer.state.get(parameter, {}).items():
            if name != "step":
                moment[concepts] = 0.0


def mix(seed: int, step: int) -> int:
    """The seed of a step of a training with this seed."""
    return (seed * 1_000_003 + step) % 2**63


@contextmanager
def rounded_products(device: torch.device, *, half: bool = False) -> Iterator[None]:
    """While open, products of float32 matrices on an NVIDIA GPU read 10 bits of each number's mantissa (TF32).

    With `half` they read 7 bits, and so is their result kept (bfloat16, by PyTorch's autocast). Sums stay in float32.
    For training alone, which averages the roundings out: not for what is measured. Source: NVIDIA A100 Tensor Core GPU
    Architecture (2020), which gives 156 and 312 TFLOPS in place of 19.5.
    """
    products = torch.backends.cuda.matmul
    before = products.fp32_precision
    on = device.type == "cuda"
    if on:
        products.fp32_precision = "tf32"
    try:
        with torch.autocast(device.type, torch.bfloat16) if on and half else nullcontext():
            yield
    finally:
        products.fp32_precision = before


class _Finite:
    """Stops a training whose numbers are none, with the first such step and term; a GPU is asked now and then only."""

    def __init__(self) -> None:
        self._noted: list[tuple[int, list[str], Tensor]] = []

    def note(self, step: int, values: dict[str, Tensor]) -> None:
        """Remember numbers `[]` of a step."""
        self._noted.append((step, list(values), torch.stack([value.detach() for value in values.values()])))

    def check(self) -> None:
        """Raise AccordError for the first noted number that is not finite; forget all."""
        noted, self._noted = self._noted, []
        for (step, names, _), values in zip(noted, torch.stack([row for *_, row in noted]).tolist(), strict=True):
            for name, value in zip(names, values, strict=True):
                if not math.isfinite(value):
                    raise AccordError(
                        "training stopped: the loss is not a finite number",
                        where=f"step {step}",
                        got=f"{name} = {value}",
                        fix="lower lr, or look for NaN and huge values in the embeddings",
                    )
