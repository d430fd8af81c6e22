"""What scripts/gpu_check.py measures with: sizes, a clock that waits for the device, what was found."""

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
LATEST = 240.0  # seconds after which nothing new is begun


@dataclass
class Sizes:
    """How large everything is."""

    topk: list[tuple[int, int, int, float]]  # width, concepts, k, wanted rows a second
    kinds: dict[
        str, tuple[dict[str, Any], float]
    ]  # kind -> its table, wanted rows a second; 0: 1.3 times the plain way
    width: int  # of those kinds
    batch: int
    steps: int
    llama: dict[str, int]
    items: int
    texts: int
    written: tuple[int, int]  # texts, tokens of each
    aligned: int  # items of an update


FULL = Sizes(
    topk=[(576, 4096, 32, 3.5e6), (2048, 32_768, 64, 9e5), (4096, 65_536, 64, 2.4e5)],
    kinds={
        "lcblm": ({"concepts": 512, "width": 32}, 9e5),
        "lcblm-shared": ({"concepts": 512, "width": 32}, 0),
        "batchtopk": ({"size": 16_384, "k": 64}, 0),
        "l1": ({"size": 16_384}, 0),
        "bernoulli": ({"size": 16_384}, 0),
        "matryoshka": ({"size": 16_384, "k": 64}, 0),
        "jumprelu": ({"size": 16_384}, 0),
    },
    width=2048,
    batch=4096,
    steps=60,
    llama=dict(hidden_size=4096, intermediate_size=11_008, num_hidden_layers=32, num_attention_heads=32),
    items=1000,
    texts=400,
    written=(32, 64),
    aligned=48,
)
SMALL = Sizes(
    topk=[(16, 64, 4, 0)],
    kinds={
        "batchtopk": ({"size": 64, "k": 4}, 0),
        "matryoshka": ({"size": 64, "k": 4}, 0),
        "jumprelu": ({"size": 64}, 0),
        "l1": ({"size": 64}, 0),
        "bernoulli": ({"size": 64}, 0),
        "lcblm": ({"concepts": 8, "width": 4}, 0),
        "lcblm-shared": ({"concepts": 8, "width": 4}, 0),
    },
    width=16,
    batch=64,
    steps=6,
    llama=dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4),
    items=12,
    texts=8,
    written=(2, 4),
    aligned=8,
)


@dataclass
class Check:
    """A run of the check: where, how large, and what it found."""

    device: torch.device
    sizes: Sizes
    compiled: bool
    begun: float = field(default_factory=time.monotonic)
    right: list[tuple[str, float, float]] = field(default_factory=list)  # what, largest difference, allowed
    speeds: list[tuple[str, float, float, float, str]] = field(default_factory=list)  # what, ours, floor, plain, wanted
    missed: list[str] = field(default_factory=list)

    def section(self, title: str, run: Callable[[], None]) -> None:
        """Run a part of the check, if there is time left; out of memory ends that part alone."""
        if time.monotonic() - self.begun > LATEST:
            self.missed.append(f"{title}: no time left")
            return
        try:
            run()
        except torch.OutOfMemoryError:
            self.missed.append(f"{title}: out of memory")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def seconds(self, run: Callable[[], object], rounds: int = 2) -> float:
        """Of the fastest run, once the device is done."""
        best = float("inf")
        for _ in range(rounds):
            self.wait()
            begun = time.perf_counter()
            run()
            self.wait()
            best = min(best, time.perf_counter() - begun)
        return best

    def wait(self) -> None:
        """Until the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def benchmark(name: str) -> Any:
    """A file of benchmarks/, whose ways to do the same are measured here too."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", ROOT / "benchmarks" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
