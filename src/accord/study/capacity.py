"""Whether this machine can hold what a run takes: told before anything is fetched or made, not an hour in."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from accord.amounts import in_bytes
from accord.cache import cache_root
from accord.disk import free_disk, may_write, standing
from accord.errors import AccordError
from accord.machine import free_memory, in_words, rooms
from accord.study.config import together
from accord.study.stage import Needs, Stage

_NAMED = 3  # stages that an error names


def check_downloads(downloads: Mapping[str, Callable[[], tuple[int, Path]]]) -> None:
    """AccordError if a disk cannot hold what is to be fetched onto it: name -> its bytes and its folder."""
    disks: dict[Path, dict[str, int]] = defaultdict(dict)
    for name, size in downloads.items():
        needed, folder = size()
        disks[folder][name] = needed
    problems = []
    for folder, sizes in disks.items():
        needed, free = sum(sizes.values()), free_disk(folder)
        if needed > free:
            variable = "ACCORD_HOME" if folder.is_relative_to(cache_root()) else "HF_HOME"
            problem = f"What is to be fetched needs about {in_bytes(needed)} in {folder}, {in_bytes(free)} are free."
            fix = f"free some, or set {variable} to a folder on another disk"
            problems.append(AccordError(problem, got=_largest(sizes), fix=fix))
    if problems:
        raise together(problems, None)


def check_capacity(stages: Sequence[Stage], folder: Path, device: str | None, least: Callable[[], int] = int) -> None:
    """AccordError if memory or disk of this machine cannot suffice for making stages, or the device is not there.

    Args:
        stages: those that are to be made.
        folder: the run folder, which need not be there yet.
        device: of the backbone, as the study names it; None where other machines make them, and only the disk counts.
        least: gives the bytes of memory that the backbone takes.
    """
    if not stages:
        return
    needs = {stage.name: stage.needs() for stage in stages}
    problems, always = [], 0 if device is None else least()
    name, most = largest_need(needs, always)
    bounded = None if device is None or "disk" in device.split(",") else device  # on the disk, what does not fit stays
    if bounded is not None and most > (free := free_memory(bounded)):
        shared = rooms(bounded)
        has = f"{in_bytes(free)} are free" if len(shared) == 1 else f"{in_words(shared)} are free for weights"
        problem = f"{name} needs about {in_bytes(most)} of memory, {has}."
        fix = 'close other programs, take a smaller model or dtype = "bfloat16", or make what it trains smaller'
        fix += "" if device in ("cpu", "mps") else '; or let weights lie elsewhere, which is slow: device = "auto,cpu"'
        problems.append(AccordError(problem, where=f"device {device}", fix=fix))
    sizes = {name: need.disk for name, need in needs.items()}
    total = sum(sizes.values()) + max(need.passing for need in needs.values())
    if total > (free := free_disk(folder)):
        problem = f"This run needs about {in_bytes(total)} in {folder}, {in_bytes(free)} are free."
        fix = "free some, name a folder on another disk with --out, or keep less: max_tokens and dtype of [text]"
        problems.append(AccordError(problem, got=_largest(sizes), fix=fix))
    if problems:
        raise together(problems, None)


def largest_need(needs: Mapping[str, Needs], least: int) -> tuple[str, int]:
    """The stage that takes most memory at once, and how many bytes; `least` is what each takes."""
    return max(((name, max(need.memory, least)) for name, need in needs.items()), key=lambda each: each[1])


def check_may_write(folder: Path) -> None:
    """AccordError if a run folder, which need not be there yet, cannot be written."""
    if not may_write(folder):
        fix = "name another folder with --out, or ask whoever owns this one"
        raise AccordError("This folder may not be written.", where=standing(folder), fix=fix)


def _largest(sizes: Mapping[str, int]) -> str:
    """What takes most, in words."""
    names = sorted((name for name in sizes if sizes[name]), key=lambda name: -sizes[name])
    words = [f"{name} {in_bytes(sizes[name])}" for name in names[:_NAMED]]
    return ", ".join(words) + (f", and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
