"""Of scripts/gpu_check.py: a model's numbers beside the CPU's, and how fast it is scored, sampled and repaired."""

import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from gpu_measured import FULL, Check, benchmark
from torch import Tensor

import accord
from accord.gap import measure_gap
from accord.gap.questions import contexts_of
from accord.lm import Backbone, generate
from accord.lm.windows import tokenize
from accord.repair.config import RankAlign
from accord.repair.lora import trainable
from accord.repair.method import TaskPairs
from accord.repair.scores import backward
from accord.text import extract, in_order

NATS = 5e-4  # float32 of a card beside the CPU's


def right_numbers(check: Check, folder: Path) -> None:
    """A model's numbers on the device beside the CPU's, in float32."""
    task = accord.task("hypernymy", limit=min(check.sizes.items, 40))
    models = [accord.load(folder, device=name, dtype="float32") for name in ("cpu", str(check.device))]
    gaps = [measure_gap(lm, task, layers=True, resamples=0) for lm in models]
    for column, what in (("generator_logodds", "l_G"), ("validator_logodds", "l_V")):
        apart = float(np.abs(gaps[0].scores[column] - gaps[1].scores[column]).max())
        check.right.append((f"{what} of {len(task.items)} items, nats", apart, NATS))
    texts = [task.prompts(item)[1] for item in task.items]
    with tempfile.TemporaryDirectory() as where:
        stores = [extract(lm, texts, Path(where) / str(i)) for i, lm in enumerate(models)]
        here, there = (next(in_order(store, lm.n_layers, 4096)).x for store, lm in zip(stores, models, strict=True))
    check.right.append(("embeddings, of their norm", float((here - there).norm() / here.norm()), 1e-4))
    norms = []
    for lm in models:
        asked = TaskPairs.of(lm, task)
        with trainable(lm, RankAlign(dropout=0.0), 0) as trainee:
            backward(trainee.lm, [asked.validator_logodds(item) for item in task.items], _square)
            norms.append(float(sum(float(w.grad.norm()) for w in trainee.weights.values() if w.grad is not None)))
    check.right.append(("gradient of a repair, of its norm", abs(norms[0] - norms[1]) / norms[0], 1e-3))


def _square(scores: Tensor) -> dict[str, Tensor]:
    return {"square": scores.square().mean()}


def random_llama(check: Check, folder: Path) -> Backbone:
    """A Llama with random weights, and the folder's tokenizer."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    vocab = max(len(tokenizer), 32_000 if check.sizes is FULL else 0)
    sizes = {**check.sizes.llama, "num_key_value_heads": check.sizes.llama["num_attention_heads"]}
    config = transformers.LlamaConfig(
        vocab_size=vocab, max_position_embeddings=4096, bos_token_id=1, eos_token_id=2, **sizes
    )
    dtype = torch.bfloat16 if check.device.type == "cuda" else torch.float32
    with torch.device(check.device):
        model = transformers.LlamaForCausalLM._from_config(config, dtype=dtype)
    return Backbone(model.eval(), tokenizer, name="random Llama")


def one_pass(lm: Backbone, tokens: int) -> None:
    """The bare trunk over so many tokens, in rows of 256."""
    trunk = getattr(lm.model, lm.model.base_model_prefix)
    for begin in range(0, tokens, 2**14):
        rows = -(-min(2**14, tokens - begin) // 256)
        trunk(input_ids=torch.full((rows, 256), 5, device=lm.device), use_cache=False)


@torch.no_grad()
def scoring(check: Check, lm: Backbone) -> None:
    """Both forms of many items, without and with all layers, beside left-padded batches of whole prompts."""
    task = accord.task("hypernymy", split="all", limit=check.sizes.items)
    forms = [contexts_of(lm, task, form) for form in ("generator", "validator")]
    needed = len({context[: i + 1] for contexts in forms for context in contexts for i in range(len(context))})
    pad = lm.tokenizer.pad_token_id or 0

    def padded() -> None:
        for contexts in forms:
            for begin in range(0, len(contexts), 128):
                part = contexts[begin : begin + 128]
                width = max(map(len, part))
                ids = torch.tensor([[*[pad] * (width - len(c)), *c] for c in part], device=lm.device)
                mask = torch.tensor([[0] * (width - len(c)) + [1] * len(c) for c in part], device=lm.device)
                logits = lm.model(input_ids=ids, attention_mask=mask, logits_to_keep=1, use_cache=False).logits
                logits[:, -1].float().log_softmax(-1).cpu()

    n = len(task.items)
    floor = n / check.seconds(lambda: one_pass(lm, needed))
    plain = n / check.seconds(padded)
    for layers, wanted in ((False, "4 × plain, .6 of the floor"), (True, "1.5 × without")):
        ours = n / check.seconds(lambda layers=layers: measure_gap(lm, task, layers=layers, resamples=0))  # type: ignore[misc]
        check.speeds.append(("items scored" + ", layers" * layers, ours, floor, plain, wanted))


@torch.no_grad()
def extraction(check: Check, lm: Backbone) -> None:
    """Embeddings of several layers beside the bare trunk, and beside batches as they come."""
    task = accord.task("hypernymy", split="all", limit=200)
    words = [word for item in task.items for word in task.prompts(item)[0].split()]
    texts = [" ".join(words[(i * 7) % 50 :][: 20 + 37 * i % 300]) for i in range(check.sizes.texts)]
    trunk, tokens = benchmark("extraction").run_trunk, tokenize(lm, texts, max_length=512)
    windows = list(tokens.windows(None))
    stored = sum(window.end - window.fresh for window in windows)
    layers = sorted({lm.n_layers // 2, lm.n_layers - 1, lm.n_layers})

    def ours() -> None:
        with tempfile.TemporaryDirectory() as where:
            extract(lm, texts, Path(where), layers=layers, dtype="bfloat16")

    floor = stored / check.seconds(lambda: trunk(lm, tokens, windows, sort=True))
    plain = stored / check.seconds(lambda: trunk(lm, tokens, windows, sort=False))
    check.speeds.append(("tokens extracted", stored / check.seconds(ours), floor, plain, ".9 of the floor"))


@torch.no_grad()
def sampling(check: Check, lm: Backbone) -> None:
    """Texts beside transformers' own `generate` with a static cache, in the same batch."""
    n, length = check.sizes.written
    task = accord.task("hypernymy", split="all", limit=max(n, 2))
    prompts = [task.prompts(item)[0] for item in task.items][:n]
    lm.tokenizer.padding_side = "left"
    given = lm.tokenizer(prompts, return_tensors="pt", padding=True).to(lm.device)
    how = dict(max_new_tokens=length, min_new_tokens=length, do_sample=True)
    static = dict(cache_implementation="static", disable_compile=True)  # to compile takes longer than all of this
    plain = n * length / check.seconds(lambda: lm.model.generate(**given, **how, **static))
    ours = n * length / check.seconds(lambda: generate(lm, prompts=prompts, max_new_tokens=length, batch_size=n))
    check.speeds.append(("tokens written", ours, float("nan"), plain, ".5 × plain"))


def aligning(check: Check, lm: Backbone) -> None:
    """An update of RankAlign beside padded pairs."""
    ways, task = benchmark("repair"), accord.task("hypernymy", split="train", limit=check.sizes.aligned)
    asked = TaskPairs.of(lm, task)
    pairs = [asked.validator(item) for item in task.items]
    higher, lower = pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]
    with trainable(lm, RankAlign(), 0) as trainee:
        ours, plain = (
            len(pairs) / check.seconds(lambda way=way: way(trainee, higher, lower))  # type: ignore[misc]
            for way in (ways.ours, ways.padded)
        )
    check.speeds.append(("items of a RankAlign update", ours, float("nan"), plain, "48 in .3 s"))
