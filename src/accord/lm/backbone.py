"""The one boundary to transformers: a causal model of any family, found and proven by its behaviour.

Nothing here knows a family by name. A short probe run records which modules ran between the last block and the
head: that chain is the final norm. The proof then demands that the lens built from it reproduces the model's own
logits, and that a cut sequence continued from its KV cache gives the same states as the whole.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Cache,
    DynamicCache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.cache_utils import DynamicLayer
from transformers.utils import logging as progress_bars

from accord.arguments import checked
from accord.errors import AccordError
from accord.lm.catalog import resolve

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Largest allowed difference of the proof, as a share of the largest logit or state: room for the rounding of
# other kernels (a cached position is computed by another one), far below the effect of a wrong or missing norm.
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 6e-2, torch.float16: 1e-2}


@checked
def load(model: str | Path, *, device: str = "auto", dtype: str = "auto") -> "Backbone":
    """Load a model under study: a catalog name, a hub id, a local folder, or a `.gguf` file.

    Args:
        model: what to load; see `accord models` for the catalog.
        device: "auto" (a GPU when there is one), "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto" (float32 on a CPU, bfloat16 on a GPU), "float32", "bfloat16" or "float16".

    Raises:
        AccordError: the model is unknown, broken or unsafe to load, or the boundary proof fails.
    """
    where = pick_device(device)
    kind = pick_dtype(dtype, where)
    source = resolve(str(model), thorough=True)
    progress_bars.disable_progress_bar()  # seconds at most, and it would tear other bars apart
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.folder, local_files_only=True)
        network = AutoModelForCausalLM.from_pretrained(
            source.folder, dtype=kind, local_files_only=True, use_safetensors=True, trust_remote_code=False
        ).to(where)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise AccordError(
            "the model could not be loaded",
            where=source.folder,
            got=str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
            wanted="a causal language model in hub layout: config.json, safetensors weights, tokenizer files",
        ) from error
    return Backbone(network, tokenizer, name=source.name, fingerprint=source.fingerprint)


def pick_device(device: str) -> torch.device:
    """The device that `device` names; "auto" takes a GPU when there is one."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise AccordError("unknown device", got=device, wanted="auto, cpu, cuda, cuda:N or mps") from error
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (chosen.index or 0) >= count.get(chosen.type, 0):
        raise AccordError("this machine has no such device", got=device, fix='use device = "auto" or "cpu"')
    return chosen


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The torch dtype that `dtype` names; "auto" is float32 on a CPU and bfloat16 elsewhere."""
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if dtype not in _DTYPES:
        raise AccordError("unknown dtype", got=dtype, wanted="auto, " + ", ".join(_DTYPES))
    return _DTYPES[dtype]


class Backbone:
    """A transformers causal model behind the `LanguageModel` contract.

    Attributes:
        model: the transformers model, in eval mode; `blocks[l - 1]` is the block that layer l leaves.
        n_layers, d_model, vocab_size, device, dtype, cacheable: see `LanguageModel`.
        fingerprint: identity of the weights, part of what decides whether a study's stage is up to date.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str | None = None,
        fingerprint: str = "in memory",
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name or type(model).__name__
        self.fingerprint = fingerprint
        self.device = model.device
        self.dtype = model.dtype
        text_config = model.config.get_text_config()
        self.n_layers = int(text_config.num_hidden_layers)
        trunk, head = getattr(model, model.base_model_prefix, None), model.get_output_embeddings()
        if not isinstance(trunk, nn.Module) or not isinstance(head, nn.Module):
            raise self._unsupported("it has no separate trunk and head")
        self._trunk, self._head = trunk, head
        self.vocab_size = len(head.get_parameter("weight"))
        self.blocks = self._find_blocks()
        self._finish = _logit_finish(text_config)
        self.d_model, self._final = self._prove_lens()
        self.cacheable = self._prove_cache()

    def hidden(
        self,
        ids: Tensor,
        *,
        layers: Sequence[int] | None = None,
        at: Tensor | None = None,
        cache: Cache | None = None,
    ) -> dict[int, Tensor]:
        """See `LanguageModel.hidden`."""
        wanted = (self.n_layers,) if layers is None else tuple(layers)
        if wrong := [layer for layer in wanted if not 0 <= layer <= self.n_layers]:
            raise AccordError("no such layer", got=wrong[0], wanted=f"0 to {self.n_layers} in {self.name}")
        with self._recording(wanted, at) as states:
            self._trunk(input_ids=ids.to(self.device), past_key_values=cache, use_cache=cache is not None)
        return states

    def lens(self, hidden: Tensor) -> Tensor:
        """See `LanguageModel.lens`."""
        for module in self._final:
            hidden = module(hidden)
        return self._finish(self._head(hidden).float())

    def lens_of(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """The lens' logits of a few tokens [n] only, float32 [..., n], of hidden states [..., d_model]."""
        if not isinstance(self._head, nn.Linear):
            return self.lens(hidden)[..., tokens]
        for module in self._final:
            hidden = module(hidden)
        bias = None if self._head.bias is None else self._head.bias[tokens]
        return self._finish(nn.functional.linear(hidden, self._head.weight[tokens], bias).float())

    def lens_parts(self) -> tuple[list[nn.Module], nn.Module, Callable[[Tensor], Tensor]]:
        """What the lens is made of, in order: final norm modules, head, and what is done to the head's logits."""
        return self._final, self._head, self._finish

    def settings(self) -> dict[str, Any]:
        """See `LanguageModel.settings`."""
        return {
            "model": self.name,
            "weights": self.fingerprint,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device.type,
        }

    @contextmanager
    def _recording(self, layers: Sequence[int], at: Tensor | None = None) -> Iterator[dict[int, Tensor]]:
        """Keep the states of `layers` (at positions `at`) while the trunk runs."""
        states: dict[int, Tensor] = {}

        def keep(layer: int, value: Any) -> None:
            state = value[0] if isinstance(value, tuple) else value
            if at is not None:
                index = at.to(state.device).unsqueeze(-1).expand(-1, -1, state.shape[-1])
                state = state.gather(1, index)
            states[layer] = state

        with ExitStack() as hooks:
            for layer in layers:
                if layer == 0:
                    handle = self.blocks[0].register_forward_pre_hook(
                        lambda _, args, kwargs: keep(0, args[0] if args else kwargs["hidden_states"]),
                        with_kwargs=True,
                    )
                else:
                    handle = self.blocks[layer - 1].register_forward_hook(
                        lambda _, args, output, layer=layer: keep(layer, output)
                    )
                hooks.callback(handle.remove)
            yield states

    def _find_blocks(self) -> nn.ModuleList:
        lists = [m for m in self._trunk.modules() if isinstance(m, nn.ModuleList) and len(m) == self.n_layers]
        if not lists:
            raise self._unsupported(f"no list of {self.n_layers} blocks in it")
        return lists[0]

    def _probe_ids(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randint(0, self.vocab_size, (2, 12), generator=generator).to(self.device)

    @torch.no_grad()
    def _prove_lens(self) -> tuple[int, list[nn.Module]]:
        """Find the modules between last block and head, and prove the lens on the model's own logits."""
        ids = self._probe_ids()
        with self._recording([self.n_layers]) as states, self._call_order() as order:
            logits = self.model(input_ids=ids, use_cache=False).logits.float()
        if not bool(torch.isfinite(logits).all()):
            raise not_finite(self.name)
        if self.n_layers not in states or self._head not in order:
            raise self._unsupported("its blocks or its head did not run in a plain forward pass")
        self._final = order[order.index(self.blocks[-1]) + 1 : order.index(self._head)]
        top = states[self.n_layers]
        try:
            lens = self.lens(top)
        except (RuntimeError, TypeError) as error:
            raise self._unsupported(f"its final norm could not be applied by itself: {error}") from error
        off = _relative_error(lens, logits)
        if not off <= _TOLERANCE.get(self.dtype, 1e-4):
            raise self._unsupported(f"the lens of its top layer differs from its own logits by {off:.1e} of them")
        return top.shape[-1], self._final

    @contextmanager
    def _call_order(self) -> Iterator[list[nn.Module]]:
        """The blocks and their neighbours (norms, head), in the order in which their calls end.

        Neighbours are children of whatever contains the blocks; what is inside a block or a norm does not count.
        """
        order: list[nn.Module] = []
        containers = [m for m in self.model.modules() if any(part is self.blocks for part in m.modules())]
        with ExitStack() as hooks:
            for child in (child for container in containers for child in container.children()):
                if not any(child is container for container in containers):
                    hooks.callback(child.register_forward_hook(lambda m, *_: order.append(m)).remove)
            yield order

    @torch.no_grad()
    def _prove_cache(self) -> bool:
        """Whether a plain cache of full keys and values, cut and continued, gives the logits of the whole sequence."""
        ids = self._probe_ids()
        whole = self.lens(self.hidden(ids)[self.n_layers])
        try:
            cache = DynamicCache()
            self.hidden(ids[:, :7], cache=cache)
            cut = kv_cache([(keys[:, :, :5], values[:, :, :5]) for keys, values in kv_pairs(cache)])
            rest = self.lens(self.hidden(ids[:, 5:], cache=cut)[self.n_layers])
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError):
            return False
        return _relative_error(rest, whole[:, 5:]) <= _TOLERANCE.get(self.dtype, 1e-4)

    def _unsupported(self, reason: str) -> AccordError:
        return AccordError(
            f"this model does not fit accord's boundary: {reason}",
            where=self.name,
            got=type(self.model).__name__,
            wanted="a decoder-only model: embeddings, a list of blocks, final norm, head (soft-capped or scaled)",
            fix="open an issue with the model's config.json; accord refuses rather than give wrong numbers",
        )


def not_finite(where: str) -> AccordError:
    """The error for logits with nan or infinity in them."""
    return AccordError(
        "the model gave logits that are not finite",
        where=where,
        fix='use dtype = "float32" (or "bfloat16" in place of "float16"), or check the weights',
    )


def kv_pairs(cache: Cache) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of each layer of a cache, [batch, heads, position, head_dim] each."""
    return [(layer.keys, layer.values) for layer in cache.layers]


def kv_cache(pairs: Sequence[tuple[Tensor, Tensor]]) -> DynamicCache:
    """A cache that holds these keys and values, without copying them.

    Sliding-window layers get full keys and values too: the model masks what its window hides.
    """
    cache = DynamicCache()
    for keys, values in pairs:
        layer = DynamicLayer()
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        cache.layers.append(layer)
    return cache


def _logit_finish(config: Any) -> Callable[[Tensor], Tensor]:
    """What the model itself does to its logits after the head: Gemma's soft-cap, Cohere's or Granite's scale."""
    cap = getattr(config, "final_logit_softcapping", None)
    factor = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)

    def finish(logits: Tensor) -> Tensor:
        logits = logits if factor == 1.0 else logits * factor
        return logits if cap is None else torch.tanh(logits / cap) * cap

    return finish


def _relative_error(got: Tensor, expected: Tensor) -> float:
    if got.shape != expected.shape:
        return float("inf")
    return float((got.float() - expected.float()).abs().max() / expected.float().abs().max().clamp_min(1e-6))
