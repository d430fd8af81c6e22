"""Both forms of 200 hypernymy items, scored three ways in one run: seconds, ratios, largest difference.

    python benchmarks/gap.py [--model smollm2-135m] [--items 200] [--device cuda]

- ours: `accord.score`;
- one at a time: a forward pass a prompt and log-softmax over every position, as the reference code of the gap does;
- lm-evaluation-harness: `HFLM.loglikelihood` on the same model object (needs `pip install 'accord[bench]'`).
"""

import argparse
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import accord
from accord.lm import load
from accord.lm.encoding import encode_answer

Pair = tuple[str, str]


def requests(task: accord.Task) -> list[Pair]:
    """(prompt, continuation): the generator's answer, and both answers of the validator."""
    pairs = []
    for item in task.items:
        generator, validator = task.prompts(item)
        pairs += [(generator, item.answer), (validator, "Yes"), (validator, "No")]
    return pairs


def ours(lm: accord.Backbone, pairs: list[Pair]) -> NDArray[np.float64]:
    encoded = [encode_answer(lm.tokenizer, *pair) for pair in pairs]
    scored = accord.score(lm, [accord.Query(context, (answer,)) for context, answer in encoded])
    return np.array([score.total[0] for score in scored])


@torch.no_grad()
def one_at_a_time(lm: accord.Backbone, pairs: list[Pair]) -> NDArray[np.float64]:
    """A forward pass for every distinct prompt with its answer; Yes and No are read from one pass."""
    totals: dict[Pair, float] = {}
    for i in range(0, len(pairs), 3):
        for group in (pairs[i : i + 1], pairs[i + 1 : i + 3]):
            encoded = [encode_answer(lm.tokenizer, *pair) for pair in group]
            context, first = encoded[0]
            ids = torch.tensor([context + first], device=lm.device)
            logp = lm.model(ids, use_cache=False).logits.float().log_softmax(-1)[0]
            for pair, (_, answer) in zip(group, encoded, strict=True):
                places = range(len(context) - 1, len(context) - 1 + len(answer))
                totals[pair] = sum(float(logp[place, token]) for place, token in zip(places, answer, strict=True))
    return np.array([totals[pair] for pair in pairs])


def harness(lm: accord.Backbone, pairs: list[Pair], batch_size: int) -> NDArray[np.float64]:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, batch_size=batch_size, device=str(lm.device))
    instances = [
        Instance(request_type="loglikelihood", doc={}, arguments=(prompt, " " + answer), idx=i)
        for i, (prompt, answer) in enumerate(pairs)
    ]
    return np.array([result[0] for result in model.loglikelihood(instances, disable_tqdm=True)])


def timed(run: Callable[[], NDArray[np.float64]], repeats: int = 2) -> tuple[float, NDArray[np.float64]]:
    """Seconds of the fastest of some runs, so that the first one's warm-up and a busy moment don't count."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        values = run()
        seconds.append(time.perf_counter() - start)
    return min(seconds), values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=16, help="of the harness")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    arguments = parser.parse_args()
    lm = load(arguments.model, device=arguments.device)
    pairs = requests(accord.task("hypernymy", split="all", limit=arguments.items))
    ways: dict[str, Callable[[], NDArray[np.float64]]] = {
        "accord": lambda: ours(lm, pairs),
        "one at a time": lambda: one_at_a_time(lm, pairs),
    }
    try:
        import lm_eval  # noqa: F401
    except ImportError:
        print("lm-evaluation-harness is not installed: pip install 'accord[bench]'")
    else:
        ways[f"lm-evaluation-harness {version('lm_eval')}"] = lambda: harness(lm, pairs, arguments.batch_size)
    results = {name: timed(run) for name, run in ways.items()}
    on = f"{lm.device}, {lm.dtype}, torch {torch.__version__}, transformers {transformers.__version__}"
    table = Table(
        "way", "seconds", "times ours", "largest difference", title=f"{arguments.items} items, {lm.name}, {on}"
    )
    base, reference = results["accord"][0], results["one at a time"][1]
    for name, (seconds, values) in results.items():
        difference = float(np.abs(values - reference).max())
        table.add_row(name, f"{seconds:.1f}", f"{seconds / base:.1f}", f"{difference:.1e}")
    Console().print(table)


if __name__ == "__main__":
    main()
