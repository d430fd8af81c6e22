"""Steps of equal phases do the same: what a GPU was told of one may stand for another."""

from typing import Any

import pytest
import torch
from tests.gpu.test_concepts import TABLES, rows_for
from torch.utils._python_dispatch import TorchDispatchMode

from accord.concepts import Step, build, read_config


class Told(TorchDispatchMode):
    """All that a device is told to do: operations, with shapes of tensors and everything else that they are given."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.told.append((str(func), _shape(args), _shape(kwargs or {})))
        return func(*args, **(kwargs or {}))


def _shape(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), str(value.dtype)
    if isinstance(value, list | tuple):
        return [_shape(each) for each in value]
    if isinstance(value, dict):
        return {key: _shape(each) for key, each in value.items()}
    return None if isinstance(value, torch.Generator) else value


@pytest.mark.parametrize("kind", TABLES)
def test_steps_of_a_phase_do_the_same(kind: str) -> None:
    table = {"kind": kind, **TABLES[kind]} | ({"forming": 0.3} if kind == "lcblm" else {})
    model = build(read_config(table), 12, seed=3).train()
    generator, by_phase = torch.Generator(), dict[Any, list[Any]]()
    rows = torch.randn(32, 12, generator=generator.manual_seed(0))
    for index in range(40):
        if index == 30 and "k" in table:
            model.idle[:3] = 10**6  # three die, of which some may fire again
        step = Step(index, 40, generator.manual_seed(index))
        phase = model.phase(step)
        with Told() as seen:
            terms = model.loss(rows_for(kind, rows), step)
            torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)
        model.after_step(32)
        by_phase.setdefault(phase, []).append(seen.told)
    assert max(map(len, by_phase.values())) > 5
    for phase, told in by_phase.items():
        assert all(each == told[0] for each in told), phase
    assert None not in by_phase


@pytest.mark.parametrize("kind", ["topk", "l1", "lcblm"])
def test_other_phases_do_something_else(kind: str) -> None:
    """So that the test above would notice a phase that says too little."""
    table = {"kind": kind, **TABLES[kind]} | ({"warmup": 0.5} if kind != "topk" else {})
    model, seen = build(read_config(table), 12, seed=3).train(), []
    rows = torch.randn(32, 12, generator=torch.Generator().manual_seed(0))
    for index in (1, 20):
        if index == 20 and kind == "topk":
            model.idle[:3] = 10**6
        step = Step(index, 40, torch.Generator().manual_seed(0))
        phase = model.phase(step)
        with Told() as told:
            model.loss(rows, step)
        seen.append((phase, told.told))
    assert seen[0][0] != seen[1][0] and seen[0][1] != seen[1][1]
