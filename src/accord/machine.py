"""What this machine has left: memory, and room on its disks."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of the container that this process is in


def free_disk(folder: Path) -> int:
    """Bytes that are free on the disk of a folder, which need not be there yet."""
    return shutil.disk_usage(standing(folder)).free


def may_write(folder: Path) -> bool:
    """Whether a folder, which need not be there yet, may be written into, or made."""
    there = standing(folder)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def standing(folder: Path) -> Path:
    """The folder, or the nearest around it that is there.

    >>> standing(Path("/no/such/folder")).as_posix()
    '/'
    """
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def free_memory(device: str = "auto") -> int:
    """Bytes that programs can still take, swap included: of main memory, or of the GPU that a device names.

    Raises AccordError if there is no such device.
    """
    import psutil

    from accord.lm.opening import pick_device

    where = pick_device(device)
    if where.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(where)[0])
    free = int(psutil.virtual_memory().available + psutil.swap_memory().free)
    with suppress(OSError, ValueError):  # no container, or no limit
        free = min(free, int(_LIMIT.read_text()))
    return free
