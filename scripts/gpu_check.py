"""Is this card right, and is it fast? One table: its numbers beside the CPU's, and each speed beside what it could be.

    python scripts/gpu_check.py FOLDER [--device cuda] [--small]

FOLDER has a model as transformers saves it, small enough to be read on the CPU too; nothing is fetched. Speeds are of a
random Llama of 7 billion parameters, made in memory with that folder's tokenizer, and of concept models on random rows.
Each has beside it, measured in the same run:

- floor: the work that cannot be left out, alone: one pass over the needed tokens, or a concept model's product of the
  encoder in bfloat16 with the optimiser's pass over the weights;
- plain: the same result in the usual way: padded batches, dense products under torch.compile, transformers' own.

It ends within five minutes on one card of 80 GB; what is not reached by then is named. `--small` is a dry run of all of
it with tiny sizes, on a CPU too, whose speeds mean nothing.
"""

import argparse
import platform
import sys
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from gpu_concepts import kind_speed, loss_kept, topk_speed
from gpu_language import aligning, extraction, random_llama, right_numbers, sampling, scoring
from gpu_measured import FULL, SMALL, Check
from rich.console import Console
from rich.table import Table

from accord.lm import Backbone


def named(device: torch.device) -> str:
    """Card, driver and versions."""
    card = platform.processor() or platform.machine()
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        card = f"{about.name}, {about.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
        driver = Path("/proc/driver/nvidia/version")
        if driver.exists():
            card += f", {driver.read_text().splitlines()[0].strip()}"
    python = f"Python {platform.python_version()}"
    return f"{card}; torch {torch.__version__}, transformers {transformers.__version__}, {python}"


def show(check: Check) -> bool:
    """Print what was found; whether all numbers are right."""
    console = Console(width=140)
    table = Table("right numbers: device beside CPU", "largest difference", "allowed", "")
    for what, apart, allowed in check.right:
        table.add_row(what, f"{apart:.1e}", f"{allowed:.0e}", "holds" if apart <= allowed else "NO")
    console.print(table)
    table = Table("speed", "accord, a second", "of the floor", "times plain", "wanted on an H100 or H200")
    for what, ours, floor, plain, wanted in check.speeds:
        share = "" if np.isnan(floor) else f"{ours / floor:.2f}"
        table.add_row(what, f"{ours:,.0f}", share, f"{ours / plain:.2f}", wanted)
    console.print(table)
    for line in check.missed:
        console.print(f"not measured: {line}")
    console.print(f"{named(check.device)}; {time.monotonic() - check.begun:.0f} s")
    return all(apart <= allowed for _, apart, allowed in check.right)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    sizes = SMALL if arguments.small else FULL
    check = Check(torch.device(arguments.device), sizes, compiled=not arguments.small)
    check.section("right numbers", lambda: right_numbers(check, arguments.folder))
    for d, size, k, wanted in sizes.topk:
        check.section(f"topk {d}→{size}", lambda d=d, size=size, k=k, w=wanted: topk_speed(check, d, size, k, w))  # type: ignore[misc]
    check.section("losses", lambda: loss_kept(check))
    lm: list[Backbone] = []
    check.section("a random Llama", lambda: lm.append(random_llama(check, arguments.folder)))
    for part in (scoring, extraction, sampling, aligning) if lm else ():
        check.section(part.__name__, lambda part=part: part(check, lm[0]))  # type: ignore[misc]
    lm.clear()
    for kind, (table, wanted) in sizes.kinds.items():
        check.section(kind, lambda kind=kind, table=table, w=wanted: kind_speed(check, kind, table, w))  # type: ignore[misc]
    sys.exit(0 if show(check) else 1)


if __name__ == "__main__":
    main()
