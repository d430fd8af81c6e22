"""The one boundary to transformers: a causal model of any family, found and proven by its behaviour.

Nothing here knows a family by name. `anatomy` watches the model read a short text and finds blocks, final norm and
head; `positions` tries how far it reads and where its numbers switch; `proofs` tries what everything else relies on.
A model that fails is refused, or (where only caches fail) used without them.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from accord import on_cpu
from accord.errors import AccordError
from accord.lm import proofs
from accord.lm.adapters import unwrapped
from accord.lm.anatomy import dissect
from accord.lm.limits import Limits
from accord.lm.marked import Marked, States
from accord.lm.packing import Tree
from accord.lm.placement import entry, placement_of, plain_linear
from accord.lm.positions import find_limits
from accord.lm.proofs import Proof
from accord.lm.quantization import quantization
from accord.lm.tail import Unsupported, learn_tail, state_out


class Backbone:
    """A transformers causal model behind the `LanguageModel` contract.

    >>> import torch
    >>> lm = accord.load("smollm2-135m")
    >>> ids = torch.tensor([lm.tokenizer("Bees are a kind of")["input_ids"]])
    >>> states = lm.hidden(ids, layers=[0, lm.n_layers])
    >>> {layer: tuple(found.shape) for layer, found in states.items()}
    {0: (1, 6, 576), 30: (1, 6, 576)}

    Attributes:
        model: the transformers model, in eval mode; `blocks[l - 1]` is the block that layer l leaves.
        n_layers, d_model, vocab_size, device, dtype, cacheable, limits, ends: see `LanguageModel`.
        packs: tokens of the longest sequence that it reads in packed rows (`accord.lm.packing`); 0 if it reads none so,
            as on a CPU.
        quantization: how the weights are quantized, such as "bitsandbytes nf4"; None if they are plain numbers.
        stored_as: the same for the weights in the folder, which may be expanded to plain numbers when they are loaded.
        placement: where its parts lie, which nobody else need know: states, edits and logits are all on `device`.
        fingerprint: identity of the weights, part of what decides whether a study's stage is up to date.
        proofs: what was tried when it was made, by name; see `accord prove`.

    Args:
        like: a backbone of the same network without the adapter that is in it now. An adapter acts on each position by
            itself, so what was proven of texts, batches and caches is not tried again.

    Raises:
        AccordError: what accord relies on does not hold in this model.
    """

    limits: Limits
    cacheable: bool
    _row_by_row: bool
    packs = 0

    @on_cpu.quick()
    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str | None = None,
        fingerprint: str = "in memory",
        like: "Backbone | None" = None,
    ) -> None:
        self.model = model = unwrapped(model).eval()
        self.tokenizer = tokenizer
        self.name = name or type(model).__name__
        self.fingerprint = fingerprint
        self.device = entry(model)  # until it is known where the head is
        self.dtype = model.dtype
        self.quantization = quantization(model)
        self.stored_as = self.quantization
        self.ends = _ends(model, tokenizer)
        self.proofs: dict[str, Proof] = {}
        with torch.no_grad(), self._refusing():
            self._find_parts()
            if like is None:
                self.prove()
            else:
                self.limits, self.cacheable, self._row_by_row = like.limits, like.cacheable, like._row_by_row
                self.packs = like.packs
                self.proofs = {**like.proofs, **self.proofs}

    def __repr__(self) -> str:
        weights = sum(parameter.numel() for parameter in self.model.parameters())
        stored = f", stored as {self.quantization}" if self.quantization else ""
        return (
            f"Backbone {self.name}: {weights / 1e6:,.0f} million weights, {str(self.dtype).removeprefix('torch.')} on "
            f"{self.device}{stored}\n  {self.n_layers} layers of width {self.d_model}, {self.vocab_size:,} tokens\n"
            "  .hidden(ids), .lens(states); accord.measure_gap(lm, task), accord.score(lm, queries)"
        )

    @on_cpu.quick()
    def hidden(
        self,
        ids: Tensor,
        *,
        layers: Sequence[int] | None = None,
        at: Tensor | None = None,
        cache: Cache | None = None,
        tree: Tree | None = None,
    ) -> dict[int, Tensor]:
        """See `LanguageModel.hidden`; with a `tree`, rows are packed (`accord.lm.packing`), where `packs` says so."""
        layers = (self.n_layers,) if layers is None else tuple(layers)
        if wrong := [layer for layer in layers if not 0 <= layer <= self.n_layers]:
            raise AccordError("no such layer", got=wrong[0], wanted=f"0 to {self.n_layers} in {self.name}")
        if self._forget is not None:
            self._forget()
        options: dict[str, Any] = {} if cache is None else {self._cache_name: cache}
        if tree is not None:
            where = self.placement.embeddings
            options |= {"attention_mask": tree.mask(self.dtype, where), "position_ids": tree.positions.to(where)}
        if self._row_by_row and len(ids) > 1 and cache is None:
            rows = [
                self.hidden(ids[i : i + 1], layers=layers, at=None if at is None else at[i : i + 1])
                for i in range(len(ids))
            ]
            return {layer: torch.cat([row[layer] for row in rows]) for layer in layers}
        at = None if at is None else at.to(self.device)  # once, not for each layer
        with self._recording(layers, at) as states:
            self._trunk(input_ids=ids.to(self.placement.embeddings), use_cache=cache is not None, **options)
        return states

    @on_cpu.quick()
    def lens(self, hidden: States) -> Tensor:
        """See `LanguageModel.lens`. The head multiplies in the weights' own precision; what follows is float32."""
        if isinstance(hidden, Marked):
            raise TypeError("marked states are for the lens of the model that marked them")
        return self._finish(self._head(self._normed(hidden)).float())

    @on_cpu.quick()
    def lens_of(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """The lens' logits of a few tokens [n] only, float32 [..., n], of hidden states [..., d_model]."""
        head = None if self.quantization is not None else plain_linear(self._head)
        if head is None:  # the rows of such a head cannot be picked
            return self.lens(hidden)[..., tokens]
        tokens, states = tokens.to(head.weight.device), self._normed(hidden).to(head.weight.device)
        bias = None if head.bias is None else head.bias[tokens]
        return self._finish(nn.functional.linear(states, head.weight[tokens], bias).float())

    def lens_parts(self) -> tuple[list[nn.Module], nn.Module, Callable[[Tensor], Tensor]]:
        """What the lens is made of, in order: final norm modules, head, and what is done to the head's logits."""
        return self._final, self._head, self._finish

    def settings(self) -> dict[str, Any]:
        """See `LanguageModel.settings`."""
        settings = {
            "model": self.name,
            "weights": self.fingerprint,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device.type,
        }
        return settings if self.stored_as is None else {**settings, "quantization": self.stored_as}

    @torch.no_grad()
    def prove(self, *, thorough: bool = False) -> None:
        """Try what accord relies on, and set `cacheable` and `packs`; `proofs` are the results.

        Args:
            thorough: with texts as long as a minute or so allows, so as to reach beyond more windows.

        Raises:
            AccordError: something other than caches and packing fails.
        """
        probe = proofs.make_probe(self, proofs.tokens_to_try(self, thorough=thorough))
        self._demand("causality", proofs.causality(self, probe))
        batch = proofs.batches(self, probe) if self.limits.each_from != 1 else None
        if batch is None or not batch.holds:  # no padding, then
            self.limits = replace(self.limits, switches=(), each_from=1)
            batch = proofs.equal_lengths(self, probe)
        if not batch.holds:  # no other rows either
            self._row_by_row = True
            batch = proofs.equal_lengths(self, probe)
        self._demand("batch", batch)
        self.proofs["cache"] = proofs.cache(self, probe)
        self.cacheable = self.proofs["cache"].holds and not self._row_by_row
        if self.device.type != "cpu":  # whose passes are small anyhow: there caches are quicker
            self.proofs["packing"], self.packs = proofs.packing(self, probe)

    def random_ids(self, rows: int, length: int) -> Tensor:
        """Random ids [rows, length] for probes, the same in every run; no special tokens of the config."""
        generator = torch.Generator().manual_seed(0)
        ids = self._plain_ids[torch.randint(0, len(self._plain_ids), (rows, length), generator=generator)]
        return ids.to(entry(self.model))

    def _find_parts(self) -> None:
        """Blocks, trunk, final norm and head, what follows the head, and the limits of what can be read."""
        numbers = dict(proofs.numbers_of(self.model.config))
        special = {value for name, value in numbers.items() if name.endswith(("_token_id", "_token_index"))}
        embedding = self.model.get_input_embeddings()
        rows = len(embedding.weight) if hasattr(embedding, "weight") else numbers.get("vocab_size", 2)
        rows = min(rows, int(getattr(self.model.config.get_text_config(), "vocab_size", rows)))
        self._plain_ids = torch.tensor([i for i in range(rows) if i not in special])
        ids = self.random_ids(2, 12)
        anatomy = dissect(self.model, ids)
        if not bool(torch.isfinite(anatomy.top).all()):
            raise not_finite(self.name)
        self.vocab_size, self.d_model = anatomy.logits.shape[-1], anatomy.top.shape[-1]
        self.blocks, self._trunk = anatomy.blocks, anatomy.trunk
        # From transformers 5.24 on it is called cache, and its old name warns.
        self._cache_name = "cache" if "cache" in signature(self._trunk.forward).parameters else "past_key_values"
        self.n_layers = len(self.blocks)
        tail, off = learn_tail(self.model, anatomy, ids[:, :8], proofs.LENS_TOLERANCE)
        self._final, self._head, self._casts, self._finish = tail.final, tail.head, tail.casts, tail.finish
        says, otherwise = "final norm and head give its own logits", "its lens differs from its own logits"
        after = f"after the head: {tail.finish}"
        self._demand("lens", Proof(says, otherwise, off, proofs.LENS_TOLERANCE, after))
        self.placement = placement_of(self.model, self.blocks, self._head)
        self.device = self.placement.head
        values = sorted({value for _, value in proofs.numbers_of(self.model.config) if 8 <= value <= 2**20})
        tried = find_limits(self._trunk, self.blocks[0], self.random_ids, values)
        self.limits = replace(tried.limits, ids=min(tried.limits.ids or self.vocab_size, self.vocab_size))
        self._forget, self._row_by_row = tried.forget, tried.chooses_keys
        top = self.hidden(ids)[self.n_layers]
        off = max(proofs.apart(top, anatomy.top), proofs.apart(self.lens(top), anatomy.logits))
        says, otherwise = "each block reads what the one before left", "its blocks run otherwise without its head"
        self._demand("layers", Proof(says, otherwise, off, proofs.tolerance(self), f"{self.n_layers} blocks"))

    def _demand(self, title: str, proof: Proof) -> None:
        self.proofs[title] = proof
        if not proof.holds:
            allowed = f"{proof.tolerance:.0e} is allowed"
            raise Unsupported(f"{proof.otherwise} ({title}: by {proof.difference:.1e} of them, {allowed})")

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Whatever goes wrong while a model is tried becomes an AccordError."""
        try:
            yield
        except Unsupported as reason:
            raise self._unsupported(str(reason)) from reason
        except torch.OutOfMemoryError as error:
            raise AccordError(
                "out of memory while the model was tried", where=self.name, fix="use a smaller one"
            ) from error
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError, AssertionError) as error:
            message = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise self._unsupported(f"it cannot read a short text ({message})") from error

    def _normed(self, hidden: Tensor) -> Tensor:
        """What the head reads, in the precisions that the model itself uses."""
        for module, dtype in zip(self._final, self._casts, strict=False):
            hidden = module(hidden.to(dtype))
        return hidden.to(self._casts[-1])

    @contextmanager
    def _recording(self, layers: Sequence[int], at: Tensor | None = None) -> Iterator[dict[int, Tensor]]:
        """Keep the states of `layers` (at positions `at`) while the trunk runs."""
        states: dict[int, Tensor] = {}

        def keep(layer: int, value: Any) -> None:
            state = state_out(value)
            if at is not None:
                index = at.to(state.device).unsqueeze(-1).expand(-1, -1, state.shape[-1])
                state = state.gather(1, index)
            states[layer] = state.to(self.device)

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

    def _unsupported(self, reason: str) -> AccordError:
        return AccordError(
            f"this model does not fit accord's boundary: {reason}",
            where=self.name,
            got=type(self.model).__name__,
            wanted="a causal decoder: embeddings, a list of blocks, final norm, head (soft-capped or scaled)",
            fix="open an issue with the model's config.json; accord refuses rather than give wrong numbers",
        )


def can_be_copied(lm: Backbone) -> bool:
    """Whether its weights are plain numbers on one device."""
    return lm.quantization is None and not lm.placement.divided


def copied(lm: Backbone) -> Backbone:
    """The same backbone with weights of its own, proven as it was; see `can_be_copied`."""
    return copy.deepcopy(lm, {id(lm.tokenizer): lm.tokenizer})


def _ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens that end a text: the tokenizer's EOS, and all that the model's generation config names."""
    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ends = named if isinstance(named, list | tuple) else [named]
    try:
        return frozenset(int(token) for token in (*ends, tokenizer.eos_token_id) if token is not None)
    except (TypeError, ValueError):
        problem = "The tokens that end a text are no numbers."
        raise AccordError(problem, where="generation_config.json", got=f"eos_token_id = {named!r}") from None


def not_finite(where: str) -> AccordError:
    """The error for logits with nan or infinity in them."""
    return AccordError(
        "the model gave logits that are not finite",
        where=where,
        fix='use dtype = "float32" (or "bfloat16" in place of "float16"), or check the weights',
    )
