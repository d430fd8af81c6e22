"""Stages that make concept models on embeddings: trained here, or imported from another tool's dictionary."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from accord.concepts.config import ConceptSection, ImportedSection, TrainedSection, TranscoderSection
from accord.concepts.result import ConceptMetrics
from accord.disk import path_of
from accord.embeddings.result import HELD_OUT, TRAIN, Embeddings
from accord.embeddings.stage import column_of_labels, embeddings, shuffled, tokens_to_train_on
from accord.errors import AccordError, nearest
from accord.heads.rows import all_rows, layers_of, suffix
from accord.section import STEPS, Layer
from accord.study.plan import Plan, Unplanned, planned_once
from accord.study.stage import Needs, Stage
from accord.study.work import Work
from accord.text.catalog import TEXTS

if TYPE_CHECKING:
    from accord.concepts import ConceptModel
    from accord.concepts.imported import Imported
    from accord.concepts.labelled import Numbers
    from accord.heads import Recovered
    from accord.lm import Backbone, LanguageModel
    from accord.text import Batch, EmbeddingStore

VERSION = 2  # raise it when the same settings give other files or numbers
ROWS_AT_ONCE = 4096
TRAINED = 4  # times its weights that learning takes: weights, gradients, two averages; on disk the best for gradients


@dataclass(frozen=True)
class ConceptNode:
    """A concept model of one layer and seed, and the stage that makes it."""

    section: ConceptSection
    layer: Layer  # that it reads, as the study writes it
    number: int | None  # None for the last layer of a backbone that must be fetched first
    seed: int
    stage: Stage

    @property
    def title(self) -> str:
        """Its section's name."""
        return self.section.title

    @property
    def at(self) -> int:
        """The layer's number; by the time that anything is made it is known."""
        assert self.number is not None
        return self.number

    def load(self, work: Work, lm: "LanguageModel") -> "ConceptModel":
        """The concept model, on the device of a language model."""
        from accord.concepts import load

        return load(work.at(self.stage), lm.device)


def stages(plan: Plan) -> Iterator[Stage]:
    """Every concept model with every layer and seed."""
    yield from (node.stage for node in concept_models(plan))


@planned_once
def concept_models(plan: Plan) -> list[ConceptNode]:
    """All concept models of the study: crossed with layers and seeds."""
    sections = plan.all(ConceptSection)
    if not sections:
        return []
    _check_names(plan, sections)
    places: dict[tuple[int, Layer], int | None] = {}
    for i, section in enumerate(sections):
        for layer in layers_of(plan.study, section):
            with plan.at("concepts", i, "layers") if section.layers else plan.at("backbone", "layer"):
                places[i, layer] = plan.number(layer)
    need_texts(plan, "concepts")
    nodes = []
    for seed in plan.study.seeds:
        for (i, layer), number in places.items():
            section = sections[i]
            with plan.at("concepts", i, section=section):
                make = _imported if isinstance(section, ImportedSection) else _trained
                stage = make(plan, section, layer, number, seed)  # type: ignore[arg-type]
                nodes.append(ConceptNode(section, layer, number, seed, stage))
    return nodes


def first_seed(plan: Plan) -> list[ConceptNode]:
    """The concept models that the first seed made."""
    return [node for node in concept_models(plan) if node.seed == plan.seed]


def concepts_named(plan: Plan, title: str, *place: str | int) -> ConceptNode:
    """The concept model of a name, on its first layer, as the first seed made it.

    If no section has this name, raises AccordError; with a place, notes the problem there, and raises Unplanned.
    """
    titles = [section.title for section in plan.all(ConceptSection)]
    if title not in titles:
        wanted = nearest(title, titles) or "a [[concepts]] section of that name"
        error = AccordError("No such concepts.", got=title, wanted=wanted)
        if not place:
            raise error
        plan.problem(error, *place)
    for section in plan.all(ConceptSection):
        if section.title == title and section.transcodes:
            if not place:
                raise puts_nothing_back(title)
            plan.problem(puts_nothing_back(title), *place)
            raise Unplanned
    concepts = next((node for node in first_seed(plan) if node.title == title), None)
    if concepts is None:
        raise Unplanned
    return concepts


def check_concepts(plan: Plan, section: str, names: list[str]) -> None:
    """Note as problems the names that a section asks for and no [[concepts]] has; without any, that there are none."""
    transcoders = [concepts.title for concepts in plan.all(ConceptSection) if concepts.transcodes]
    titles = [concepts.title for concepts in plan.all(ConceptSection) if not concepts.transcodes]
    if not titles:
        wanted = "a [[concepts]] section" + (", and no transcoder" if transcoders else "")
        plan.problem(AccordError("There are no concepts.", wanted=wanted), section)
        return
    for title in names:
        if title in transcoders:
            plan.problem(puts_nothing_back(title), section, "concepts")
        elif title not in ("all", *titles):
            error = AccordError(
                "No [[concepts]] has this name.", got=repr(title), wanted=nearest(title, ["all", *titles])
            )
            plan.problem(error, section, "concepts")


def concepts_for(plan: Plan, names: list[str]) -> list[ConceptNode]:
    """The first seed's concept models of these names, or where "all" is among them all that are no transcoders."""
    nodes = [node for node in first_seed(plan) if not node.section.transcodes]
    return [node for node in nodes if "all" in names or node.title in names]


def puts_nothing_back(title: str) -> AccordError:
    """What is said where a transcoder is named for something that it is not for."""
    problem = "This asks for concepts that put back what they read, and a transcoder does not."
    return AccordError(problem, got=title, wanted="another [[concepts]]")


def need_texts(plan: Plan, section: str) -> Stage:
    """The stage of embeddings, for a section that needs it; without `[text]`, the problem is noted, and Unplanned."""
    from accord.embeddings.config import TextSection

    if plan.the(TextSection) is None:
        plan.problem(AccordError("This needs texts.", wanted="a [text] section"), section)
    return embeddings(plan)


def _trained(plan: Plan, section: TrainedSection, layer: Layer, number: int | None, seed: int) -> Stage:
    """Train a concept model, and judge it on held-out texts."""
    about, inputs = _about(section, number, seed), {"embeddings": embeddings(plan)}
    _check_steps(plan, section)
    _check_labels(plan, section)
    if isinstance(section, TranscoderSection):
        about["target"] = _target(plan, section, number)

    def make(work: Work) -> ConceptMetrics:
        from accord.concepts import build, fit, save
        from accord.concepts.train import curve_told

        device, texts = work.device(plan.backbone), Embeddings.read(work.at(inputs["embeddings"]))
        train, held_out = texts.store(TRAIN), texts.store(HELD_OUT)
        training, layers = section.training.schedule(train.tokens, seed), _ends(about)
        model = build(section.config, train.d_model, seed).to(device)
        model.fit_scale(_in_order(train, layers))
        numbers = _label_numbers(section, texts)
        size = section.training.batch
        supplies = [shuffled(train, at, size, seed, training.steps, work.progress) for at in layers]
        fitted = fit(
            model,
            lambda start: _learnt([supply(start) for supply in supplies], numbers.get(TRAIN)),
            training,
            held_out=lambda: _in_order(held_out, layers),
            folder=work.folder,
            progress=curve_told(work.progress),
            ranks=work.ranks,
        )
        work.trained()
        save(model, work.folder)
        metrics = {
            **about,
            **judge(work.backbone(plan.backbone), model, layers, texts),
            **_judge_labels(model, layers, texts, numbers),
            "seconds": fitted.rows[-1]["seconds"],
        }
        return ConceptMetrics(metrics)

    def needs() -> Needs:
        size, training = weights_of(plan, section), section.training
        kept = training.steps > training.checkpoint_every
        return Needs(plan.weights(plan.backbone) + TRAINED * size, size, TRAINED * size if kept else 0)

    settings = {**about, "model": section.config.model_dump(), "training": section.training.model_dump()}
    label = f"{section.title}{suffix(layer)}-s{seed}"
    return Stage("concepts", label, make, settings, seed, VERSION, inputs, needs, trains=True, seconds=20)


def _target(plan: Plan, section: TranscoderSection, number: int | None) -> int | None:
    """The number of the layer that a transcoder reconstructs. Raises AccordError unless that is above the one it reads.

    A number that is not known yet is that of the last layer, see `ConceptNode`.
    """
    target = plan.number(section.target)
    if number is None or (target is not None and target <= number):
        problem, fix = "A transcoder reconstructs a layer from one that comes before it.", "set layers, or target"
        read = "the last layer" if number is None else f"layer {number}"
        raise AccordError(problem, got=f"{read}, and target = {section.target!r}", wanted="a target above it", fix=fix)
    return target


def _ends(about: Mapping[str, Any]) -> list[int]:
    """The layer that a concept model reads; for a transcoder also the one that it reconstructs."""
    return [about[end] for end in ("layer", "target") if end in about]


def _learnt(supplies: "Sequence[Iterable[Batch]]", numbers: "Numbers | None") -> Iterator[Any]:
    """What a concept model learns from: as `_joined`, or where labels have numbers by text, embeddings and these."""
    if numbers is None:
        yield from _joined(supplies)
        return
    import torch

    labels = torch.from_numpy(numbers)
    for batch in supplies[0]:
        yield batch.x, labels[batch.text.cpu()]


def _labels_of(section: ConceptSection) -> list[str]:
    """The labels that a concept model learns; none of most kinds."""
    return list(getattr(section, "labels", []))


def _check_labels(plan: Plan, section: TrainedSection) -> None:
    """AccordError where concepts are to follow labels that the texts have not."""
    from accord.embeddings.config import TextSection

    text = plan.the(TextSection)
    if not _labels_of(section) or text is None:
        return
    if text.label is None and plan.texts(text.source) not in TEXTS:  # those of the catalog have labels anyhow
        fix = 'name their column: [text] label = "sentiment"'
        raise AccordError("Labelled concepts need texts with labels.", got="no label in [text]", fix=fix)
    column = column_of_labels(plan)
    if column is not None:
        from accord.concepts.labelled import label_numbers

        label_numbers(column, _labels_of(section))


def _label_numbers(section: TrainedSection, texts: Embeddings) -> "Mapping[str, Numbers]":
    """Of each text of a side the number of its label; nothing for kinds that learn from none."""
    if not _labels_of(section):
        return {}
    from accord.concepts.labelled import numbers_by_side

    train, held_out = (texts.table(side)["label"] for side in (TRAIN, HELD_OUT))
    return dict(zip((TRAIN, HELD_OUT), numbers_by_side(train, held_out, _labels_of(section)), strict=True))


def _judge_labels(
    model: "ConceptModel", layers: Sequence[int], texts: Embeddings, numbers: "Mapping[str, Numbers]"
) -> dict[str, float]:
    """What is told of the labels, see `accord.concepts.labelled.judge_labels`; nothing of kinds without."""
    if not model.labels:
        return {}
    from accord.concepts.labelled import judge_labels
    from accord.text import in_order

    sides = [(in_order(texts.store(side), layers[0], ROWS_AT_ONCE), numbers[side]) for side in (TRAIN, HELD_OUT)]
    return judge_labels(model, *sides)  # type: ignore[arg-type]


def _joined(supplies: "Sequence[Iterable[Batch]]") -> Iterator[Any]:
    """What a concept model learns from: the embeddings of a layer, or pairs of two layers' of the same tokens."""
    for batches in zip(*supplies, strict=True):
        yield batches[0].x if len(batches) == 1 else tuple(batch.x for batch in batches)


def _in_order(store: "EmbeddingStore", layers: Sequence[int]) -> Iterator[Any]:
    """The same for all rows of a store, once."""
    from accord.text import in_order

    return _joined([in_order(store, layer, ROWS_AT_ONCE) for layer in layers])


def _check_steps(plan: Plan, section: TrainedSection) -> None:
    """AccordError if `epochs` asks for more updates than a training may have."""
    steps = section.training.schedule(max(1, tokens_to_train_on(plan)), 0).steps
    if steps > STEPS:
        problem, fix = "So many epochs are too many updates.", "ask for fewer epochs, or a larger batch"
        raise AccordError(problem, got=f"{steps:,}", wanted=f"at most {STEPS:,}", fix=fix)


def weights_of(plan: Plan, section: ConceptSection) -> int:
    """Bytes of a concept model's weights; 0 where its kind or width is not known yet."""
    model = unfilled_of(plan, section)
    return 0 if model is None else 4 * sum(weight.numel() for weight in model.parameters())


def unfilled_of(plan: Plan, section: ConceptSection) -> "ConceptModel | None":
    """A concept model that the study trains, without its numbers; None where that is not known."""
    from accord.concepts.kinds import unfilled

    if not isinstance(section, TrainedSection) or plan.width is None:
        return None
    return unfilled(section.config, plan.width)


def _imported(plan: Plan, section: ImportedSection, layer: Layer, number: int | None, seed: int) -> Stage:
    """Import a dictionary, and judge it on held-out texts.

    Seeds do not change a dictionary; it has a folder for each seed because whatever reads it has a seed.

    Raises AccordError if it cannot be fetched or imported, or does not do what the study asks of it.
    """
    from accord.concepts.dictionaries import fingerprint, locate

    about, inputs = _about(section, number, seed), {"embeddings": embeddings(plan)}
    source = _source(plan, section.source)
    here = source not in plan.missing
    if here:
        _check_imported(plan, section, source, number)
    origin = dictionary(source).config.origin.model_dump() if here else None

    def make(work: Work) -> ConceptMetrics:
        from accord.concepts import import_dictionary, save

        lm, texts = work.backbone(plan.backbone), Embeddings.read(work.at(inputs["embeddings"]))
        model = import_dictionary(source).to(lm.device)
        model.fit_scale(_in_order(texts.store(TRAIN), [about["layer"]]))
        save(model, work.folder)
        metrics = {**about, **judge(lm, model, [about["layer"]], texts), "seconds": None, "origin": origin}
        return ConceptMetrics(metrics)

    def needs() -> Needs:
        size = sum(file.stat().st_size for file in locate(source)[0].iterdir() if file.is_file()) if here else 0
        return Needs(plan.weights(plan.backbone) + size, size)

    settings = {**about, "files": fingerprint(locate(source)[0]) if here else None, "origin": origin}
    label = f"{section.title}{suffix(layer)}-s{seed}"
    return Stage("concepts", label, make, settings, seed, VERSION, inputs, needs, seconds=20)


def _source(plan: Plan, source: str) -> str:
    """A dictionary of another tool as `accord.concepts.import_dictionary` takes it; fetched, or noted as missing.

    Raises AccordError if it is no folder and not written like one on the hub.
    """
    from accord.concepts.dictionaries import bytes_to_fetch, is_hub_place, locate

    beside = plan.file.beside(source)
    if beside.is_dir():
        return str(beside)
    if path_of(source).is_dir():
        return source
    if not is_hub_place(source):
        fix = "name a folder, or one on the hub: org/name/folder"
        raise AccordError("There is no such folder.", got=repr(source), fix=fix)
    if plan.fetch:
        locate(source)
    else:
        plan.miss(source, "a dictionary", partial(bytes_to_fetch, source))
    return source


def _about(section: ConceptSection, number: int | None, seed: int) -> dict[str, Any]:
    return {"name": section.title, "kind": section.kind, "layer": number, "seed": seed}


def dictionary(source: str) -> "Imported":
    """The dictionary of a section, read once while its files stay the same; fetched if it is on the hub."""
    from accord.concepts.dictionaries import fingerprint, locate

    return _read(source, tuple(fingerprint(locate(source)[0]).items()))


@lru_cache(maxsize=2)
def _read(source: str, files: tuple[tuple[str, str], ...]) -> "Imported":
    from accord.concepts import import_dictionary

    return import_dictionary(source)


def _check_imported(plan: Plan, section: ImportedSection, source: str, number: int | None) -> None:
    """AccordError unless a dictionary that is here does what the study asks of it."""
    model = dictionary(source)
    model.check_decodes("a study", alike=_reads_off_decoders(plan, section))
    if number is not None:
        model.check_layer(number)
    if plan.width not in (None, model.d):
        raise AccordError(
            "This dictionary is for states of another width.", where=source, got=model.d, wanted=plan.width
        )


def _reads_off_decoders(plan: Plan, section: ImportedSection) -> bool:
    """Whether the study asks what each concept writes."""
    latents = any(row.concepts == section and row.head.reads == "latents" for row in all_rows(plan.study))
    return latents or any(getattr(plan.study, key, None) is not None for key in ("names", "steering", "explain"))


def judge(lm: "Backbone", model: "ConceptModel", layers: Sequence[int], texts: Embeddings) -> dict[str, float | None]:
    """The measures of a concept model: its reconstruction of held-out embeddings, and cross-entropy recovered.

    `layers` are the one that it reads, and for a transcoder the one that it reconstructs. CE recovered, soft and hard,
    is null where putting in the mean does not hurt the backbone.
    """
    from accord.concepts import evaluate
    from accord.heads import recovered_on_rows, recovered_on_texts
    from accord.text import in_order

    held_out = texts.store(HELD_OUT)
    quality = evaluate(model, _in_order(held_out, layers))
    if list(layers) == [lm.n_layers]:
        recovered = recovered_on_rows(lm, model, in_order(held_out, lm.n_layers, ROWS_AT_ONCE))
    else:
        max_length = held_out.layout.settings["max_length"]
        options = {"target": layers[1]} if len(layers) > 1 else {}
        recovered = recovered_on_texts(lm, layers[0], model, texts.texts(HELD_OUT), max_length=max_length, **options)
    return {
        **{name: getattr(quality, name) for name in ("r2", "fvu", "r2_hard", "l0", "alive", "parameters")},
        "ce_recovered": _defined(recovered, "recovered"),
        "ce_recovered_hard": _defined(recovered, "recovered_hard"),
        "ce_original": recovered.original,
        "ce_ablated": recovered.ablated,
    }


def _defined(recovered: "Recovered", name: str) -> float | None:
    try:
        return float(getattr(recovered, name))
    except AccordError:
        return None


def _check_names(plan: Plan, sections: list[ConceptSection]) -> None:
    """Note concept models that would share a folder."""
    titles: set[str] = set()
    for i, section in enumerate(sections):
        if section.title.casefold() in titles:
            fix = 'give one of them a name: name = "…"'
            error = AccordError("Two [[concepts]] have the same name.", got=section.title, fix=fix)
            plan.problem(error, "concepts", i)
        titles.add(section.title.casefold())
