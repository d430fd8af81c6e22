"""The pathway in plain sentences, each from stated numbers by a stated rule."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from accord.pathway.tables import BASE, INTO_BASE, INTO_REPAIRED, LAST, REPAIRED, value_of

if TYPE_CHECKING:
    from accord.pathway.result import Pathway

STARTS, MOST = 0.1, 0.75
"""Share of the effect from which a layer's states are said to carry the repair at all, and to carry most of it."""


@dataclass(frozen=True)
class Entry:
    """Where a repair is in the states: the layers from which on they carry `STARTS` and `MOST` of its effect.

    None where they never do, up to the top layer; `top` is the share there, None where there is no effect.
    """

    starts: int | None
    most: int | None
    top: float | None


def entry(patching: pd.DataFrame, direction: str, positions: str = LAST) -> Entry:
    """Where the states' effect begins, and where most of it is there: the layers from which on it stays that high."""
    of = {"direction": direction, "positions": positions, "what": "states"}
    layers = sorted(int(layer) for layer in patching["layer"].unique())
    values = [value_of(patching, {**of, "layer": layer}) for layer in layers]
    if values[-1] is None:
        return Entry(None, None, None)
    return Entry(_stays(layers, values, STARTS), _stays(layers, values, MOST), values[-1])


def _stays(layers: list[int], values: list[float | None], share: float) -> int | None:
    lowest = None
    for layer, value in zip(reversed(layers), reversed(values), strict=True):
        if value is None or value < share:
            return lowest
        lowest = layer
    return lowest


def summarize_pathway(pathway: "Pathway") -> dict[str, Any]:
    """The numbers and the sentences of `pathway.json`."""
    into = {name: entry(pathway.patching, name) for name in (INTO_BASE, INTO_REPAIRED)}
    read = {model: _best(pathway, model) for model in (BASE, REPAIRED)}
    differs = {str(form): _extreme(part, -part["value"]) for form, part in pathway.cka.groupby("form")}
    numbers: dict[str, Any] = {
        "entry": {name: vars(place) for name, place in into.items()},
        "random": _loudest(pathway.patching),
        "readout": read,
        "lowest_cka": differs,
        "top": {model: _top(pathway, model) for model in (BASE, REPAIRED)},
    }
    sentences = [_enters(into[INTO_BASE]), *_control(numbers["random"], into[INTO_BASE])]
    sentences += [_back(into[INTO_REPAIRED]), *_known(read, numbers["top"]), *_apart(differs)]
    if pathway.concepts is not None:
        certain = int(pathway.concepts["certain"].sum())
        numbers["concepts"] = {"certain": certain, "of": len(pathway.concepts)}
        sentences.append(
            f"{certain} of {len(pathway.concepts)} concepts changed for certain (simultaneous 95 % intervals)."
        )
    return {**numbers, "sentences": [sentence for sentence in sentences if sentence]}


def _enters(at: Entry) -> str:
    if at.top is None:
        return "Both models answer the validator's question alike (within 0.001 nats): there is no effect to locate."
    if at.starts is None:
        return (
            f"The repair is not in the states: put into the base model, the repaired model's states carry {at.top:.0%} "
            "of its effect at the top layer, so it is made at the logits."
        )
    carried = (
        "Put into the base model at the validator's last position, the repaired model's states carry at least "
        f"{STARTS:.0%} of the repair's effect from layer {at.starts} on"
    )
    if at.most is None:
        return f"{carried}, but only {at.top:.0%} at the top layer: the rest is made at the logits."
    where = f"at layer {at.starts}" if at.starts == at.most else f"between layers {at.starts} and {at.most}"
    return f"{carried} and at least {MOST:.0%} from layer {at.most} on: the repair enters {where}."


def _control(random: dict[str, Any] | None, at: Entry) -> list[str]:
    if random is None or at.starts is None:
        return []
    size = abs(random["value"])
    return [f"Random changes of the same norm have {size:.0%} of the effect at most (layer {random['layer']})."]


def _back(at: Entry) -> str:
    if at.starts is None:
        return ""
    most = "" if at.most is None else f", and at least {MOST:.0%} from layer {at.most} on"
    return f"The base model's states undo at least {STARTS:.0%} of it from layer {at.starts} on{most}."


def _known(read: dict[str, Any], top: dict[str, Any]) -> list[str]:
    sentences = []
    for model, best in read.items():
        own, own_high = top[model]["final_pearson_all"], top[model]["final_pearson_all_high"]
        if best is None or own is None:
            continue
        apart = (own if own_high is None else own_high) < best["low"]
        verdict = "known and not said" if apart else "said about as well as it is known"
        sentences.append(
            f"In the {model} model the base model's generator is read best from the validator's state of layer "
            f"{best['layer']} (r {best['value']:z.2f}); its own answer agrees with its own generator with r "
            f"{own:z.2f}: {verdict}."
        )
    return sentences


def _apart(differs: dict[str, Any]) -> list[str]:
    parts = [f"{at['value']:.3f} at layer {at['layer']} on {form} prompts" for form, at in differs.items() if at]
    return [f"States differ most (lowest CKA): {'; '.join(parts)}."] if parts else []


def _loudest(patching: pd.DataFrame) -> dict[str, Any] | None:
    """The layer at which random changes put into the base model do most."""
    what, direction, positions = patching["what"], patching["direction"], patching["positions"]
    part = patching[(what == "random") & (direction == INTO_BASE) & (positions == LAST)]
    return _extreme(part, part["value"].abs())


def _best(pathway: "Pathway", model: str) -> dict[str, Any] | None:
    """The layer that training items choose to read l_G from, and how well it is read on the first test items."""
    table = pathway.readout[pathway.readout["model"] == model]
    trained = table[(table["items"] == "train") & (table["metric"] == "explained")]
    chosen = _extreme(trained, trained["value"])
    if chosen is None:
        return None
    part = table[(table["items"] == pathway.about["tests"][0]) & (table["metric"] == "pearson_all")]
    part = part[part["layer"] == chosen["layer"]]
    return _extreme(part, part["value"])


def _extreme(part: pd.DataFrame, by: pd.Series) -> dict[str, Any] | None:
    """Layer, value and lower end of the row with the highest `by`; None where nothing is defined."""
    defined = by.notna().to_numpy()
    if not defined.any():
        return None
    row = part[defined].iloc[int(by[defined].to_numpy().argmax())]
    low = row["value"] if pd.isna(row["low"]) else row["low"]
    return {"layer": int(row["layer"]), "value": float(row["value"]), "low": float(low)}


def _top(pathway: "Pathway", model: str) -> dict[str, float | None]:
    """The model's own answers: the curves at the top layer."""
    layer = pathway.curves["layer"].max()
    metrics = ("validator_auc", "generator_auc", "final_pearson_all", "final_pearson_yes", "final_pearson_no")
    at = {"model": model, "layer": layer}
    tops: dict[str, float | None] = {name: value_of(pathway.curves, {**at, "metric": name}) for name in metrics}
    return {**tops, "final_pearson_all_high": value_of(pathway.curves, {**at, "metric": "final_pearson_all"}, "high")}
