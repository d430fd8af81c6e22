"""What the tests of ranks have trained, by one process or two: `python -m tests.two_ranks RANK FOLDER ADDRESS...`."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from accord.concepts import ConceptModel, Step, Superposition, Training, build, fit, read_config
from accord.errors import AccordError
from accord.heads import FinetunedHead, FinetuneTraining, HeadTraining, NewHead, Reader, build_head, next_counts
from accord.heads.train import HeadLearner
from accord.ranks import Ranks, join
from accord.study import store
from accord.study.config import load
from accord.study.graph import plan_study
from accord.study.work import Models
from tests.heads.conftest import Rows, _backbone, _concepts, _states

TRUTH = Superposition.random(8, 12, active=2, seed=1)
TRAINING = Training(steps=20, lr=3e-3, log_every=5, checkpoint_every=4, evaluate_every=5, reseed_every=7, seed=5)
STOPPING = TRAINING.model_copy(update={"steps": 200, "lr": 0.3, "warmup": 0.0, "patience": 2})
CONCEPTS: dict[str, dict[str, Any]] = {
    "topk": {"kind": "topk", "size": 12, "k": 3},
    "batchtopk": {"kind": "batchtopk", "size": 12, "k": 3},
    "matryoshka": {"kind": "matryoshka", "size": 12, "k": 3, "prefixes": [0.25, 0.5]},
    "jumprelu": {"kind": "jumprelu", "size": 12, "sparsity": 0.03, "bandwidth": 0.4},
    "l1": {"kind": "l1", "size": 12, "sparsity": 0.3},
    "bernoulli": {"kind": "bernoulli", "size": 12, "prior": 0.2},
    "supervised": {"kind": "supervised", "labels": ["low", "high"], "size": 10, "sparsity": 0.3},
    "transcoder": {"kind": "transcoder", "size": 12, "sparsity": 0.3},
    "lcblm": {"kind": "lcblm", "concepts": 6, "width": 3, "prior": 0.3, "ortho_weight": 0.5},
    "lcblm of sums": {"kind": "lcblm", "concepts": 6, "width": 3, "decoder": "sum", "similarity": "distance"},
    "lcblm-shared": {"kind": "lcblm-shared", "concepts": 6, "width": 3, "prior": 0.3, "ortho_weight": 0.5},
    "lcblm-shared by distance": {"kind": "lcblm-shared", "concepts": 6, "width": 3, "similarity": "distance"},
}
NEVER = -30.0
HEADS = ["embedding", "latents", "lcblm latents", "reconstruction", "finetuned"]
STUDY = """
name = "s"
[backbone]
model = "model"
device = "cpu"
[text]
source = "texts.txt"
max_tokens = 250
held_out_tokens = 120
[[concepts]]
kind = "bernoulli"
size = 24
training = { steps = 12, batch = 63, checkpoint_every = 4, evaluate_every = 6 }
[[heads]]
kind = "new"
reads = "latents"
training = { steps = 6, batch = 31 }
"""


def rows_for(table: dict[str, Any], x: Tensor) -> Any:
    """The rows that a kind learns from: a transcoder, from pairs; the supervised one, with labels, some unknown."""
    if table["kind"] == "supervised":
        return x, torch.where(x[:, 0] > 0.5, 1, torch.where(x[:, 1] > 0.5, -1, 0))
    return (x, x.abs() - 2 * x.flip(1)) if table["kind"] == "transcoder" else x


def uneven(start: int) -> Iterator[Tensor]:
    """33 rows a step, of which two are equal; at step 3 there is but one."""
    for step, x in enumerate(TRUTH.batches(33)(start), start):
        x[30] = x[2]
        yield x[:1] if step == 3 else x


def held_out() -> list[Tensor]:
    return [TRUTH.sample(100, seed=77)[0]]


def concept_model(table: dict[str, Any]) -> ConceptModel:
    """In float64; its first two concepts cannot fire, and are dead soon."""
    model = build(read_config(table | {"dead_after": 40}), 8, seed=2)
    model.fit_scale(rows_for(table, x) for x in islice(TRUTH.batches(64, seed=9)(0), 4))
    with torch.no_grad():
        if "topk" in table["kind"] or table["kind"] == "matryoshka":
            model.W_enc[:2] *= 0.01
        elif "lcblm" not in table["kind"]:
            model.b_enc[:2] = NEVER
        elif model.offset is not None:
            model.offset[:2] = NEVER
    return model.double()


def train_concepts(name: str, ranks: Ranks | None = None, training: Training = TRAINING, **options: Any) -> Any:
    """The state of a trained concept model, and the curve without seconds."""
    table = CONCEPTS[name]
    model, judged = concept_model(table), [rows_for(table, x) for x in held_out()]
    batches = lambda start: (rows_for(table, x) for x in uneven(start))  # noqa: E731
    fitted = fit(model, batches, training, held_out=lambda: judged, ranks=ranks, **options)
    return model.state_dict(), [{k: v for k, v in row.items() if k != "seconds"} for row in fitted.rows]


class Wide(Reader):
    """In float64."""

    def __call__(self, x: Tensor) -> Any:
        read = super().__call__(x)
        return read.double() if isinstance(read, Tensor) else type(read)(read.pattern, read.values.double())


def train_a_head(name: str, ranks: Ranks | None = None) -> dict[str, Tensor]:
    lm = _backbone()
    rows = _states(lm, lm.n_layers)
    topk, lcblm = (_concepts(kind, rows.x) for kind in ("topk", "lcblm"))
    read = {"latents": topk, "lcblm latents": lcblm, "reconstruction": topk}.get(name)
    reader = Wide(name.split()[-1] if read else "embedding", read)
    settings: dict[str, Any] = {"steps": 20, "lr": 1e-2, "patience": None, "evaluate_every": 10}
    if name == "finetuned":
        tuned = FinetunedHead(reads="embedding", training=FinetuneTraining(**settings), vocabulary="observed")
        head = build_head(tuned, lm, reader, rows.x, counts=next_counts([rows], lm.vocab_size))
    else:
        head = build_head(NewHead(reads=reader.reads, training=HeadTraining(**settings)), lm, reader, rows.x)

    topk.double(), lcblm.double()

    def batches(step: int) -> Iterator[Rows]:
        while True:
            which = torch.randperm(len(rows.x), generator=torch.Generator().manual_seed(step))[:50]
            which = which[rows.next[which] >= 0][:1] if step == 3 else which
            yield Rows(rows.x[which], rows.next[which])
            step += 1

    fit(HeadLearner(head.double(), reader), batches, head.config.training, held_out=lambda: [rows], ranks=ranks)
    return head.state_dict()


class StoppedError(Exception):
    pass


def stop_at(step: int) -> Callable[[dict[str, float]], None]:
    def stop(row: dict[str, float]) -> None:
        if row["step"] == step:
            raise StoppedError

    return stop


def refused(train: Callable[[], Any]) -> str:
    """What it is refused with."""
    try:
        train()
    except AccordError as error:
        return f"{type(error).__name__}: {error}"
    return "not refused"


def fit_and_leave(ranks: Ranks, table: dict[str, Any]) -> None:
    with ranks:
        fit(concept_model(table), uneven, TRAINING, ranks=ranks)


def ties(step: Step, values: Tensor) -> list[int]:
    return step.largest(values, 2).tolist()


def make_study(folder: Path, ranks: Ranks | None = None) -> list[bool]:
    """Whether each stage that trains was made, in a run folder that holds embeddings."""
    stages = [stage for stage in plan_study(load(folder / "study.toml")).stages if stage.trains]
    made = []
    for stage in stages:
        at = folder / "run" / stage.name
        options: dict[str, Any] = {"models": Models(), "at": lambda other: folder / "run" / other.name}
        if ranks is not None and ranks.rank > 0:
            made.append(store.train_along(stage, at, ranks=ranks, **options))
        else:
            made.append(store.publish(stage, at, ranks=ranks, **options))
    return made


def main(rank: int, folder: Path, first: str, second: str) -> None:
    """All that the tests look at, in one go; what the two found is in the folder."""
    torch.set_num_threads(1)
    said: dict[str, Any] = {}
    own = folder / f"rank-{rank}"
    own.mkdir()

    def keep(name: str, tensors: dict[str, Tensor]) -> None:
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, own / f"{name}.safetensors")

    def note(**values: Any) -> None:
        said.update(values)
        (own / "said.json").write_text(json.dumps(said))

    with join(rank, 2, first, timeout=120) as ranks:
        for name in CONCEPTS:
            state, rows = train_concepts(name, ranks)
            keep(name, state)
            note(**{name: rows})
        for name in HEADS:
            keep(name, train_a_head(name, ranks))
        state, rows = train_concepts("topk", ranks, STOPPING)
        keep("stopping", state)
        note(stopping=rows)
        values = torch.randint(0, 4, (9, 5), generator=torch.Generator().manual_seed(3)).double()
        mine = ranks.slice(9)
        step = Step(0, 1, ranks=ranks, rows=9)
        note(ties=[mine.start * 5 + place for place in ties(step, values[mine])])
        note(none=step.least(values[:0]).item(), least=step.least(values[mine][values[mine] > rank]).item())
        # Begun by one process, gone on with by two; and the other way round.
        keep("went on", train_concepts("lcblm", ranks, folder=folder / "one")[0])
        try:
            train_concepts("lcblm", ranks, folder=folder / "two", progress=stop_at(10))
        except StoppedError:
            ranks.told()
        note(made=make_study(folder, ranks), again=make_study(folder, ranks))
        broken = lambda start: (x.index_fill_(0, torch.tensor(31), torch.nan) for x in TRUTH.batches(33)(start))  # noqa: E731
        note(nan=refused(lambda: fit(concept_model(CONCEPTS["l1"]), broken, TRAINING, ranks=ranks)))
        table = CONCEPTS["l1"] | {"sparsity": 0.3 + rank}
        note(differs=refused(lambda: fit_and_leave(ranks, table)))
    with join(rank, 2, second, timeout=120) as ranks:
        die = (lambda row: os.kill(os.getpid(), signal.SIGKILL)) if rank == 1 else None
        note(died=refused(lambda: train_concepts("lcblm", ranks, folder=folder / "killed", progress=die)))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
