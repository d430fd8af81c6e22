"""A worker that is an actor of Ray."""

import os
from pathlib import Path

from accord import disk
from accord.cluster.worker import Briefing, Worker

_FOLDERS = ("ACCORD_HOME", "HF_HOME")  # where what is fetched lies


class RayWorker(Worker):
    """A worker in a process of its own."""

    def __init__(self, name: str, told: Briefing) -> None:
        super().__init__(name, told)
        # Ray calls methods in another thread than the main one, which no interrupt reaches.
        disk.stop = lambda: os._exit(1)

    def free_address(self) -> str:
        """HOST:PORT of this machine as the others reach it, with a port that is free."""
        import ray

        from accord.ranks import free_address

        return free_address(ray.util.get_node_ip_address())


def environment(threads: int) -> dict[str, str]:
    """The variables that a worker has beyond those of the Ray that starts it.

    Libraries compute with so many threads, and as quietly as the command line has them. What is fetched lies where it
    does for the command, if that was told. No keys and tokens are among them: Ray would keep them in its logs.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    quiet = {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    folders = {name: str(Path(os.environ[name]).expanduser().absolute()) for name in _FOLDERS if os.environ.get(name)}
    return {**dict.fromkeys(names, str(threads)), **quiet, **folders}
