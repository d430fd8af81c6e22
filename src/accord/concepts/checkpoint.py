"""Checkpoints of a training: whole or absent, and enough to go on with the same final bits.

A checkpoint is a folder `step-00001234` with the model's and the optimiser's tensors (safetensors) and a JSON
state. It is written aside under a dotted name, flushed, hashed (see `accord.unfinished`), and renamed: a kill at any
moment leaves the last whole one, and one that was damaged since is not gone on from. Nothing is pickled.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from accord.disk import sync
from accord.errors import AccordError
from accord.ranks import Ranks
from accord.unfinished import discard, is_intact, kept

Best = Mapping[str, Tensor]

_BACK = "put the setting back, or train in a new folder"


class Trainee(Protocol):
    """What is trained: a concept model, a head, or the weights of a language model that a repair may change."""

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """Its weights that learn, by name."""
        ...

    def state_dict(self) -> Mapping[str, Tensor]:
        """All that a checkpoint must keep of it."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> Any:
        """Take the tensors that `state_dict` gave."""
        ...


@dataclass
class State:
    """What a training needs to go on, beside tensors."""

    settings: dict[str, Any]  # of the model and the training: a checkpoint of others is refused
    step: int  # steps done
    rows: list[dict[str, float]]  # the curve so far
    best_value: float | None = None
    stale: int = 0  # evaluations since best_value
    memory: dict[str, Any] = field(default_factory=dict)  # what the data of later steps depend on, as JSON


def write_checkpoint(
    folder: Path, model: Trainee, optimizer: torch.optim.Optimizer, state: State, best: Best | None
) -> None:
    """Publish a checkpoint in `folder`, then drop the older ones."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{state.step:08d}"
    if final.exists():
        return
    with kept(final, folder=True) as partial:
        save_tensors(model.state_dict(), partial / "model.safetensors")
        save_tensors(_moments(model, optimizer), partial / "optimizer.safetensors")
        if best is not None:
            save_tensors(best, partial / "best.safetensors")
        (partial / "state.json").write_text(json.dumps(vars(state)), encoding="utf-8")
    sync(folder)
    for older in folder.glob("step-*"):
        if not older.name.startswith(final.name):
            shutil.rmtree(older) if older.is_dir() else older.unlink()


def read_checkpoint(
    folder: Path, model: Trainee, optimizer: torch.optim.Optimizer, settings: dict[str, Any]
) -> tuple[State, Best | None] | None:
    """Load the newest whole checkpoint in `folder` into model and optimiser; None where there is none.

    Those that are damaged are thrown away.

    Raises AccordError if it belongs to a training with other settings, or no model of these settings fits it.
    """
    for newest in sorted((path for path in folder.glob("step-*") if path.is_dir()), reverse=True):
        if not is_intact(newest):
            discard(newest)
            continue
        try:
            return _read(newest, model, optimizer, settings)
        except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
            fix = "remove this folder: training then starts anew"
            raise AccordError("a checkpoint cannot be read", where=newest, got=str(error), fix=fix) from None
    return None


def begin_alike(
    ranks: Ranks, begun: tuple[State, Best | None], model: Trainee, optimizer: torch.optim.Optimizer
) -> tuple[State, Best | None]:
    """Rank 0's weights, moments, state and best, for every rank to go on from; `begun` counts on rank 0 alone.

    Raises AccordError where the settings of this rank are not those of rank 0.
    """
    state, best = begun
    moments = _moments(model, optimizer)
    shapes = {key: [str(t.dtype).removeprefix("torch."), list(t.shape)] for key, t in moments.items()}
    told, shapes, has_best = ranks.told([vars(state), shapes, best is not None])
    _same_settings(
        told["settings"],
        json.loads(json.dumps(state.settings)),
        "rank 0",
        "the training of rank 0 has",
        "give every rank the same",
    )
    ranks.same(model.state_dict().values())
    if ranks.rank > 0:
        device = model.device
        moments = {
            key: torch.empty(shape, dtype=getattr(torch, dtype), device=device)
            for key, (dtype, shape) in shapes.items()
        }
    ranks.same(moments.values())
    _set_moments(model, optimizer, moments)
    if has_best:
        best = best or {name: tensor.clone() for name, tensor in model.state_dict().items()}
        ranks.same(best.values())
    return State(**told), best


def _read(
    folder: Path, model: Trainee, optimizer: torch.optim.Optimizer, settings: dict[str, Any]
) -> tuple[State, Best | None]:
    state = State(**json.loads((folder / "state.json").read_text(encoding="utf-8")))
    _same_settings(state.settings, settings, folder, "the checkpoint was made with", _BACK)
    device = model.device
    model.load_state_dict(load_file(folder / "model.safetensors", device=str(device)))
    _set_moments(model, optimizer, load_file(folder / "optimizer.safetensors"))
    best = folder / "best.safetensors"
    return state, load_file(best, device=str(device)) if best.exists() else None


def _same_settings(saved: dict[str, Any], now: dict[str, Any], where: object, whose: str, fix: str) -> None:
    for key in sorted(saved.keys() | now.keys()):
        if saved.get(key) != now.get(key):
            raise AccordError(
                f"{whose} another {key}",
                where=where,
                got=saved.get(key),
                wanted=now.get(key),
                fix=fix,
            )


def _set_moments(model: Trainee, optimizer: torch.optim.Optimizer, saved: Mapping[str, Tensor]) -> None:
    for name, parameter in model.named_parameters():
        moments = {key.rpartition("/")[2]: t for key, t in saved.items() if key.rpartition("/")[0] == name}
        optimizer.state[parameter] = {key: t.to(parameter.device) for key, t in moments.items()}


def _moments(model: Trainee, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": tensor
        for name, parameter in model.named_parameters()
        for key, tensor in optimizer.state.get(parameter, {}).items()
    }


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file of tensors on any device."""
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, path)
