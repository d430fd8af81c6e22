"""What accord relies on in a model, each tried on the model itself: a difference, and how large it may be.

Differences of states are ‖Δ‖ / ‖state‖ at the position where that is largest, over all layers that are compared.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from accord.errors import AccordError
from accord.lm.batching import check_fits
from accord.lm.kv import KeysValues, kv_cache, kv_pairs
from accord.lm.packing import as_batch, pack
from accord.lm.placement import check_undivided
from accord.lm.prefix_tree import grow

if TYPE_CHECKING:
    from accord.lm.backbone import Backbone

# Room for rounding, as batches of other sizes are multiplied by other kernels: far below the difference that a wrong
# norm makes, or a row that sees what it should not.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.03}
LENS_TOLERANCE = 2e-5
_SHORTEST = 24  # tokens of a probe
_LONGEST = 768
_ALL = 2**31
# Numbers of the config by which attention, convolutions or routing may change along a sequence.
_ALONG = ("window", "chunk", "kernel", "conv", "local", "block_size", "topk", "stride")


@dataclass(frozen=True)
class Proof:
    """What was tried, and what it gave.

    Attributes:
        says: what holds if the proof does.
        otherwise: what is wrong if it does not.
        difference: the largest difference in the trials.
        tolerance: the largest difference that counts as none.
        note: a remark, such as how far it was tried.
    """

    says: str
    otherwise: str
    difference: float
    tolerance: float
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the difference is within the tolerance (nan is not)."""
        return self.difference <= self.tolerance

    def meaning(self) -> str:
        """What the result says, with the note.

        >>> Proof("a text reads the same alone", "it does not", 1e-7, 1e-5, "tried on 24 tokens").meaning()
        'a text reads the same alone (tried on 24 tokens)'
        """
        return (self.says if self.holds else self.otherwise) + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True)
class ProbeTexts:
    """Random texts of a model's own tokens.

    Attributes:
        ids: [3, length]; special tokens of the config are not among them.
        edge: the largest window, chunk or kernel that lies within the length; `unreached` are those that do not.
        nearest: the smallest of all these; None if the model has none.
    """

    ids: Tensor
    edge: int
    unreached: tuple[int, ...]
    nearest: int | None = None

    @property
    def length(self) -> int:
        """Tokens of each text."""
        return self.ids.shape[1]

    def reach(self) -> str:
        """How far something was tried."""
        beyond = f", not beyond {', '.join(map(str, self.unreached))}" if self.unreached else ""
        return f"tried on {self.length} tokens{beyond}"


def numbers_of(config: Any) -> Iterator[tuple[str, int]]:
    """Names and values of all whole numbers in a config, at any depth.

    >>> list(numbers_of({"layers": 2, "rope": {"length": 64, "kind": "yarn"}, "tied": True}))
    [('layers', 2), ('length', 64)]
    """
    for name, value in (config if isinstance(config, dict) else config.to_dict()).items():
        if isinstance(value, dict):
            yield from numbers_of(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield str(name), value


def tokens_to_try(lm: "Backbone", *, thorough: bool) -> int:
    """How many tokens a probe of a model may have: the larger the model, the fewer."""
    weights = sum(weight.numel() for block in lm.blocks for weight in block.parameters())
    work = (3e9 if lm.device.type == "cpu" else 3e11) * (30 if thorough else 1)
    return int(min(max(work / max(weights, 1), _SHORTEST), _LONGEST * (8 if thorough else 1)))


def make_probe(lm: "Backbone", most: int) -> ProbeTexts:
    """A probe of at most `most` tokens that the model can read, beyond as many windows of its config as it reaches."""
    most = min(most, lm.limits.length or most)
    config = lm.model.config.get_text_config()
    along = sorted({value for name, value in numbers_of(config) if value > 1 and any(k in name for k in _ALONG)})
    longest = lm.limits.length or max((v for n, v in numbers_of(config) if "max_pos" in n), default=2**20)
    along = [value for value in along if value < longest]
    edge = max((value for value in along if value + 16 <= most), default=0)
    length = min(max(edge + 16, min(4 * edge, 64), _SHORTEST), most)
    return ProbeTexts(
        lm.random_ids(3, length), edge, tuple(value for value in along if value > edge), min(along, default=None)
    )


def causality(lm: "Backbone", probe: ProbeTexts) -> Proof:
    """States do not change when what follows them changes; picked positions are those of the whole."""
    cut, layers = probe.length // 2, range(lm.n_layers + 1)
    first, second, third = probe.ids
    at = torch.linspace(0, cut - 1, min(cut, 24)).long().repeat(2, 1)
    whole = lm.hidden(torch.stack([first, second]), layers=layers, at=None if probe.length <= 128 else at)
    changed = lm.hidden(torch.stack([torch.cat([first[:cut], third[cut:]]), second]), layers=layers, at=at)
    before = {layer: states[0, at[0]] if probe.length <= 128 else states[0] for layer, states in whole.items()}
    off = max(apart(changed[layer][0], before[layer]) for layer in layers)
    says, otherwise = "no state depends on what follows it", "its states depend on what follows them"
    return Proof(says, otherwise, off, tolerance(lm), probe.reach())


def batches(lm: "Backbone", probe: ProbeTexts) -> Proof:
    """A text has the same states alone and padded beside a longer text, and again after a longer text was read."""
    off = max(_beside(lm, probe, length, short) for length, short in _pairs(lm, probe))
    says = "a text reads the same alone, padded in a batch, and again"
    return Proof(says, "a text's states depend on how it is padded or batched", off, tolerance(lm), probe.reach())


def equal_lengths(lm: "Backbone", probe: ProbeTexts) -> Proof:
    """A text has the same states alone and beside another of the same length."""
    lengths = (probe.length, probe.length // 2)
    off = max(_beside(lm, probe, length, length) for length in lengths)
    says = "a text reads the same alone and beside others of its length"
    note = f"padding changes it, so only texts of one length share a batch; {probe.reach()}"
    return Proof(says, "a text's states depend on the other texts of its batch", off, tolerance(lm), note)


def _beside(lm: "Backbone", probe: ProbeTexts, length: int, short: int) -> float:
    """How far apart the states of a text of `short` tokens are, alone and padded beside a text of `length`."""
    ids = probe.ids[:2, :length] if length <= probe.length else lm.random_ids(2, length)
    layers = range(lm.n_layers + 1)
    at = torch.linspace(0, short - 1, min(short, 48)).long()[None]
    alone = lm.hidden(ids[1:, :short], layers=layers, at=at)
    together = lm.hidden(ids, layers=layers, at=at.repeat(2, 1))
    again = lm.hidden(ids[1:, :short], at=at)[lm.n_layers]
    off = max(apart(together[layer][1], alone[layer][0]) for layer in layers)
    return max(off, apart(again, alone[lm.n_layers]))


def _pairs(lm: "Backbone", probe: ProbeTexts) -> Iterator[tuple[int, int]]:
    """Lengths of a longer and a shorter text that are to read alike: both of a group, for each group within reach."""
    limits = lm.limits
    top = min([probe.length, *(switch - 1 for switch in _turns(lm))])
    for short in sorted({max(top // 2, 1), *([probe.edge + 2] if 0 < probe.edge < top - 2 else [])}):
        yield top, short
    for switch in limits.switches:
        long = switch + 4
        reached = long <= min(_LONGEST, tokens_to_try(lm, thorough=False))
        if reached and limits.group(long) == limits.group(switch):
            yield long, switch + 1


def _turns(lm: "Backbone") -> list[int]:
    return [*lm.limits.switches, *([lm.limits.each_from] if lm.limits.each_from is not None else [])]


def cache(lm: "Backbone", probe: ProbeTexts) -> Proof:
    """A text that goes on from a plain cache, cut, in pieces and token by token, has the states of the whole."""
    says, otherwise = "keys and values can be kept, cut, shared and continued", "they cannot: every text is read whole"
    length = min([probe.length, *(switch - 1 for switch in _turns(lm))])
    if length < 12:
        return Proof(says, otherwise, float("inf"), tolerance(lm), "no room to try it before the numbers switch")
    ids = probe.ids[:2, :length].clone()
    ids[1, :3] = ids[0, :3]  # two texts that share their beginning
    whole = lm.hidden(ids)[lm.n_layers]
    try:
        beginning = kv_cache([])
        lm.hidden(ids[:1, :5], cache=beginning)
        pairs: KeysValues = [
            (keys[:, :, :3].expand(2, -1, -1, -1), values[:, :, :3].expand(2, -1, -1, -1))
            for keys, values in kv_pairs(beginning)
        ]
        ends = [length - 7, length - 6, length - 5, length]
        parts: list[Tensor] = []
        begin = 3
        for end in ends:
            longer = kv_cache(pairs)
            parts.append(lm.hidden(ids[:, begin:end], cache=longer)[lm.n_layers])
            pairs, begin = kv_pairs(longer), end
        off = apart(torch.cat(parts, dim=1), whole[:, 3:])
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError, AssertionError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        return Proof(
            says, otherwise, float("inf"), tolerance(lm), f"it has none that can be cut ({type(error).__name__})"
        )
    return Proof(says, otherwise, off, tolerance(lm), probe.reach())


def packing(lm: "Backbone", probe: ProbeTexts) -> tuple[Proof, int]:
    """Texts packed into a row by their shared beginnings have the states that they have one by one.

    Also given is how many tokens a text may have that is packed: the mask of such a row knows no window, so where texts
    longer than a window are read otherwise, those that fit into it are tried.
    """
    says, otherwise = "texts with one beginning can be packed into a row", "they cannot: each has a row of its own"
    most = min([lm.limits.length or _ALL, *(switch - 1 for switch in lm.limits.switches)])
    proof = Proof(says, otherwise, float("inf"), tolerance(lm), "as keys and values cannot be kept, or lengths count")
    if not lm.cacheable or lm.limits.each_from is not None:
        return proof, 0
    for reach in (min([most, *probe.unreached]), min(most, probe.nearest or _ALL)):
        length = min(probe.length, reach)
        if length < 12:
            return replace(proof, note="no room to try it within its windows"), 0
        off, note = _packed(lm, probe.ids[:, :length].tolist())
        proof = replace(proof, difference=off, note=f"tried on {length} tokens{note}")
        if proof.holds:
            return proof, reach
    return proof, 0


def _packed(lm: "Backbone", ids: list[list[int]]) -> tuple[float, str]:
    """How far the states of packed texts, four made of three, are from their own; and why, if they fail."""
    first, second, third = ids
    texts = [first, [*first[:3], *second[3:]], [*first[:3], *second[3:6], *third[6:9]], third[:5]]
    layers, off = range(lm.n_layers + 1), 0.0
    try:
        rows = pack(grow([tuple(text) for text in texts], min_saving=1), len(first) + 9)  # one row ends within a tree
        places, tree, at = as_batch(rows)
        packed = lm.hidden(places, layers=layers, at=at, tree=tree)
        for number, row in enumerate(rows):
            for slot, (_, i) in enumerate(row.reads):
                alone = lm.hidden(torch.tensor([texts[i]]), layers=layers, at=torch.tensor([[len(texts[i]) - 1]]))
                off = max(off, *(apart(packed[layer][number, slot], alone[layer][0, 0]) for layer in layers))
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError, AssertionError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        return float("inf"), f": it takes no such mask ({type(error).__name__})"
    return off, ""


@torch.no_grad()
def precision(lm: "Backbone", texts: Sequence[str]) -> tuple[float, float]:
    """How far log-odds of every next token move from twice the precision: mean and largest change over `texts`.

    The weights are the same: a half-precision model is read in float32, float32 in float64. The model is copied.

    Raises:
        AccordError: the texts do not fit the model, there is no room for the copy, or transformers cannot run it.
    """
    check_undivided(lm, "a copy in more precision")
    better = torch.float64 if lm.dtype == torch.float32 else torch.float32
    moved: list[Tensor] = []
    try:
        rows = [lm.tokenizer(text)["input_ids"] for text in texts]
        check_fits(lm, rows)
        reference = copy.deepcopy(lm.model).to(better)
        reference.set_experts_implementation("eager")  # the others have no float64
        for row in rows:
            ids = torch.tensor([row], device=lm.device)
            exact = reference(input_ids=ids, use_cache=False).logits[0].double()
            own = lm.lens(lm.hidden(ids)[lm.n_layers][0]).double()
            following = torch.cat([ids[0, 1:], exact[-1:].argmax(-1)])[:, None]
            moved.append((_logodds(own, following) - _logodds(exact, following)).abs())
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:  # quantized weights stay as they are
        problem = "no room for a copy of the model in more precision, or transformers cannot run it so"
        raise AccordError(problem, where=lm.name, got=str(error).splitlines()[0]) from error
    whole = torch.cat(moved)
    return float(whole.mean()), float(whole.max())


@torch.no_grad()
def between(one: "Backbone", other: "Backbone", texts: Sequence[str]) -> tuple[float, float]:
    """How far log-odds of every next token differ between two precisions of a model: mean and largest over `texts`."""
    moved: list[Tensor] = []
    for text in texts:
        ids = torch.tensor([one.tokenizer(text)["input_ids"]])
        following = ids[0, 1:, None]
        own, its = (lm.lens(lm.hidden(ids)[lm.n_layers][0, :-1]).double().cpu() for lm in (one, other))
        moved.append((_logodds(own, following) - _logodds(its, following)).abs())
    whole = torch.cat(moved)
    return float(whole.mean()), float(whole.max())


def _logodds(logits: Tensor, tokens: Tensor) -> Tensor:
    """log p − log(1 − p) of a token in each row: [row, 1] tokens, [row, vocab] logits."""
    chosen = logits.gather(-1, tokens)
    return (chosen - logits.scatter(-1, tokens, float("-inf")).logsumexp(-1, keepdim=True)).squeeze(-1)


def tolerance(lm: "Backbone") -> float:
    """The largest difference of states that other kernels may make in a model's precision."""
    return _TOLERANCE.get(lm.dtype, 1e-4)


def apart(got: Tensor, expected: Tensor) -> float:
    """‖got − expected‖ / ‖expected‖ at the position where it is largest; of states [..., d].

    >>> round(apart(torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[3.0, 4.0], [2.0, 0.0]])), 3)
    0.5
    """
    if got.shape != expected.shape:
        return float("inf")
    got, expected = got.double(), expected.double()
    return float(((got - expected).norm(dim=-1) / expected.norm(dim=-1).clamp_min(1e-9)).max())
