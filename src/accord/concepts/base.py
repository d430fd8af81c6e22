"""The contract of every concept model: raw embeddings in, strengths of K concepts, raw embeddings out."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn

from accord.concepts.config import Settings
from accord.concepts.dead import DeadCount
from accord.concepts.moments import Moments
from accord.concepts.quality import quality_of
from accord.concepts.sparse import Pattern
from accord.concepts.step import Step
from accord.errors import AccordError


@dataclass(frozen=True)
class Set:
    """Give a concept this strength in every row (0 turns it off).

    >>> from accord.concepts import build, read_config
    >>> model = build(read_config({"kind": "topk", "size": 16, "k": 2}), d=4)
    >>> model.edit(model.encode(torch.ones(2, 4)), {5: Set(3.0)}).strength[:, 5].tolist()
    [3.0, 3.0]
    """

    value: float


@dataclass(frozen=True)
class Scale:
    """Multiply a concept's strength by this factor where it is active.

    >>> from accord.concepts import build, read_config
    >>> model = build(read_config({"kind": "topk", "size": 16, "k": 2}), d=4)
    >>> encoded = model.encode(torch.ones(2, 4))
    >>> edited = model.edit(encoded, {k: Scale(0.5) for k in range(16)})
    >>> torch.equal(edited.strength, encoded.strength / 2)
    True
    """

    factor: float


Edit = Set | Scale


@dataclass(frozen=True)
class Sparse:
    """Strengths of which all but `values [nnz]` are zero."""

    pattern: Pattern
    values: Tensor

    def dense(self) -> Tensor:
        """The same strengths as `[n, K]`, with gradients."""
        p = self.pattern
        return self.values.new_zeros(p.n, p.K).index_put((p.rows, p.indices), self.values)

    def edit(self, edits: Mapping[int, Edit]) -> "Sparse":
        """Like `ConceptModel.edit`; work goes with the active entries, not with n·K.

        >>> strengths = Sparse(Pattern.of_rows(torch.tensor([[0], [1]]), K=3), torch.tensor([2.0, 4.0]))
        >>> strengths.edit({1: Scale(0.5), 2: Set(1.0)}).dense()
        tensor([[2., 0., 1.],
                [0., 2., 1.]])
        """
        p, values = self.pattern, self.values
        for k, edit in edits.items():
            if isinstance(edit, Scale):
                values = torch.where(p.indices == k, values * edit.factor, values)
        strengths = {k: edit.value for k, edit in edits.items() if isinstance(edit, Set)}
        if not strengths:
            return Sparse(p, values)
        ids = torch.tensor(list(strengths), device=p.indices.device)
        keep = ~torch.isin(p.indices, ids)
        # A concept that is set has an entry in every row, whatever it had before.
        new = values.new_tensor(list(strengths.values())).repeat(p.n)
        starts = torch.arange(p.n, device=ids.device) * p.K
        flat = torch.cat([(p.rows * p.K + p.indices)[keep], (starts[:, None] + ids).reshape(-1)])
        order = flat.argsort()
        return Sparse(Pattern.of_flat(flat[order], p.n, p.K), torch.cat([values[keep], new])[order])


class Encoded:
    """What a concept model makes of n embeddings.

    >>> from accord.concepts import build, read_config
    >>> encoded = build(read_config({"kind": "topk", "size": 16, "k": 2}), d=4).encode(torch.ones(3, 4))
    >>> int((encoded.strength > 0).sum(1).max())
    2

    `strength [n, K]` is what people read, threshold and edit; `sparse` the same in compressed rows where the
    kind has few active concepts (else None); `content` what a concept says beside its strength (LCBLM: concept
    embeddings `[n, K, E]`); `frame` the shift `[n, 1 or d]` and scale `[n, 1]` that put each row back where it
    came from, for kinds that normalise every embedding by itself.
    """

    def __init__(
        self, strength: Tensor | Sparse, content: Tensor | None = None, frame: tuple[Tensor, Tensor] | None = None
    ) -> None:
        self.sparse = strength if isinstance(strength, Sparse) else None
        self._dense = strength if isinstance(strength, Tensor) else None
        self.content, self.frame = content, frame

    @cached_property
    def strength(self) -> Tensor:
        """Dense strengths `[n, K]` (made on first reading where they are kept sparse)."""
        if self._dense is not None:
            return self._dense
        assert self.sparse is not None
        return self.sparse.dense()

    @property
    def stored(self) -> Tensor | Sparse:
        """The strengths as they are kept."""
        return self.sparse if self.sparse is not None else self.strength

    @property
    def K(self) -> int:
        """Number of concepts."""
        return self.sparse.pattern.K if self.sparse is not None else self.strength.shape[1]


class Learner(nn.Module, ABC):
    """What the trainer asks of a module: a loss of a batch, a judgement, and what happens around an update.

    A batch is whatever the supply of batches yields and `receive` takes.
    """

    ramp = 0.0  # share of training after which the loss's weights stand still
    objective = "loss"  # the measure of `judge` that `patience` waits for; lower is better
    half_products = False  # are dense products made in bfloat16 while it trains on a GPU, and added up in float32?
    # Does `loss` ask its step for whatever is of the whole batch? Only then may several ranks train it.
    by_ranks = False

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(self.parameters()).device

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What the module is, as JSON: a checkpoint of a module with other settings is refused."""

    @abstractmethod
    def receive(self, batch: Any) -> tuple[Any, int]:
        """The batch on this device, and how many rows it has; raises AccordError if it does not fit."""

    def rows_of(self, batch: Any, rows: slice) -> Any:
        """These rows of a received batch."""
        return batch[rows]

    @abstractmethod
    def loss(self, batch: Any, step: Step) -> dict[str, Tensor]:
        """Named terms whose sum is the training loss of a received batch; with several ranks, of the rows of one.

        Then the terms are those of the whole batch all the same: see `accord.concepts.step`.
        """

    @abstractmethod
    def judge(self, batches: Iterable[Any]) -> dict[str, float]:
        """Named measures on held-out batches, `objective` among them."""

    def reseed(self, batch: Any, step: Step) -> Tensor:
        """Give dead concepts a new start, from a whole received batch; returns their numbers."""
        return torch.empty(0, dtype=torch.int64)

    def concept_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters whose first axis is the concept: what a reseeded concept replaces."""
        return {}

    def unit_rows(self) -> tuple[nn.Parameter, ...]:
        """Parameters `[n, d]` whose rows are held at norm 1."""
        return ()

    def after_update(self) -> None:
        """Last touch on parameters after the optimiser moved."""

    def after_step(self, rows: int) -> None:
        """A step with so many rows is over; what is counted on the program's side goes on."""

    def phase(self, step: Step) -> tuple[float, ...] | None:
        """All that this step's work depends on beside tensors and the rows' shape: steps of equal phases do the same.

        A GPU is then told once what to do in such steps (`accord.concepts.replay`). None: it is told each time.
        """
        return None


class ConceptModel(Learner):
    """Encodes embeddings into concepts and back.

    >>> from accord.concepts import build, read_config
    >>> model = build(read_config({"kind": "topk", "size": 16, "k": 2}), d=4)
    >>> encoded = model.encode(torch.ones(3, 4))
    >>> tuple(encoded.strength.shape), tuple(model.decode(encoded).shape)
    ((3, 16), (3, 4))

    `encode` takes and `decode` gives embeddings in their original space; inside, they are standardised with
    the per-dimension `mean` and `scale` of training data, which are stored with the model. Losses are taken
    in the standardised space.
    """

    half_products = True
    gated = False  # are strengths gates in (0, 1), which `harden` makes 0 or 1?
    transcodes = False  # does `decode` give other states than those that `encode` read?
    labels: tuple[str, ...] = ()  # of the texts, those that the first concepts follow, where it learns from labels
    by_row = False  # does `decode` differ from row to row by more than the concepts?
    objective = "fvu"
    mean: Tensor
    scale: Tensor
    idle: Tensor

    def __init__(self, config: Settings, d: int, K: int) -> None:
        super().__init__()
        self.config, self.d, self.K = config, d, K
        self.d_out = d  # width of what `decode` gives
        self.register_buffer("mean", torch.zeros(d))
        self.register_buffer("scale", torch.ones(d))
        # Training tokens since each concept last fired. `loss` keeps it in training mode, as BatchNorm its
        # statistics.
        self.register_buffer("idle", torch.zeros(K, dtype=torch.int64))
        self._dead: DeadCount | None = None

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}: {self.K:,} concepts of embeddings of width {self.d:,}, on {self.mean.device}\n"
            f"  {self.config!r}\n  .encode(x), .decode(encoded), .edit(encoded, {{concept: …}})"
        )

    @abstractmethod
    def encode(self, x: Tensor) -> Encoded:
        """Raw embeddings `[n, d]` to concepts; deterministic, and soft where gates are soft."""

    @abstractmethod
    def decode(self, encoded: Encoded) -> Tensor:
        """Concepts to raw embeddings `[n, d]`."""

    @abstractmethod
    def loss(self, x: Tensor, step: Step) -> dict[str, Tensor]:
        """Named terms whose sum is the training loss of raw embeddings `[n, d]`, weights included."""

    def harden(self, encoded: Encoded) -> Encoded:
        """The same with every gate open or shut (> .5); unchanged for kinds without gates."""
        if not self.gated:
            return encoded
        return Encoded((encoded.strength > 0.5).to(encoded.strength.dtype), encoded.content, encoded.frame)

    def edit(self, encoded: Encoded, edits: Mapping[int, Edit]) -> Encoded:
        """The same with the strengths of the named concepts set or scaled, in every row.

        Raises AccordError for a concept that does not exist.
        """
        for k in edits:
            if k not in range(self.K):
                raise AccordError(
                    "no such concept",
                    where="edit",
                    got=repr(k),
                    wanted=f"0 to {self.K - 1}",
                    fix="correct its number",
                )
        if encoded.sparse is not None:
            return Encoded(encoded.sparse.edit(edits), encoded.content, encoded.frame)
        strength = encoded.strength.clone()
        for k, edit in edits.items():
            strength[:, k] = edit.value if isinstance(edit, Set) else strength[:, k] * edit.factor
        return Encoded(strength, encoded.content, encoded.frame)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruction of raw embeddings `[n, d]`."""
        return self.decode(self.encode(x))

    def standardise(self, x: Tensor) -> Tensor:
        """Raw to standardised space, `[n, d]`."""
        return (x - self.mean) / self.scale

    def restore(self, x: Tensor) -> Tensor:
        """Standardised to raw space, `[n, d]`."""
        return x * self.scale + self.mean

    @torch.no_grad()
    def fit_scale(self, batches: Iterable[Tensor]) -> None:
        """Set `mean` and `scale` (standard deviation) per dimension from training embeddings, in one pass.

        A dimension that never varies keeps scale 1. Raises AccordError on no rows or on a wrong width.
        """
        moments = Moments(self.d, self.mean.device)
        for batch in batches:
            self.check(batch)
            moments.add(batch)
        moments.give(self.mean, self.scale)

    def check(self, x: Tensor) -> None:
        """Raise AccordError unless x is `[n, d]`."""
        if x.ndim != 2 or x.shape[1] != self.d:
            raise AccordError("embeddings do not fit the concept model", got=tuple(x.shape), wanted=f"[n, {self.d}]")

    def check_decodes(self, work: str, *, alike: bool = False) -> None:
        """Raise AccordError unless `decode` gives back what `encode` read, as `work` relies on.

        With `alike` also unless one affine map of strength · content decodes all rows.
        """
        if self.transcodes:
            problem = "it is a transcoder: what it decodes are not the states that it reads"
        elif alike and self.by_row:
            problem = "it normalises every embedding by itself, so what a concept writes differs from row to row"
        else:
            return
        fix = "use encode and decode, or take a sparse autoencoder without such normalisation"
        raise AccordError(f"This concept model is not for {work}.", got=problem, fix=fix)

    def check_layer(self, layer: int) -> None:
        """Raise AccordError if the model reads another layer. Those trained here do not say which they read."""

    def directions(self) -> Tensor | None:
        """What a unit of each concept's strength writes in raw space, `[K, d]`; None where that varies."""
        return None

    def settings(self) -> dict[str, Any]:
        """Its section and width."""
        return {"model": self.config.model_dump(), "d": self.d}

    def receive(self, batch: Tensor) -> tuple[Tensor, int]:
        """Embeddings `[n, d]` in the model's own precision: stores may hold half of it."""
        self.check(batch)
        return batch.to(self.mean), len(batch)

    def judge(self, batches: Iterable[Tensor]) -> dict[str, float]:
        """`fvu`, `fvu_hard`, `l0` and `alive` of `accord.concepts.Quality`."""
        quality = quality_of(self, batches)
        return {name: getattr(quality, name) for name in ("fvu", "fvu_hard", "l0", "alive")}

    @torch.no_grad()
    def count_idle(self, fired: Tensor, tokens: int, step: Step) -> None:
        """In training mode, note which concepts `fired [K]` in the rows of a batch that are here, so many tokens."""
        if self.training:
            self.idle.add_(step.count(tokens)).masked_fill_(step.any(fired), 0)

    def after_step(self, rows: int) -> None:
        """Go on with the count of dead concepts, where `n_dead` has begun one."""
        if self._dead is not None:
            self._dead.stepped(self.idle, rows)

    def train(self, mode: bool = True) -> Self:
        """As PyTorch's."""
        self._dead = None  # a model that is not being trained can be copied and pickled
        return super().train(mode)

    def n_dead(self, after: int) -> int:
        """How many concepts have not fired for `after` training tokens."""
        if self._dead is None or not self._dead.is_of(self.idle, after):
            self._dead = DeadCount(self.idle, after)
        return self._dead.read()
