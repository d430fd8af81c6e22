"""What this machine has left of memory."""

from contextlib import suppress
from pathlib import Path

_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of the container that this process is in


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
