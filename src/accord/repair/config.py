"""`[[repair]]`: every kind of repair and its settings, and what a study adds. Nothing here imports torch."""

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from accord.arguments import checked
from accord.concepts.config import Pace
from accord.errors import AccordError, nearest
from accord.gap.config import GapSection
from accord.kinds import Kinds, add, check_kind, list_of, section, validate
from accord.section import STEPS, TASK_FILE, TIMES, FolderName, Section, TaskName
from accord.tasks import Task
from accord.tasks.config import QuestionSection

Generated = Literal["task", "first", "answer"]
Direction = Literal["g2v", "v2g"]
Factors = Annotated[list[float], Field(min_length=1)]
Positives = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]
LayerNumbers = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


def allow_low_mass() -> Any:
    """The key that every kind of repair has."""
    return Field(
        default=False,
        description="Repair although the model seldom answers with the label words (less than 10 % of the probability, "
        "mean over training items), so that their log-odds are mostly noise. sft, which learns from gold labels alone, "
        "never asks.",
    )


class Trained(Pace):
    """How a repair is trained: the keys that all trained kinds share."""

    edits_concepts: ClassVar[bool] = False
    if TYPE_CHECKING:
        kind: Any

    steps: int = Field(default=80, ge=1, le=STEPS, description="Updates; each sees one batch.")
    lr: float = Field(default=3e-4, gt=0, description="Learning rate of AdamW.")
    warmup: float = Field(
        default=0.1, ge=0, le=1, description="Share of steps over which the learning rate rises from 0."
    )
    decay: float = Field(
        default=0.5, ge=0, le=1, description="Share of steps, the last, over which it falls to 0; 0 keeps it constant."
    )
    weight_decay: float = Field(default=0.0, ge=0, description="Decoupled weight decay (AdamW).")
    clip: float | None = Field(
        default=1.0, gt=0, description="Largest norm of the whole gradient (in Python None: no clipping)."
    )
    batch: int = Field(default=24, ge=2, le=TIMES, description="Items of an update.")
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        description="Pass so many prompts through the model at a time, with the gradient of the whole batch; without "
        "it all at once, which is faster, up to 2,048 tokens with their padding or 2²⁷ logits, and more in parts.",
        examples=[8],
    )
    checkpointing: bool = Field(
        default=False,
        description="Run each block again for its gradient, and keep no states inside of blocks: for models that leave "
        "little room beside their weights. Takes a third more time; the gradient is the same.",
    )
    full: bool = Field(default=False, description="Train all weights and save the whole model, in place of an adapter.")
    r: int = Field(
        default=8, ge=1, le=65_536, description="Rank of the adapter: LoRA on linear layers and experts, not the head."
    )
    alpha: float = Field(default=16, gt=0, description="Its scale: what it adds is multiplied by alpha / r.")
    dropout: float = Field(
        default=0.05, ge=0, lt=1, description="Dropout before the adapter, in training; experts have none."
    )
    keep: list[TaskName] = Field(
        default=[],
        description='Other tasks whose answers are anchors in the loss, such as ["relations"]: see keep of readout.',
        json_schema_extra=TASK_FILE,
    )
    keep_to: Literal["base", "generator"] = Field(
        default="base",
        description="Who says what the validator should say there: the base model's own, or its generator, which "
        "says yes to half of each task.",
    )
    keep_questions: float = Field(
        default=1.0, ge=0, description="Weight of KL of yes and no, from what should be said to what is."
    )
    keep_answers: float = Field(
        default=1.0,
        ge=0,
        description="Weight of what a token of their right answers, by gold, lost against the base model.",
    )
    keep_batch: int = Field(default=16, ge=1, le=TIMES, description="Kept questions of an update, all of one task.")
    checkpoint_every: int = Field(default=20, ge=1, description="Steps between checkpoints.")
    allow_low_mass: bool = allow_low_mass()

    @model_validator(mode="after")
    def _keeps_something(self) -> Self:
        if self.keep and not self.keep_questions and not self.keep_answers:
            raise ValueError("keep has no weight: keep_questions and keep_answers are both 0")
        return self


class Ranked(Trained):
    """What the kinds share by which one form learns the other's ranking: the terms of their loss."""

    direction: Literal["g2v", "v2g", "both"] = Field(
        default="g2v", description="Who teaches whom: g2v, the generator the validator; v2g, the other way; both."
    )
    score: Literal["yes", "logodds"] = Field(
        default="logodds",
        description="What the validator learns to rank by: yes, log p of the one answer Yes (as in the paper); "
        "logodds, all words for yes against all words for no.",
    )
    generated: Generated = Field(
        default="task",
        description="The generator's score: task, what its log-odds are of (see answer_score); first, of the answer's "
        "first token; answer, log p of all its tokens.",
    )
    reference: bool = Field(
        default=False, description="Subtract the base model's own difference of the learning form's two scores."
    )
    delta: Annotated[float, Field(ge=0)] | Literal["auto"] = Field(
        default="auto",
        description="How many nats two items must differ by in the teacher's score; auto: the median difference of two "
        "training items, so that the clearer half of all pairs is learnt; with pairs prompt, prompt by prompt.",
    )
    pairs: Literal["any", "prompt"] = Field(
        default="any",
        description="Which two items are ranked: any two of a batch; prompt, two answers to one generator prompt, "
        "of which a batch then has as many as fit.",
    )
    typicality: Literal["none", "frozen", "live", "negated"] = Field(
        default="none",
        description="What is subtracted from the generator's score, so that answers that are common everywhere get no "
        "credit for it: frozen, log p of the answer without any prompt under the base model; live, the same under the "
        "model as it learns (only where the generator does); negated, log p after the task's negated wording, under "
        "the base model.",
    )
    null_anchor: float = Field(
        default=0.0,
        ge=0,
        description="Weight of KL(base || model) of the first token without any prompt: with typicality live it keeps "
        "the model from making answers less typical in place of ranking them.",
        examples=[1.0],
    )
    gold: float = Field(
        default=0.0,
        ge=0,
        description="Weight of the cross-entropy of the validator's log-odds with gold, over labelled items.",
        examples=[1.0],
    )
    likelihood: float = Field(
        default=0.0,
        ge=0,
        description="Weight of -log p a token of labelled right answers in the generator form: it keeps ranking from "
        "making all answers unlikely.",
        examples=[1.0],
    )
    labelled: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of the generator prompts whose answers have a gold label, for all terms that ask for one.",
        examples=[0.1],
    )
    refresh: int | None = Field(
        default=None,
        ge=1,
        description="Steps after which the teacher's scores are measured anew, by the model as it then is, and pairs "
        "chosen by them; without it they stay the base model's.",
        examples=[20],
    )
    weight: Annotated[float, Field(ge=0, le=1)] | Literal["gold"] = Field(
        default=0.5,
        description="With direction both, the share of g2v in the loss; gold: each pair of a right and a wrong item is "
        "taught by the forms that rank the right one higher, all other pairs by both alike. Uses the gold labels.",
    )

    @property
    def learners(self) -> tuple[Direction, ...]:
        """The directions that are learnt."""
        return ("g2v", "v2g") if self.direction == "both" else (self.direction,)

    @model_validator(mode="after")
    def _terms_fit(self) -> Self:
        if self.typicality == "live" and "v2g" not in self.learners:
            raise ValueError('typicality = "live" is of a generator that learns: with direction = "g2v" take "frozen"')
        return self


class RankAlign(Ranked):
    """One form learns the other's ranking of the items (Rodriguez et al., arXiv 2504.11381).

    For two items of a batch that the teaching form's frozen scores tell apart by more than `delta`, the loss is
    −log σ(s(higher) − s(lower)), s being the learning form's score: label-free, but for the weights `gold` and
    `likelihood`, which add terms that use gold labels.
    """

    kind: Literal["rankalign"] = "rankalign"


class _Flora(Ranked):
    direction: Literal["g2v", "v2g", "both"] = Field(default="v2g", description="As rankalign's.")
    generated: Generated = Field(default="answer", description="As rankalign's.")
    pairs: Literal["any", "prompt"] = Field(default="prompt", description="As rankalign's.")
    gold: float = Field(default=1.0, ge=0, description="As rankalign's.")
    likelihood: float = Field(default=1.0, ge=0, description="As rankalign's.")


class FloraPMI(_Flora):
    """The generator learns how the validator ranks several answers to each prompt: RankAlign's successor.

    Its score is corrected by how typical an answer is by itself (pointwise mutual information); gold labels anchor it.
    """

    kind: Literal["flora-pmi"] = "flora-pmi"
    typicality: Literal["none", "frozen", "live", "negated"] = Field(default="live", description="As rankalign's.")
    null_anchor: float = Field(default=1.0, ge=0, description="As rankalign's.")


class FloraNeg(_Flora):
    """As flora-pmi, but corrected by how likely the answer is after the task's negated wording."""

    kind: Literal["flora-neg"] = "flora-neg"
    typicality: Literal["none", "frozen", "live", "negated"] = Field(default="negated", description="As rankalign's.")


class SFT(Trained):
    """Fine-tuning on gold answers: each form continues with what is right."""

    kind: Literal["sft"] = "sft"
    form: Literal["generator", "validator", "union", "joint"] = Field(
        default="union",
        description="Which form is trained: one of them; union, each item in both; joint, both forms of an item in one "
        "text, in both orders.",
    )
    positives_only: bool = Field(default=False, description="Train on items with gold yes alone.")
    negation: bool = Field(
        default=False,
        description="Items with gold no enter the generator form too, by the task's negated wording (are not a kind "
        "of); else they enter the validator form alone.",
    )
    batch: int = Field(default=16, ge=2, le=TIMES, description="Items of an update.")


class Consistency(Trained):
    """Fine-tuning on the model's own answers where its two forms agree, in rounds (Li et al., arXiv 2310.01846).

    The generator says yes where its log-odds are above their median over the items asked, or where the rank of the
    answer's first token is at most `rank`; the validator where its log-odds are above 0. Label-free.
    """

    kind: Literal["consistency"] = "consistency"
    rounds: int = Field(
        default=2, ge=1, le=TIMES, description="How often the forms are measured anew; steps are shared out."
    )
    items: int = Field(default=400, ge=2, description="Items that a round asks, at most; each round draws its own.")
    rank: int | None = Field(
        default=None,
        ge=1,
        description="Largest rank of the answer's first token at which the generator says yes; without it the "
        "median of log-odds decides.",
        examples=[10],
    )
    batch: int = Field(default=16, ge=2, le=TIMES, description="Items of an update.")

    @model_validator(mode="after")
    def _rounds_fit(self) -> "Consistency":
        if self.rounds > self.steps:
            raise ValueError(f"each round needs a step: rounds = {self.rounds} is more than steps = {self.steps}")
        return self


class DPO(Trained):
    """Direct preference optimisation: one form's ranking gives the other's preferred continuations.

    g2v: the validator prompt prefers Yes to No where the generator's log-odds are above their median over the training
    items, else No to Yes. v2g: of two answers to one generator prompt, the one with the higher validator log-odds is
    preferred. Both label-free.
    """

    kind: Literal["dpo"] = "dpo"
    direction: Direction = Field(
        default="g2v", description="Who teaches whom: g2v, the generator the validator; v2g, the other way."
    )
    beta: float = Field(default=0.1, gt=0, description="How dear it is to leave the base model.")
    generated: Generated = Field(
        default="task",
        description="With v2g, the generator's score: log p of what its log-odds are of (task, see answer_score), of "
        "the answer's first token (first), or of all its tokens (answer).",
    )


class Surgery(Section):
    """What every repair has that needs no training by gradients."""

    edits_concepts: ClassVar[bool] = False  # if so, it names a [[concepts]]; its code gets `concepts` and `layer`
    if TYPE_CHECKING:
        kind: Any

    allow_low_mass: bool = allow_low_mass()


class _Searched(Surgery):
    """What every repair has that is chosen on held-out items and texts."""

    held_out: float = Field(
        default=0.25,
        gt=0,
        lt=1,
        description="Share of the training items that settings are chosen on: whole prompts, and whole groups where "
        "items have them.",
    )
    budget: float = Field(
        default=1.008,
        gt=1,
        description="Largest ratio of perplexities, repaired to base, on texts that the repair was not fitted to. "
        "A little below what may be lost, as other texts differ.",
    )


class ReadoutConfig(_Searched):
    """Ridge regression from the validator's state to the generator's log-odds, written back as a readout."""

    kind: Literal["readout"] = "readout"
    layers: LayerNumbers | None = Field(
        default=None, description="Layers to try; without it all.", examples=[[16, 18, 20]]
    )
    window: int = Field(
        default=5,
        ge=1,
        description="Neighbouring layers that are read together, around the best single one; 1: one layer alone.",
    )
    spread: float = Field(
        default=1.5,
        gt=0,
        description="Standard deviation of the wanted log-odds over training items, in nats.",
    )
    penalties: Positives = Field(
        default=[0.1, 0.3, 1.0],
        description="Ridge penalties to try, on standardised states.",
    )
    quiet_weights: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)] = Field(
        default=[0.03, 0.1, 0.3],
        description="Weights to try of ordinary text, where the readout should give 0.",
    )
    strengths: Positives = Field(default=[0.5, 0.75, 1.0], description="Factors on the readout to try.")
    positions: int = Field(
        default=1500,
        ge=1,
        le=10 * TIMES,
        description="Positions of ordinary text to fit on; as many others to choose on.",
    )
    keep: list[TaskName] = Field(
        default=[],
        description="Other tasks that it is fitted on as well, each taught by its own generator, so that it says yes "
        'to half of what it is asked elsewhere, not to nearly all: "relations", the built-in ones that no repair is '
        "judged on; tasks with built-in items; task files.",
        examples=[["relations"]],
        json_schema_extra=TASK_FILE,
    )


class CalibrateConfig(Surgery):
    """The threshold alone: the same number added to every validator log-odds."""

    kind: Literal["calibrate"] = "calibrate"
    by: Literal["share", "gold"] = Field(
        default="share",
        description="share: needs no labels, affirms as many training items as `share` says; "
        "gold: best accuracy on training items.",
    )
    share: float = Field(default=0.5, gt=0, lt=1, description="Share of the items that should be affirmed.")
    positions: int = Field(
        default=1500, ge=1, le=10 * TIMES, description="Positions of ordinary text that the cost is measured on."
    )


class _Run(_Searched):
    """What every repair has whose settings must be run to be judged."""

    items: int = Field(default=100, ge=10, description="Held-out items to judge a setting on, at most.")
    texts: int = Field(default=40, ge=1, description="Texts to judge a setting on.")


class DirectionConfig(_Run):
    """Difference of means between validator states of affirmed and denied items, used to steer."""

    kind: Literal["direction"] = "direction"
    mode: Literal["add", "amplify"] = Field(
        default="add",
        description="add: the direction to every state (moves the threshold, hardly the order); "
        "amplify: what a state has along it (moves the order).",
    )
    by: Literal["generator", "gold"] = Field(
        default="generator",
        description="Who affirms: generator: log-odds above their median, no labels needed; gold: the labels.",
    )
    layers: LayerNumbers | None = Field(
        default=None, description="Layers to try; without it eight, evenly spaced.", examples=[[12, 16, 20]]
    )
    positions: int = Field(
        default=3, ge=1, description="Last positions of the prompt to take a direction from, each tried."
    )
    tries: int = Field(
        default=3, ge=1, description="Layers, the best by how well the direction separates, whose factors are run."
    )
    factors: Factors = Field(
        default=[-1.0, 0.5, 1.0, 2.0],
        description="Factors to try: of the difference of means (add), or of a state's part along it (amplify).",
    )


class ConceptsConfig(_Run):
    """Concepts scaled so that what they say to the validator agrees with the generator."""

    edits_concepts: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("text", "concepts")
    kind: Literal["concepts"] = "concepts"
    counts: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] = Field(
        default=[4, 16, 64], description="Numbers of concepts to edit to try."
    )
    factors: Positives = Field(
        default=[0.5, 1.0, 2.0],
        description="Steps to try: concepts that agree are multiplied by 1 + step, the others by 1 − step, at least 0.",
    )
    attributed: int = Field(default=200, ge=10, description="Training items that concepts are ranked on, at most.")


KINDS: Kinds = {}
"""kind -> (its settings, the code that repairs by them)"""


def register(config: type[Trained] | type[Surgery], code: str) -> None:
    """Add a kind of repair; `[[repair]]` and `accord.repair` then take it.

    Args:
        config: its settings; `kind: Literal["name"] = "name"` is its name.
        code: imported when first needed: for a `Trained`, "module:Class" of the `Method` that `Class.build(config, lm,
            task, seed, progress)` makes; for a `Surgery`, "module:function", which gives a `Fitted` for (lm, task,
            config, seed=, texts=, progress=).
    """
    add(KINDS, config, code)


register(RankAlign, "accord.repair.rankalign:RankAligning")
register(FloraPMI, "accord.repair.rankalign:RankAligning")
register(FloraNeg, "accord.repair.rankalign:RankAligning")
register(SFT, "accord.repair.sft:FineTuning")
register(Consistency, "accord.repair.consistency:Agreeing")
register(DPO, "accord.repair.dpo:Preferring")
register(ReadoutConfig, "accord.repair.readout:fit")
register(CalibrateConfig, "accord.repair.calibrate:fit")
register(DirectionConfig, "accord.repair.direction:fit")
register(ConceptsConfig, "accord.repair.concept_edit:fit")


FEWEST_ITEMS = 20  # of a repair whose settings are chosen on some of its training items


def check_task(task: Task, config: BaseModel) -> None:
    """AccordError where a repair cannot learn from a task's items, as far as they tell that by themselves.

    A validator that chooses among labels can only be fine-tuned, as all else moves or ranks by yes and no.
    """
    if isinstance(config, SFT):
        _check_trains(task, config)
    else:
        task.labels.check_yes_or_no("any repair but sft", task.name)
    if isinstance(config, Ranked) and config.typicality == "negated":
        task.check_negated('typicality = "negated"')
    fewest = FEWEST_ITEMS if isinstance(config, _Searched) else 2
    if len(task.items) < fewest:
        problem = "too few training items to repair with"
        raise AccordError(problem, where=task.name, got=len(task.items), wanted=f"at least {fewest}")


def _check_trains(task: Task, config: SFT) -> None:
    if config.negation:
        task.check_negated("negation")
    if config.form == "joint" and task.chat is not None:
        raise AccordError("joint examples are one text, and a chat has turns", fix="use union, or leave chat off")
    if config.positives_only and not any(item.gold for item in task.items):
        raise AccordError("no item trains this form", where=f"{task.name}, form {config.form}", got="no gold yes")


@checked
def read_repair(table: dict[str, Any], where: object = "repair") -> Any:
    """A section from a plain table with its `kind`; raises AccordError naming the key that is wrong.

    >>> read_repair({"kind": "calibrate", "share": 0.4}).share
    0.4
    """
    kind = check_kind(KINDS, table, "repair", where)
    try:
        return validate(KINDS, table)
    except ValidationError as error:
        first = error.errors()[0]
        if len(first["loc"]) < 2:
            got = first["msg"].removeprefix("Value error, ")
            raise AccordError("two keys do not go together", where=where, got=got) from None
        key = str(first["loc"][1])
        wanted = nearest(key, KINDS[kind][0].model_fields) if first["type"] == "extra_forbidden" else first["msg"]
        problem = f"{kind} has no key {key!r}" if first["type"] == "extra_forbidden" else f"the key {key!r} is wrong"
        raise AccordError(problem, where=where, got=repr(first["input"]), wanted=wanted) from None


_ALONE = "A repair by training starts from the backbone; readout, calibrate, direction and concepts may go on from one."


class RepairSection(QuestionSection):
    """What every `[[repair]]` has beside the keys of its kind."""

    if TYPE_CHECKING:  # the kind's
        kind: Any
        edits_concepts: ClassVar[bool]
        model: str

    name: FolderName | None = Field(
        default=None, description="What its folders and rows are called; the kind by default.", examples=["mild"]
    )
    task: str = Field(
        default="hypernymy",
        min_length=1,
        description="What it learns from: a built-in task, a [tasks.NAME] of this file, or a task file. Its training "
        "items train, and the verdict tries it on the others.",
        json_schema_extra=TASK_FILE,
    )
    limit: int | None = Field(
        default=None, ge=1, description="At most so many training items, balanced; without it all.", examples=[1000]
    )
    after: str | None = Field(
        default=None,
        description='Name of the [[repair]] that this one goes on from, such as "rankalign"; without it the backbone.',
    )

    @property
    def title(self) -> str:
        """Its name in folders and rows."""
        return self.name or str(self.kind)

    @property
    def trained(self) -> bool:
        """Whether it learns by gradients: then it needs a backbone, not a repaired model."""
        return isinstance(self, Trained)

    @property
    def question(self) -> GapSection:
        """The task as a gap section asks for it; split and limit are for the asker to choose."""
        return GapSection.model_validate({key: getattr(self, key) for key in QuestionSection.model_fields})

    @property
    def folder(self) -> str:
        """Name of its question, which repairs with the same one share."""
        return self.question.folder

    @property
    def edited(self) -> str | None:
        """Name of the concepts that it edits, if its kind does."""
        return self.model if self.edits_concepts else None

    def settings(self) -> dict[str, Any]:
        """The keys of its kind, as the room of repairs knows them."""
        return self.model_dump(include=set(KINDS[self.kind][0].model_fields))


def section_of(kind: str) -> type[RepairSection]:
    """The section of a kind: its keys, and what a study adds."""
    return _section(KINDS[kind][0])


@cache
def _section(config: Any) -> type[RepairSection]:
    if issubclass(config, Trained):
        return section(RepairSection, config, after=(None, Field(default=None, description=_ALONE)))
    if not config.edits_concepts:
        return section(RepairSection, config)
    about = "Name of the [[concepts]] whose concepts are edited."
    return section(RepairSection, config, model=(str, Field(min_length=1, description=about, examples=["topk"])))


def repair_config(section: RepairSection) -> Any:
    """The section as the room of repairs knows it."""
    return read_repair(section.settings())


def sections() -> dict[str, Any]:
    """Keys of the study file: what each holds, and its field."""
    kinds = list_of(section_of(kind) for kind in KINDS)
    return {"repair": (kinds, Field(default=[], description="Repairs of the gap."))}
