"""Extraction: the hidden states of texts, any set of layers in one pass, into a store that outlives a kill.

The texts are cut into shards before anything is computed, and each shard is computed by itself. So what a shard holds
does not depend on when the extraction was interrupted: resumed, it ends with the same bytes.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from accord.arguments import checked
from accord.errors import AccordError
from accord.lm.batching import in_batches
from accord.lm.marked import backbone_states
from accord.lm.model import LanguageModel
from accord.lm.windows import TokenTexts, Window, tokenize
from accord.progress import Progress
from accord.spread import NothingFree, at_work_on, onward, wait_or_leave
from accord.text.store import (
    NO_NEXT,
    EmbeddingStore,
    Layout,
    discard,
    is_made,
    prepare,
    shard_file,
    store_bytes,
    texts_fingerprint,
    write_shard,
)

_SHARD_BYTES = 2**28  # of a shard, where nobody says how many tokens it has
_WRITERS = 2  # shards that are written at a time: a hash takes a processor to itself
_UNDER_WAY = 16  # tensors between a device and memory at most
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@checked
@torch.no_grad()
def extract(
    lm: LanguageModel,
    texts: Sequence[str],
    folder: Path | str,
    *,
    layers: Sequence[int] | None = None,
    max_tokens: int | None = None,
    max_length: int = 512,
    stride: int | None = None,
    dtype: str = "float32",
    shard_tokens: int | None = None,
    batch_tokens: int | None = None,
    progress: Progress | None = None,
) -> EmbeddingStore:
    """Write the hidden states of every token of `texts` into `folder`, going on from whole shards there.

    >>> from tempfile import mkdtemp
    >>> lm = accord.load("smollm2-135m")
    >>> store = extract(lm, ["Bees make honey.", "It rained."], Path(mkdtemp()) / "store", layers=[10, 30])
    >>> store.layers, store.tokens, store.d_model
    ((10, 30), 9, 576)

    Each text is read after the start token (BOS, or EOS where that separates texts), as in generation. The start
    token itself is not stored: its state is the same in every text, and so large in most models (attention rests
    there) that it alone would set the mean, the scale and the loss of whatever is trained on the store.

    Args:
        layers: which layers; the top one by default. See `LanguageModel` for their numbers.
        max_tokens: stop at this many tokens, in the order of the texts; the last text is cut to fit.
        max_length: tokens of one window, start token included; never more than the model can read.
        stride: read long texts in windows that start so many tokens apart; each token is stored once, from the
            first window that reaches it. By default a text is cut after its first window.
        dtype: of the stored embeddings: "float32", "bfloat16" or "float16".
        shard_tokens: tokens of one shard: what a kill can cost. A few shards are in memory at a time. By default 2**15,
            or fewer, so that a shard has at most 256 MB.
        batch_tokens: tokens of one forward pass; by default chosen for the device. It changes numbers within float
            error, as does memory that runs out and halves the batches.
        progress: called with (tokens done, tokens in all); shards that are there count as done.

    Raises:
        AccordError: a setting makes no sense, no text has a token, `folder` holds other embeddings, a state is not
            finite in `dtype`, or one window exceeds memory.
        DiskFull: there is no room for the shards.
    """
    folder = Path(folder)
    numbers = sorted({lm.n_layers} if layers is None else set(layers))
    _check(lm, numbers, dtype, shard_tokens, max_tokens, stride)
    shard_tokens = shard_tokens or _shard_tokens(store_bytes(1, lm.d_model, len(numbers), dtype))
    tokens = tokenize(lm, texts, max_length=max_length)
    windows = _within(list(tokens.windows(stride)), max_tokens)
    if not windows:
        raise AccordError("No text has a token to extract", got=f"{len(texts)} texts")
    shards = _shards(windows, shard_tokens)
    settings = {
        **lm.settings(),
        "texts": texts_fingerprint(list(texts)),
        "layers": numbers,
        "max_tokens": max_tokens,
        "max_length": tokens.max_length,
        "stride": stride,
        "dtype": dtype,
        "shard_tokens": shard_tokens,
    }
    layout = Layout(settings, lm.d_model, [_fresh(shard) for shard in shards], *_left_out(tokens, windows))
    prepare(folder, layout)
    total, progress = sum(layout.shards), onward(progress)

    def compute(number: int, brought: Brought) -> Callable[[], dict[str, Tensor]]:
        done = sum(layout.shards[:number])

        def report(part: int, whole: int) -> None:
            if progress:  # `part` of `whole` counts tokens that are read; `progress` takes those that are stored
                progress(done + layout.shards[number] * part // whole, total)

        return _compute(lm, tokens, shards[number], numbers, _DTYPES[dtype], batch_tokens, report, brought)

    def passed(number: int) -> None:
        if progress:
            progress(sum(layout.shards[: number + 1]), total)

    if left := _fill(folder, range(len(shards)), compute, passed, wait=False):
        wait_or_leave()
        _fill(folder, left, compute, passed, wait=True)
        passed(len(shards))
    return EmbeddingStore(folder)


def _fill(
    folder: Path,
    numbers: Sequence[int],
    compute: "Callable[[int, Brought], Callable[[], dict[str, Tensor]]]",
    passed: Callable[[int], None],
    *,
    wait: bool,
) -> list[int]:
    """Put shards in place; the numbers of those that other workers are at, if it does not wait for them.

    Args:
        compute: asks for a shard's tensors, of a device too; what it returns waits for them.
        passed: called with the number of each shard that is there or computed.
    """
    elsewhere = []
    # Shards are brought to memory, written and hashed while the next are computed.
    with Brought() as brought, ThreadPoolExecutor(_WRITERS) as writer:
        writing: deque[Future[None]] = deque()
        for number in numbers:
            if is_made(folder, number):
                passed(number)
                continue
            with ExitStack() as claim:
                try:
                    claim.enter_context(at_work_on(shard_file(folder, number), wait=wait))
                except NothingFree:
                    elsewhere.append(number)
                    continue
                if is_made(folder, number):  # meanwhile
                    continue
                discard(folder, number)
                tensors = compute(number, brought)
                if len(writing) == _WRITERS:
                    writing.popleft().result()
                writing.append(writer.submit(_write, folder, number, tensors, claim.pop_all()))
                passed(number)
        for each in writing:
            each.result()
    return elsewhere


def _write(folder: Path, number: int, tensors: Callable[[], dict[str, Tensor]], claim: ExitStack) -> None:
    with claim:
        write_shard(folder, number, tensors())


def _check(
    lm: LanguageModel,
    layers: list[int],
    dtype: str,
    shard_tokens: int | None,
    max_tokens: int | None,
    stride: int | None,
) -> None:
    if wrong := [layer for layer in layers if not 0 <= layer <= lm.n_layers]:
        raise AccordError("no such layer", got=wrong[0], wanted=f"0 to {lm.n_layers} in {lm.name}")
    if not layers:
        raise AccordError("no layer to extract", got="an empty list")
    if dtype not in _DTYPES:
        raise AccordError("unknown dtype", got=dtype, wanted=", ".join(_DTYPES))
    for name, value in (("shard_tokens", shard_tokens), ("max_tokens", max_tokens), ("stride", stride)):
        if value is not None and value < 1:
            raise AccordError(f"{name} is a number of tokens", got=value, wanted="at least 1")


def _shard_tokens(row_bytes: int) -> int:
    """Tokens of a shard, a power of 2.

    >>> _shard_tokens(2304), _shard_tokens(24592)
    (32768, 8192)
    """
    return int(min(2**15, 2 ** max(0, int(math.log2(_SHARD_BYTES / row_bytes)))))


def _within(windows: list[Window], max_tokens: int | None) -> list[Window]:
    """The first windows that hold `max_tokens` fresh tokens, the last cut to fit: no state sees what follows."""
    first, room = [], max_tokens if max_tokens is not None else sum(map(_size, windows))
    for window in windows:
        if room <= 0:
            break
        first.append(window._replace(end=min(window.end, window.fresh + room)))
        room -= _size(first[-1])
    return first


def _shards(windows: list[Window], shard_tokens: int) -> list[list[Window]]:
    """Consecutive windows, as many as fit into a shard; a window that is larger has one to itself."""
    shards: list[list[Window]] = []
    room = 0
    for window in windows:
        if not shards or _size(window) > room:
            shards.append([])
            room = shard_tokens
        shards[-1].append(window)
        room -= _size(window)
    return shards


def _size(window: Window) -> int:
    return window.end - window.fresh


def _fresh(windows: list[Window]) -> int:
    return sum(map(_size, windows))


def _left_out(tokens: TokenTexts, windows: list[Window]) -> tuple[int, dict[str, int]]:
    """How many texts are in the store, and what is not: see `Layout`."""
    lengths = np.diff(tokens.offsets)
    inside = sorted({window.text for window in windows})
    empty = int((lengths == 0).sum())
    cut = int(lengths[inside].sum()) - _fresh(windows)
    return len(inside), {"empty": empty, "beyond": len(lengths) - empty - len(inside), "cut": cut}


def _compute(
    lm: LanguageModel,
    tokens: TokenTexts,
    windows: list[Window],
    layers: list[int],
    dtype: torch.dtype,
    batch_tokens: int | None,
    progress: Callable[[int, int], None],
    brought: "Brought",
) -> Callable[[], dict[str, Tensor]]:
    """All tensors of one shard, once they are brought to memory."""
    ends = np.cumsum([_size(window) for window in windows])
    states = {layer: torch.empty(int(ends[-1]), lm.d_model, dtype=dtype) for layer in layers}

    def extract_batch(batch: list[int]) -> None:
        part = [windows[i] for i in batch]
        hidden = lm.hidden(tokens.rows(part), layers=layers)
        outputs = {layer: backbone_states(hidden[layer]) for layer in layers}
        width = outputs[layers[0]].shape[1]
        places = [np.arange(w.fresh, w.end) - w.begin + tokens.lead + row * width for row, w in enumerate(part)]
        targets = [np.arange(ends[i] - _size(windows[i]), ends[i]) for i in batch]
        source, target = (torch.from_numpy(np.concatenate(parts)) for parts in (places, targets))
        for layer, output in outputs.items():
            rows = output.flatten(0, 1).index_select(0, source.to(output.device))
            brought.put(rows.to(dtype), partial(states[layer].index_copy_, 0, target))

    lengths = [tokens.lead + window.end - window.begin for window in windows]
    in_batches(lm, lengths, extract_batch, batch_tokens=batch_tokens, progress=progress)
    arrived = brought.so_far()

    def finish() -> dict[str, Tensor]:
        arrived()
        for layer, state in states.items():
            if not bool(torch.isfinite(state).all()):
                raise AccordError(
                    "hidden states are not finite",
                    where=f"{lm.name}, layer {layer}",
                    got=str(dtype).removeprefix("torch."),
                    fix='store them as dtype = "float32" or "bfloat16", which hold larger numbers than "float16"',
                )
        return {**{f"layer.{layer}": state for layer, state in states.items()}, **_labels(tokens, windows)}

    return finish


class Brought:
    """Tensors on their way from a device to memory, while the device goes on.

    >>> with Brought() as brought:
    ...     brought.put(torch.ones(2), print)
    ...     brought.so_far()()
    tensor([1., 1.])
    """

    def __init__(self) -> None:
        self._receiver = ThreadPoolExecutor(1)
        self._under_way: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failed: object) -> None:
        """Wait until all is received."""
        self._receiver.shutdown()

    def put(self, tensor: Tensor, take: Callable[[Tensor], object]) -> None:
        """Have `take` called with the tensor in memory, in its turn."""
        if tensor.device.type != "cuda":
            take(tensor.cpu())
            return
        copy = tensor.to("cpu", non_blocking=True)  # PyTorch gives pinned memory for it
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record(torch.cuda.current_stream(tensor.device))

        def receive() -> None:
            arrived.synchronize()
            take(copy)

        if len(self._under_way) == _UNDER_WAY:
            self._under_way.popleft().result()
        self._under_way.append(self._receiver.submit(receive))

    def so_far(self) -> Callable[[], None]:
        """What waits until everything is taken that was put by now, and raises what went wrong with it."""
        put = list(self._under_way)

        def wait() -> None:
            for each in put:
                each.result()

        return wait


def _labels(tokens: TokenTexts, windows: list[Window]) -> dict[str, Tensor]:
    """Token, next token, text and position of every row of a shard."""
    parts: dict[str, list[Any]] = {"token": [], "next": [], "text": [], "position": []}
    for window in windows:
        own = tokens.of(window.text)
        following = own[window.fresh + 1 : window.end + 1]
        parts["token"].append(own[window.fresh : window.end])
        parts["next"].append(np.append(following, [NO_NEXT] * (_size(window) - len(following))))
        parts["text"].append(np.full(_size(window), window.text))
        parts["position"].append(np.arange(window.fresh, window.end))
    return {name: torch.from_numpy(np.concatenate(part).astype(np.int32)) for name, part in parts.items()}
