"""`accord models`, `prove` and `cache`: which models there are, what accord relies on in one, what was fetched."""

from typing import TYPE_CHECKING, Annotated

import typer

from accord.amounts import in_bytes, on_day
from accord.errors import AccordError
from accord.lm.config import BackboneSection
from accord.report.metric import plain
from accord.screen import tell
from accord.terminal import DEVICE, confirmed, print_listing, print_record, print_table

if TYPE_CHECKING:
    from accord.lm import Backbone

# Ordinary sentences, at whose tokens log-odds are compared between precisions.
_TEXTS = (
    "The committee met on Tuesday to discuss the budget for the coming year.",
    "A bee is a kind of insect that lives in a hive and makes honey.",
    "Question: Is a sparrow a kind of bird? Answer: Yes",
)


def models() -> None:
    """List the models of the catalog.

    Example: `accord models`
    """
    from accord.lm.catalog import entries

    for entry in entries():
        weights = f"{entry.download / 1e6:.0f} MB to fetch" if entry.on_disk is None else "in the cache"
        size = f"{entry.layers} layers, width {entry.width}, vocabulary {entry.vocab:,}"
        print_record(entry.name, entry.description, {"size": size, "weights": weights, "licence": entry.license})


def prove(backbone: Annotated[BackboneSection, DEVICE.but(argument="model")]) -> None:
    """Show what accord relies on in a model, how it was tried, and the largest differences; exit code 1 if refused.

    The same is tried, on shorter texts, whenever a model loads: see docs/models.md.

    Examples:

    - `accord prove smollm2-135m`
    - `accord prove ./my-model --dtype bfloat16`
    - `accord prove ./large-model --device cuda:0,cuda:1`
    """
    from accord.lm.edited import backbone_of
    from accord.lm.proofs import between, precision
    from accord.study.work import load, to_make

    lm = load(backbone)
    proven = backbone_of(lm)
    proven.prove(thorough=True)
    rows = [
        [name, "holds" if proof.holds else "no", f"{proof.difference:.1e}", f"{proof.tolerance:.0e}", proof.meaning()]
        for name, proof in proven.proofs.items()
    ]
    try:
        mean, largest = precision(proven, _TEXTS)
        better = "float64" if str(proven.dtype) == "torch.float32" else "float32"
        moved = f"log-odds of the next token beside {better}, in nats (mean {mean:.1e})"
        rows.append(["precision", "", f"{largest:.1e}", "", moved])
    except AccordError as error:  # accord does not rely on it
        rows.append(["precision", "not tried", "", "", f"{error.problem} ({error.got})"])
    if (faster := to_make(backbone)) != backbone and proven is lm:
        mean, largest = between(proven, backbone_of(load(faster)), _TEXTS)
        made = f"the same, bfloat16 beside float32 (mean {mean:.1e}); embeddings, adapters and texts are made in it"
        rows.append(["made in", "", f"{largest:.1e}", "", made])
    if proven.placement.divided:
        rows.append(_cost(proven, backbone))
    print_table(("proof", "verdict", "difference", "allowed", "what it says"), rows, title=lm.name)
    tell(_limits(proven))
    if proven.placement.divided:
        tell(f"{proven.placement}.")
    if lm is not proven:
        tell(f"Proven is {proven.name}, on which this model stands; what changes it was not tried.")


def _cost(divided: "Backbone", section: BackboneSection) -> list[str]:
    """What the placement of a model costs in numbers: beside the same on one device, where one can hold it."""
    from accord.lm.edited import backbone_of
    from accord.lm.proofs import between
    from accord.loading import weights_bytes
    from accord.machine import free_memory
    from accord.study.work import load

    dtype = str(divided.dtype).removeprefix("torch.")
    for device in dict.fromkeys((str(divided.device), "cpu")):
        if 0 < weights_bytes(section.model, device=device, dtype=dtype) <= free_memory(device):
            whole = backbone_of(load(section.model_copy(update={"device": device, "dtype": dtype})))
            mean, largest = between(divided, whole, _TEXTS)
            told = f"log-odds of the next token beside the undivided model on {device}, in nats (mean {mean:.1e})"
            return ["placement", "", f"{largest:.1e}", "", told]
    return ["placement", "not tried", "", "", "no single device can hold the model"]


def _limits(lm: "Backbone") -> str:
    """What the model reads, and how, in a sentence or two."""
    limits = lm.limits
    sentences = [f"{lm.n_layers} blocks of width {lm.d_model}, {lm.vocab_size:,} tokens."]
    sentences += [f"It reads at most {limits.length:,} tokens."] if limits.length else []
    sentences += [f"Its numbers switch at {', '.join(map(str, limits.switches))} tokens."] if limits.switches else []
    if limits.each_from == 1:
        sentences.append("Only texts of one length share a batch.")
    elif limits.each_from:
        sentences.append(f"From {limits.each_from} tokens on, each length has numbers of its own.")
    return " ".join(sentences)


def cache(
    remove: Annotated[str | None, typer.Option(metavar="NAME", help="Remove what has this name.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """List what was fetched or made of it: models, texts, sizes, licences; with --remove, remove one of them.

    It lies in ~/.cache/accord, or where ACCORD_HOME says. Models of the hub lie in the hub's own cache.

    Examples:

    - `accord cache`
    - `accord cache --remove gemma3-270m`
    """
    from accord import cached

    if remove is not None:
        entry = cached.find(remove)
        tell(f"{entry.folder}: {plain(entry.what)}, {in_bytes(entry.bytes)}")
        if entry.place == "hub":
            tell("It lies in the hub's cache, which other programs use, too.")
        if confirmed("Remove it?", yes):
            cached.remove(remove)
            tell(f"{entry.name}: removed; it is fetched again when it is needed")
        return
    there = cached.entries()
    if there:
        rows = [
            [plain(entry.name), in_bytes(entry.bytes), plain(entry.licence), on_day(entry.used), plain(entry.what)]
            for entry in there
        ]
        print_listing(("name", "size", "licence", "last read", "what it is"), rows, right=["size"])
    own = sum(entry.bytes for entry in there if entry.place == "accord")
    tell(f"{cached.cache_root()}: {in_bytes(own)} in all")


COMMANDS = (models, prove, cache)
