"""Ray, started on this machine for one run, or a cluster of it that is there already."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from accord.cluster.config import MachinesSection
from accord.cluster.room import this_machine
from accord.errors import AccordError, MissingLibrary

_STORE = 80 * 2**20  # bytes for objects that workers share: they share none, and Ray takes no less
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_worker_niceness": "0",  # else workers wait for whatever else the machine does, as no serial run would
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a worker without a card is told so by `ray_pool`
}
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # Ray then listens on 127.0.0.1 alone, on Linux too


def import_ray(*, alone: bool = False) -> Any:
    """The library. Raises MissingLibrary where it is not installed.

    Args:
        alone: it is to run on this machine alone, which it must know when it is imported first.
    """
    os.environ.update({**_SETTINGS, **(_LOOPBACK if alone else {})})
    try:
        return import_module("ray")
    except ImportError as error:
        problem = "The engine on several workers needs Ray, which is not installed."
        raise MissingLibrary(problem, got=error, fix="pip install 'accord[ray]'") from None


@contextmanager
def connected(machines: MachinesSection) -> Iterator[Any]:
    """Ray, started or connected to; left, or ended, when done. Raises AccordError if that is not possible."""
    ray = import_ray(alone=not machines.address)
    if ray.is_initialized():
        raise AccordError("Ray runs in this process already.", fix="end it first: ray.shutdown()")
    heard = signal.getsignal(signal.SIGTERM)
    try:
        _connect(ray, machines)
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, heard)  # Ray has put a handler of its own in place of accord's
        yield ray
    finally:
        ray.shutdown()


def _connect(ray: Any, machines: MachinesSection) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    logging.getLogger("ray").setLevel(logging.ERROR)  # what it advises would stand between lines of progress
    try:
        if machines.address:
            ray.init(address=machines.address, **quiet)
            return
        here = this_machine(machines)
        takes = {"num_cpus": here["CPU"], "_memory": here["memory"], "object_store_memory": _STORE}
        ray.init(address="local", include_dashboard=False, **takes, **quiet)
    except Exception as error:  # of every kind, and some of none
        got = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if machines.address:
            fix = "start it: ray start --head; or leave the address out, and Ray starts on this machine"
            raise AccordError("No Ray cluster answers there.", where=machines.address, got=got, fix=fix) from error
        raise AccordError("Ray does not start on this machine.", got=got) from error
