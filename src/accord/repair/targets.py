"""Which weights an adapter can be put on, found by what runs on text, what PEFT takes, and where gradients arrive.

No family is known by name. Tried are linear layers, and the stacks of matrices in which experts lie; what PEFT refuses
and what no gradient reaches is left out, with the reason.
"""

import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.layer import LoraLayer, ParamWrapper
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from accord.errors import AccordError
from accord.lm.adapters import adapters_follow, quiet_peft
from accord.lm.backbone import Backbone
from accord.lm.encoding import encode_prompt
from accord.repair.config import Trained
from accord.repair.restored import restored
from accord.repair.scores import Pair, scores

# Ordinary text, various enough for a layer's experts to share it out.
_PROBE = (
    "The committee met on Tuesday to discuss the budget for the coming year.",
    "In 1969 two astronauts walked on the surface of the moon; is that true? Answer: Yes",
    "Zum Frühstück gab es 3 Eier, 2 Äpfel und {tea: 'green'}, said the cook at 7:45.",
)
# How far the probe's scores may move by an untrained adapter, as a share of the largest: kernels round otherwise.
_ROUNDING = {torch.float32: 1e-4, torch.float16: 1e-2}
_ROUNDING_ELSE = 6e-2


@dataclass(frozen=True)
class Matrix:
    """A weight matrix of a model, or a stack of them.

    Attributes:
        name: of the linear layer that it is the weight of, else of the parameter.
        block: the name of the block that it is in; "" outside of all.
        path: the name within the block, "*" for every number in it: the same for all experts of a list.
        weights: how many numbers.
        layer: whether `name` is a linear layer's.
    """

    name: str
    block: str
    path: str
    weights: int
    layer: bool

    @property
    def parameter(self) -> str:
        """The name of the parameter."""
        return f"{self.name}.weight" if self.layer else self.name


@dataclass(frozen=True)
class Targets:
    """What an adapter is put on.

    Attributes:
        layers: linear layers.
        parameters: what PEFT takes by the parameter alone, which is experts mostly. No dropout is possible there.
        left: matrices without an adapter, and why.
    """

    layers: tuple[Matrix, ...]
    parameters: tuple[Matrix, ...]
    left: Mapping[Matrix, str] = field(default_factory=dict)

    @property
    def adapted(self) -> tuple[Matrix, ...]:
        """All matrices with an adapter."""
        return self.layers + self.parameters

    def without(self, idle: Mapping[Matrix, str]) -> "Targets":
        """The same but for some matrices, and why."""
        layers, parameters = (tuple(m for m in own if m not in idle) for own in (self.layers, self.parameters))
        return Targets(layers, parameters, {**self.left, **idle})

    def reach(self) -> dict[str, Any]:
        """What the adapter reaches, as JSON.

        "share": numbers in the adapted matrices, of those in all matrices of the blocks; "kinds": the same for each
        module that holds matrices, by its path in a block; "left": paths of matrices without an adapter, and why;
        "no_dropout": paths of adapted matrices that training gives no dropout.
        """
        kinds: dict[str, list[Matrix]] = defaultdict(list)
        for matrix in (*self.adapted, *self.left):
            kinds[matrix.path.rpartition(".")[0] or matrix.path].append(matrix)
        everything = [matrix for own in kinds.values() for matrix in own]
        return {
            "share": self._share(everything),
            "kinds": {kind: self._share(kinds[kind]) for kind in sorted(kinds)},
            "left": dict(sorted(self._left())),
            "no_dropout": sorted({matrix.path for matrix in self.parameters}),
        }

    def _share(self, of: Sequence[Matrix]) -> float:
        adapted = sum(matrix.weights for matrix in of if matrix not in self.left)
        return round(adapted / sum(matrix.weights for matrix in of), 4)

    def _left(self) -> Iterator[tuple[str, str]]:
        """Paths and why; where other blocks have an adapter on such a matrix, how many have none."""
        whys: dict[tuple[str, str], list[Matrix]] = defaultdict(list)
        for matrix, why in self.left.items():
            whys[matrix.path, why].append(matrix)
        all_of = [matrix.path for matrix in (*self.adapted, *self.left)]
        for (path, why), own in whys.items():
            whole = all_of.count(path)
            yield path, why if len(own) == whole else f"{why}, in {len(own)} of {whole}"


def find_targets(lm: Backbone, config: Trained) -> Targets:
    """Where an adapter can be put on a model, proven on a short text. The model is left as it was.

    Proven is that PEFT builds the adapter there and nowhere else, that untrained it changes no score, and that
    gradients reach all of it.

    Raises:
        AccordError: there is nothing in the model that can be adapted, or an untrained adapter changes what it says.
    """
    with torch.no_grad():
        before = _probe_scores(lm)
    targets = _buildable(lm, _candidates(lm), config)
    if targets.adapted:
        targets = targets.without(_idle(lm, targets, config, before))
    if not targets.adapted:
        whys = sorted({f"{matrix.path}: {why}" for matrix, why in targets.left.items()})
        raise AccordError(
            "no adapter can be put on this model",
            where=lm.name,
            got="; ".join(whys) or "no linear layer and no experts",
            fix="full = true trains all weights",
        )
    return targets


def build(lm: Backbone, targets: Targets, config: Trained) -> PeftModel:
    """Put an untrained adapter on a model, which is changed in place; `restored` takes it off."""
    model = lm.model
    by_parameter = [matrix.parameter for matrix in targets.parameters]
    lora = LoraConfig(
        r=config.r,
        lora_alpha=config.alpha,
        lora_dropout=0.0 if by_parameter else config.dropout,
        target_modules=[matrix.name for matrix in targets.layers],
        target_parameters=by_parameter or None,
        fan_in_fan_out=any(isinstance(model.get_submodule(matrix.name), Conv1D) for matrix in targets.layers),
        task_type="CAUSAL_LM",
    )
    with quiet_peft(), adapters_follow(model):
        adapter = get_peft_model(model, lora)
    if by_parameter and config.dropout:  # PEFT wants 0 for all where one parameter can have none
        for layer in (m for m in model.modules() if isinstance(m, LoraLayer) and not _by_parameter(m)):
            layer.lora_dropout["default"] = nn.Dropout(config.dropout).eval()
    return adapter


def _candidates(lm: Backbone) -> dict[Matrix, str | None]:
    """All matrices of the blocks, and linear layers elsewhere that run on text; with a reason against, if any.

    The head is none of them. An expert of a list runs where any of its list does.
    """
    model, (_, head, _) = lm.model, lm.lens_parts()
    ran = _running(lm)
    blocks = [name for name, module in model.named_modules() if any(module is block for block in lm.blocks)]
    candidates: dict[Matrix, str | None] = {}
    for name, module in model.named_modules():
        inside = _block_of(name, blocks) is not None
        if module is head or not (inside or name in ran):
            continue
        if size := _linear_size(module):
            candidates[_matrix(name, blocks, size, layer=True)] = None
        elif inside:
            for key, weight in module.named_parameters(recurse=False, prefix=name):
                if sum(side > 1 for side in weight.shape) > 1:  # others are vectors, whatever their shape
                    # Kernels of convolutions along the text have three sides too, but one of length 1.
                    stack = weight.ndim == 3 and min(weight.shape) > 1
                    matrix = _matrix(key, blocks, weight.numel(), layer=False)
                    candidates[matrix] = None if stack else "neither a linear layer nor a stack of experts"
    owners = {matrix: matrix.name if matrix.layer else matrix.name.rpartition(".")[0] for matrix in candidates}
    running = {(matrix.block, matrix.path) for matrix, owner in owners.items() if owner in ran}
    for matrix, why in candidates.items():
        if why is None and (matrix.block, matrix.path) not in running:
            candidates[matrix] = "does not run on text"
    return candidates


def _block_of(name: str, blocks: Sequence[str]) -> str | None:
    """The name of the block that a module or parameter is in, or is."""
    return next((block for block in blocks if name == block or name.startswith(f"{block}.")), None)


def _matrix(name: str, blocks: Sequence[str], weights: int, *, layer: bool) -> Matrix:
    block = _block_of(name, blocks) or ""
    path = name[len(block) + 1 :] if block else name
    return Matrix(name, block, _anywhere(path), weights, layer)


def _anywhere(name: str) -> str:
    """A name with "*" for every number in it.

    >>> _anywhere("experts.3.up_proj"), _anywhere("fc1")
    ('experts.*.up_proj', 'fc1')
    """
    return re.sub(r"(^|(?<=\.))\d+(?=\.|$)", "*", name)


def _linear_size(module: nn.Module) -> int:
    """Numbers in a linear layer's weight, quantised or not; 0 for any other module."""
    if isinstance(module, Conv1D):
        return int(module.weight.numel())
    sizes = getattr(module, "in_features", None), getattr(module, "out_features", None)
    if any(True for _ in module.children()) or not all(isinstance(size, int) for size in sizes):
        return 0
    return int(sizes[0]) * int(sizes[1])  # type: ignore[arg-type]


def _running(lm: Backbone) -> set[str]:
    """Names of the modules that are called on the probe; some are passed by, and their weight read by another."""
    ran: set[str] = set()
    with ExitStack() as hooks, torch.no_grad():
        for name, module in lm.model.named_modules():
            hooks.callback(module.register_forward_hook(lambda *_, name=name: ran.add(name)).remove)
        _probe_scores(lm)
    return ran


def _probe_scores(lm: Backbone) -> Tensor:
    """log p [text] of each text of the probe but for its first token, computed as in training."""
    texts = [encode_prompt(lm.tokenizer, text) for text in _PROBE]
    return scores(lm, [Pair(ids[:1], ids[1:]) for ids in texts])


def _buildable(lm: Backbone, candidates: Mapping[Matrix, str | None], config: Trained) -> Targets:
    """The candidates that PEFT takes, as layers or else as parameters."""
    possible = [matrix for matrix, why in candidates.items() if why is None]
    left = {matrix: why for matrix, why in candidates.items() if why is not None}
    layers = tuple(matrix for matrix in possible if matrix.layer)
    whole = Targets(layers, tuple(matrix for matrix in possible if not matrix.layer), left)
    if possible and _refusal(lm, whole, config) is None:
        return whole
    kinds: dict[tuple[str, type[nn.Module] | None], list[Matrix]] = defaultdict(list)
    for matrix in possible:
        kinds[matrix.path, type(lm.model.get_submodule(matrix.name)) if matrix.layer else None].append(matrix)
    taken: dict[bool, list[Matrix]] = {True: [], False: []}  # as layers, as parameters
    for own in kinds.values():
        first = (own[0],)
        whys = {True: _refusal(lm, Targets(first, ()), config)} if own[0].layer else {}
        if whys.get(True) is not None or not whys:
            whys[False] = _refusal(lm, Targets((), first), config)
        way = next((way for way, why in whys.items() if why is None), None)
        if way is None:
            left |= dict.fromkeys(own, next(iter(whys.values())) or "")
        else:
            taken[way] += own
    targets = Targets(tuple(taken[True]), tuple(taken[False]), left)
    if targets.adapted and (why := _refusal(lm, targets, config)) is not None:
        raise AccordError("PEFT takes these weights one by one and not together", where=lm.name, got=why)
    return targets


def _refusal(lm: Backbone, targets: Targets, config: Trained) -> str | None:
    """Why PEFT does not build an adapter on just these; None if it does."""
    with restored(lm.model), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of is checked below
        try:
            build(lm, targets, config)
        except Exception as error:  # whatever it is, this is no target
            first = str(error).partition("\n")[0].partition(". ")[0]
            return f"peft: {first or type(error).__name__}"
        built = set(_outputs(lm.model))
    named = {matrix.name for matrix in targets.layers} | {matrix.parameter for matrix in targets.parameters}
    if built == named:
        return None
    other = sorted(built ^ named)[0]
    return f"peft: adapts others than were named, or fewer, such as {other}"


def _idle(lm: Backbone, targets: Targets, config: Trained, before: Tensor) -> dict[Matrix, str]:
    """Adapted matrices that no gradient reaches; raises AccordError if an untrained adapter changes the scores."""
    with restored(lm.model):
        build(lm, targets, config)
        after = _probe_scores(Backbone(lm.model, lm.tokenizer, name=lm.name, like=lm))  # its lens has the adapter, too
        outputs = _outputs(lm.model)
        gradients = torch.autograd.grad(after.sum(), list(outputs.values()), allow_unused=True)
    off = float((after.detach() - before).abs().max() / before.abs().max())
    if not off <= _ROUNDING.get(lm.dtype, _ROUNDING_ELSE):
        raise AccordError("an untrained adapter changes what this model says", where=lm.name, got=f"{off:.1e} of it")
    moved = dict(zip(outputs, (g is not None and bool(g.any()) for g in gradients), strict=True))
    places: dict[tuple[str, str], bool] = defaultdict(bool)
    for matrix in targets.adapted:
        places[matrix.block, matrix.path] |= moved.get(matrix.name, False) or moved.get(matrix.parameter, False)
    return {m: "no gradient reaches it" for m in targets.adapted if not places[m.block, m.path]}


def _outputs(model: nn.Module) -> dict[str, Tensor]:
    """The second factor of every adapted matrix, by its layer's or parameter's name; all gradients pass there first."""
    outputs: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            name = name.replace(".base_layer", "")  # parameters of one module are wrapped one in another
            key = f"{name}.{module.parameter_name}" if _by_parameter(module) else name
            outputs[key] = module.lora_B["default"].weight
    return outputs


def _by_parameter(layer: LoraLayer) -> bool:
    return isinstance(layer, ParamWrapper)
