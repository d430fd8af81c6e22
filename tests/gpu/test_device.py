"""What a GPU refuses, takes, and waits for. The simulated device is held to the same tests as the real one."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.waiting import waits

Two = tuple[Tensor, Tensor]
"""A matrix [3, 4] of the device, and a vector [4] of the CPU."""


@pytest.fixture
def two(device: torch.device) -> Two:
    return torch.arange(12.0).reshape(3, 4).to(device), torch.arange(4.0)


REFUSED: dict[str, Callable[[Tensor, Tensor], object]] = {
    "a sum": lambda there, here: there + here,
    "a sum the other way": lambda there, here: here + there,
    "a number of the device in a sum": lambda there, here: here * there[0, 0],
    "a product": lambda there, here: there @ here,
    "an index of the device": lambda there, here: here[there[0].long()],
    "a mask of the device": lambda there, here: here[there[0] > 1],
    "a place of the device": lambda there, here: here.index_put_((there[0, :1].long(),), here[:1]),
    "values of the CPU": lambda there, here: there.index_put_((torch.tensor([1]),), here[None]),
    "numbers joined": lambda there, here: torch.stack([there[0, 0], here[0]]),
    "rows joined": lambda there, here: torch.cat([there[0], here]),
    "gathered": lambda there, here: there.gather(1, torch.zeros(3, 1, dtype=torch.long)),
    "selected": lambda there, here: there.index_select(0, torch.tensor([1])),
    "embedded": lambda there, here: torch.nn.functional.embedding(torch.tensor([1]), there),
    "added in place to a number": lambda there, here: here[0].add_(there[0, 0]),
    "as numpy": lambda there, here: there.numpy(),
    "a generator of the CPU": lambda there, here: torch.rand(3, device=there.device, generator=torch.Generator()),
    "a generator of the device": lambda there, here: torch.rand(3, generator=torch.Generator(there.device)),
}
TAKEN: dict[str, Callable[[Tensor, Tensor], object]] = {
    "a number of the CPU": lambda there, here: there * here[1],
    "an index of the CPU": lambda there, here: there[torch.tensor([2, 0])],
    "a mask of the CPU": lambda there, here: there[torch.tensor([True, False, True])],
    "a number put by an index of the CPU": lambda there, here: there.index_put_((torch.tensor([1]),), here[1]),
    "a copy": lambda there, here: there[0].copy_(here),
    "a copy back": lambda there, here: here.copy_(there[0]),
    "a generator": lambda there, here: torch.rand(3, device=there.device, generator=torch.Generator(there.device)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused(what: str, two: Two) -> None:
    with pytest.raises((RuntimeError, TypeError)):
        REFUSED[what](*two)


@pytest.mark.parametrize("what", TAKEN)
def test_what_is_taken(what: str, two: Two) -> None:
    TAKEN[what](*two)


def test_tokens_taken_by_rows_that_changed(device: torch.device) -> None:
    """How an explanation failed on a GPU: `last` was made of token ids on the CPU, `which` on the device."""
    last, states = torch.tensor([[5], [7], [9]]), torch.ones(3, 4, device=device)
    which = (states != torch.tensor([1.0, 0.0, 1.0], device=device)[:, None]).any(-1).nonzero().flatten()
    with pytest.raises(RuntimeError, match="indices should be either on"):
        last[which]
    assert last.to(device)[which.cpu()].tolist() == [[7]]


WAITED: dict[str, Callable[[Tensor, Tensor], object]] = {
    "a number read": lambda there, here: there[0, 0].item(),
    "a truth read": lambda there, here: bool((there > 1).any()),
    "a list": lambda there, here: there.tolist(),
    "a copy to the CPU": lambda there, here: there.cpu(),
    "a copy from the CPU": lambda there, here: here.to(there.device),
    "made of a list": lambda there, here: torch.tensor([1, 2], device=there.device),
    "indexed by a list": lambda there, here: there[[2, 0]],
    "a mask": lambda there, here: there[there > 1],
    "places": lambda there, here: there.nonzero(),
    "equality": lambda there, here: torch.equal(there, there + 0),
}
UNTIED: dict[str, Callable[[Tensor, Tensor], object]] = {
    "arithmetic": lambda there, here: (there * 2 + here[1]).softmax(-1).sum(),
    "made there": lambda there, here: torch.arange(3, device=there.device),
    "indexed there": lambda there, here: there[torch.arange(2, device=there.device)],
    "a slice": lambda there, here: there[1:, None],
    "another type": lambda there, here: there.to(torch.float64),
    "chosen by a mask": lambda there, here: torch.where(there > 1, there, 0.0),
    "a number put by a mask": lambda there, here: there.__setitem__(there > 1, 0.0),
    "the largest": lambda there, here: there.topk(2).values,
}


@pytest.mark.parametrize("what", WAITED)
def test_what_is_waited_for(what: str, two: Two) -> None:
    with waits(two[0].device) as seen:
        WAITED[what](*two)
    assert seen.total() >= 1


@pytest.mark.parametrize("what", UNTIED)
def test_what_is_not_waited_for(what: str, two: Two) -> None:
    with waits(two[0].device) as seen:
        UNTIED[what](*two)
    assert seen.total() == 0
