"""Seconds of one RankAlign update on few-shot prompts, two ways in one run, with the loss that each of them found.

    python benchmarks/repair.py [--model smollm2-135m] [--items 24] [--updates 3] [--device cuda]

- ours: `accord.repair.scores.backward`, the shared examples passed once, logits only where they are read;
- padded pairs, as the reference recipe of RankAlign does: the whole prompts of the higher items padded to one batch,
  those of the lower ones to another, logits everywhere.

Both learn the same pairs, each item in one of them, so that the padded way passes no prompt twice. Ours could learn
all ordered pairs of the batch for the same price. The adapter is the default one, without dropout; only the pass
forward and back is timed, since what the optimiser does is the same.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import peft
import torch
import transformers
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import softplus

import accord
from accord.repair.config import RankAlign
from accord.repair.lora import ModelInTraining, trainable
from accord.repair.method import TaskPairs, frozen
from accord.repair.scores import Pair, backward


def ours(trainee: ModelInTraining, higher: Sequence[Pair], lower: Sequence[Pair]) -> float:
    def loss(scores: Tensor) -> dict[str, Tensor]:
        above, below = torch.split(scores, len(higher))
        return {"loss": softplus(below - above).mean()}

    return float(backward(trainee.lm, [*higher, *lower], loss)["loss"])


def padded(trainee: ModelInTraining, higher: Sequence[Pair], lower: Sequence[Pair]) -> float:
    loss = softplus(_logprobs(trainee, lower) - _logprobs(trainee, higher)).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())


def _logprobs(trainee: ModelInTraining, pairs: Sequence[Pair]) -> Tensor:
    """log p of each answer, from one pass over whole prompts, padded on the right under a mask."""
    rows = [pair.context + pair.answer for pair in pairs]
    width = max(map(len, rows))
    ids = torch.tensor([row + (0,) * (width - len(row)) for row in rows], device=trainee.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=trainee.device)
    logp = trainee.lm.model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float().log_softmax(-1)
    return torch.stack(
        [
            torch.stack([logp[i, len(pair.context) + j - 1, token] for j, token in enumerate(pair.answer)]).sum()
            for i, pair in enumerate(pairs)
        ]
    )


def timed(run: Callable[[], float], updates: int) -> tuple[float, float]:
    """Seconds of the fastest update, so that the warm-up and a busy moment don't count, and the loss."""
    seconds = []
    for _ in range(updates):
        start = time.perf_counter()
        loss = run()
        seconds.append(time.perf_counter() - start)
    return min(seconds), loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--items", type=int, default=24)
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    arguments = parser.parse_args()
    lm = accord.load(arguments.model, device=arguments.device)
    task = accord.task("hypernymy", split="train", limit=arguments.items // 2 * 2)
    asked = TaskPairs.of(lm, task)
    said = frozen(lm, [asked.generator(item, "first") for item in task.items])
    order = sorted(range(len(said)), key=lambda i: -said[i])
    pairs = [asked.validator(task.items[i]) for i in order]
    higher, lower = pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]
    with trainable(lm, RankAlign(), 0) as trainee:
        ways = {"accord": ours, "padded pairs": padded}
        results = {
            name: timed(lambda way=way: way(trainee, higher, lower), arguments.updates)  # type: ignore[misc]
            for name, way in ways.items()
        }
    on = f"{lm.device}, torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}"
    table = Table("way", "seconds an update", "times ours", "loss", title=f"{len(higher)} pairs, {lm.name}, {on}")
    for name, (seconds, loss) in results.items():
        table.add_row(name, f"{seconds:.2f}", f"{seconds / results['accord'][0]:.1f}", f"{loss:.6f}")
    Console().print(table)


if __name__ == "__main__":
    main()
