"""Ranks: processes on one machine or several that train one model together, each on its own rows of every batch.

They meet at an address that rank 0 keeps (`join`), over torch.distributed: gloo between CPUs, NCCL between cards. Every
rank has the same weights and draws the same batches; what is of a whole batch is reduced over all of them (`sum`,
`most`, `gather`), and what one alone may decide is decided by rank 0 (`told`, `same`).

Each rank gives signs of life where they met. When one dies, the others' next reduction fails: those who are left end
with a `RankLost` that names it.
"""

import json
import math
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from accord.arguments import checked
from accord.errors import AccordError

_BEAT = 0.5  # seconds between two signs of life
_LISTEN = 8 * _BEAT  # without one for so long, a rank is dead
_LINGER = 3 * _LISTEN  # that rank 0 keeps the meeting place open at most, once it leaves
_GLOO = "GLOO_SOCKET_IFNAME"
_ADDRESS_OF = 0x8915  # SIOCGIFADDR of Linux, see netdevice(7)
_AGAIN = "run it again: training goes on from its last checkpoint"


class RankLost(AccordError):
    """Another rank died, or stopped with an error: its own, which this one tells. The checkpoints are whole."""


class Ranks:
    """The ranks that train together, as one of them sees it; `join` makes it, and `with` leaves it again.

    Every rank must call the same methods in the same order, with tensors of the same shapes. All raise RankLost if
    a rank does not answer.

    Attributes:
        rank: this one, from 0.
        size: how many there are.
    """

    def __init__(self, rank: int, size: int, store: Store, pulse: Store, *, keeps: bool) -> None:
        """`store` and `pulse` are two ways to where they met; `keeps`: whether that closes with this process."""
        self.rank, self.size = rank, size
        self._store: Store | None = store
        self._keeps = keeps
        self._awaited = set(range(size))  # by rank 0, as it leaves
        self._pulse = _Pulse(pulse, rank)
        self._pulse.start()

    def slice(self, rows: int) -> slice:
        """The rows of a batch of `rows` that are this rank's: in order, and as equal in number as can be."""
        return slice(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of all ranks' tensors, on each of them.

        Its gradient goes to this rank's own tensor as it comes. So where all ranks compute one loss from such sums,
        each has the part of the gradient that its own rows give, and `add_gradients` makes the whole.
        """
        total: Tensor = _Sum.apply(tensor, self)  # type: ignore[no-untyped-call]
        return total

    def most(self, tensor: Tensor) -> Tensor:
        """The largest of all ranks' values, element by element; no gradient."""
        return self._reduced(tensor, dist.ReduceOp.MAX)

    def gather(self, tensor: Tensor) -> Tensor:
        """All ranks' tensors `[size, ...]`, in their order; no gradient."""
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        with self._together():
            dist.all_gather(parts, tensor.detach().contiguous())
        return torch.stack(parts)

    def told(self, value: Any = None) -> Any:
        """What rank 0 calls this with, as JSON: on every rank."""
        text = json.dumps(value).encode() if self.rank == 0 else b""
        length = torch.tensor(len(text))
        self.same([length])
        content = torch.empty(int(length), dtype=torch.uint8)
        if self.rank == 0:
            content = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        self.same([content])
        return json.loads(content.numpy().tobytes())

    @torch.no_grad()
    def same(self, tensors: Iterable[Tensor]) -> None:
        """Give these tensors rank 0's values, in place."""
        for tensor in tensors:
            whole = tensor.detach().contiguous()
            with self._together():
                dist.broadcast(whole, 0)
            tensor.copy_(whole)

    @torch.no_grad()
    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Make every parameter's gradient the sum of all ranks', in one reduction."""
        learning = [parameter for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([parameter.grad.flatten() for parameter in learning if parameter.grad is not None])
        total = self._reduced(flat, dist.ReduceOp.SUM)
        for parameter, part in zip(learning, torch.split(total, [p.numel() for p in learning]), strict=True):
            parameter.grad = part.view_as(parameter).to(parameter)

    def leave(self, error: BaseException | None = None) -> None:
        """Leave the others, who then stop waiting for this rank. With an `error`, they are told it. Twice is once."""
        said = "" if error is None else (str(error).strip() or type(error).__name__).splitlines()[0]
        if self._store is not None and not isinstance(error, RankLost):
            with suppress(RuntimeError):
                self._store.set(f"stopped/{self.rank}", said)
        self._close()

    def __enter__(self) -> "Ranks":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.leave(error)

    def _reduced(self, tensor: Tensor, how: Any) -> Tensor:
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        with self._together():
            dist.all_reduce(total, how)
        return total

    @contextmanager
    def _together(self) -> Iterator[None]:
        """What the ranks do together; RankLost in place of the library's error."""
        if self._store is None:
            raise AccordError("This process has left the ranks.", where=f"rank {self.rank} of {self.size}")
        try:
            yield
        except RuntimeError as error:  # of gloo, NCCL or the meeting place: there is no other type for all of them
            raise self._lost(error) from error

    def _lost(self, error: RuntimeError) -> RankLost:
        """Who is gone, for those who are left; leaves them."""
        why = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        _end_group()  # else others who wait for this rank would wait on
        assert self._store is not None
        try:
            gone = list(self._gone(self._store))
        except RuntimeError:  # where they met is no more
            gone = ["rank 0 is gone: its process died, or its machine cannot be reached"]
        self._close()
        problem = "; ".join(gone) or "The ranks lost each other"
        where = f"rank {self.rank} of {self.size}"
        return RankLost(problem[0].upper() + problem[1:] + ".", where=where, got=why, fix=_AGAIN)

    def _gone(self, store: Store) -> Iterator[str]:
        """A line for every other rank that stopped, or gives no sign of life."""
        others = [rank for rank in range(self.size) if rank != self.rank]
        store.set(f"lost/{self.rank}", "")
        before = [store.add(f"beats/{rank}", 0) for rank in others]
        time.sleep(_LISTEN)
        for rank, beats in zip(others, before, strict=True):
            if store.check([f"stopped/{rank}"]):
                said = store.get(f"stopped/{rank}").decode(errors="replace")
                yield f"rank {rank} stopped" + (f": {said.rstrip('.')}" if said else "")
            elif not store.check([f"lost/{rank}"]) and store.add(f"beats/{rank}", 0) == beats:
                self._awaited.discard(rank)
                yield f"rank {rank} is gone: its process died, or its machine cannot be reached"

    def _close(self) -> None:
        """Close all that is open; rank 0 first lets the others read who left."""
        store, self._store = self._store, None
        if store is None:
            return
        _end_group()
        with suppress(RuntimeError):
            store.set(f"left/{self.rank}", "")
            until = time.monotonic() + (_LINGER if self._keeps else 0.0)
            while time.monotonic() < until and not store.check([f"left/{rank}" for rank in self._awaited]):
                time.sleep(0.05)
        self._pulse.end()


class _Sum(torch.autograd.Function):
    """See `Ranks.sum`."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, ranks: Ranks) -> Tensor:
        return ranks._reduced(tensor, dist.ReduceOp.SUM)

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None]:
        return above[0], None


class _Pulse(threading.Thread):
    """Signs of life, over a connection of its own, as the other one waits while ranks connect."""

    def __init__(self, store: Store, rank: int) -> None:
        super().__init__(daemon=True, name=f"accord rank {rank}")
        self._store, self._rank, self._over = store, rank, threading.Event()

    def run(self) -> None:
        with suppress(RuntimeError):  # where they met is no more: whoever waits for it is told so
            while not self._over.wait(_BEAT):
                self._store.add(f"beats/{self._rank}", 1)

    def end(self) -> None:
        self._over.set()
        self.join()
        del self._store


@checked
def join(
    rank: int | None = None, size: int | None = None, address: str | None = None, *, timeout: float = 600.0
) -> Ranks:
    """Meet the other ranks, and wait until all are there.

    >>> with join(rank=0, size=1, address=free_address()) as ranks:
    ...     ranks.sum(torch.ones(2)), ranks.slice(rows=5)
    (tensor([1., 1.]), slice(0, 5, None))

    Args:
        rank, size, address: which this one is, how many there are, and HOST:PORT of rank 0's machine, a port that is
            free there. Rank 0 listens at this host's address alone, so it must mean there what it means elsewhere: a
            name that its own machine takes for 127.0.0.1 lets no other machine in. Without all three: as `torchrun`
            started this process.
        timeout: seconds after which a rank that did not come, or does not answer, is given up.

    Raises:
        AccordError: a rank did not come; or this process is among ranks already.
    """
    if dist.is_initialized():
        raise AccordError("This process is among ranks already.", fix="leave them first, or start one process a rank")
    if rank is None or size is None or address is None:
        rank, size, address = _as_started()
    if not 0 <= rank < size:
        raise AccordError("There is no such rank.", got=f"rank {rank} of {size}", wanted=f"0 to {size - 1}")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise AccordError("Ranks meet at an address.", got=address, wanted="HOST:PORT of rank 0's machine")
    wait = timedelta(seconds=timeout)
    # torchrun keeps the meeting place itself, and closes it.
    keeps = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    try:
        at = _door(host, int(port)) if keeps else None
        store = TCPStore(host, int(port), is_master=keeps, timeout=wait, wait_for_workers=False, master_listen_fd=at)
        pulse = TCPStore(host, int(port), is_master=False, timeout=wait, wait_for_workers=False)
    except (RuntimeError, OSError) as error:
        who = "rank 0 cannot listen there" if keeps else "rank 0 did not come"
        raise _not_met(who, rank, size, address, timeout, error) from error
    _call_roll(store, rank, size, address, wait)
    # Errors of NCCL end the process, unless who asks for a result waits for it.
    os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        group = PrefixStore("group", store)
        with _gloo_at(host):
            dist.init_process_group(backend, store=group, rank=rank, world_size=size, timeout=wait)
    except RuntimeError as error:
        _end_group()
        raise _not_met("they cannot reach each other", rank, size, address, timeout, error) from error
    return Ranks(rank, size, store, pulse, keeps=keeps)


def free_address(host: str = "127.0.0.1") -> str:
    """HOST:PORT with a port that is free on this machine, for rank 0; `host`: how the others reach it."""
    with socket.socket() as door:
        door.bind(("", 0))
        return f"{host}:{door.getsockname()[1]}"


def _as_started() -> tuple[int, int, str]:
    """Rank, size and address as `torchrun` gives them; this process takes the card that is its own."""
    named = {name: os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}
    if lacking := [name for name, value in named.items() if not value]:
        fix = "start it with torchrun, or name rank, size and address"
        raise AccordError("Nothing says which rank this process is.", got=f"no {', '.join(lacking)}", fix=fix)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return int(named["RANK"]), int(named["WORLD_SIZE"]), f"{named['MASTER_ADDR']}:{named['MASTER_PORT']}"


def _call_roll(store: Store, rank: int, size: int, address: str, wait: timedelta) -> None:
    """Wait for all; AccordError names those who did not come."""
    try:
        store.set(f"here/{rank}", "")
        try:
            store.wait([f"here/{other}" for other in range(size)], wait)
        except RuntimeError as error:
            absent = [str(other) for other in range(size) if not store.check([f"here/{other}"])]
            who = f"rank {', '.join(absent)} did not come"
            raise _not_met(who, rank, size, address, wait.total_seconds(), error) from error
    except RuntimeError as error:
        raise _not_met("rank 0 did not wait", rank, size, address, wait.total_seconds(), error) from error


def _door(host: str, port: int) -> int:
    """A socket that listens at this host's address, and not at all of the machine's, as TCPStore's own does."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server((str(address[0]), port), family=family, backlog=1024).detach()


@contextmanager
def _gloo_at(host: str) -> Iterator[None]:
    """Inside, gloo listens at the network interface by which this machine reaches a host, unless the user names one.

    By itself it takes the one that the machine's own name leads to: on some systems that is 127.0.1.1.
    """
    interface = None if _GLOO in os.environ else _interface(host)
    if interface is None:
        yield
        return
    os.environ[_GLOO] = interface
    try:
        yield
    finally:
        del os.environ[_GLOO]


def _interface(host: str) -> str | None:
    """The network interface by which this machine reaches a host; None where the system does not say (not Linux)."""
    with suppress(ImportError, OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        from fcntl import ioctl

        line.connect((host, 1))  # nothing is sent
        own = socket.inet_aton(line.getsockname()[0])
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # an interface without an address
                if ioctl(line, _ADDRESS_OF, name.encode().ljust(32, b"\0"))[20:24] == own:
                    return name
    return None


def _not_met(who: str, rank: int, size: int, address: str, timeout: float, error: Exception) -> AccordError:
    why = str(error).strip().splitlines()[0][:200]
    return AccordError(
        f"The ranks did not meet: {who}.",
        where=f"rank {rank} of {size} at {address}",
        got=why,
        wanted=f"all within {math.ceil(timeout)} seconds",
        fix="look at the log of that rank, and whether its machine reaches this address",
    )


def _end_group() -> None:
    if dist.is_initialized():
        with suppress(RuntimeError):
            dist.destroy_process_group()
