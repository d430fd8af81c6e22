"""Do concepts do something? Each is turned off and up, beside controls, and what changes is measured.

Two questions, each with its expected direction. *Promoted tokens*: their log-probability on held-out texts falls where
the concept is turned down and rises where it is turned up. That checks the edit: at the top layer tokens are called
promoted because what the concept writes raises them. So does any direction with its own, and the random direction is
scored on those, found in the same way; another concept of equal rate is scored on the concept's, which it should move
less. What the concept means is not asked here. *Label*: texts written with the concept turned up have
more of the label that its strength goes with in the training texts (CB-LLM's steerability: the share of them that
an independent classifier puts in the wanted class). Fluency is measured beside it. The controls: another concept of
equal rate at its own dose, and a random direction that moves every state as far as the concept's edit.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from accord.arguments import checked
from accord.errors import AccordError
from accord.progress import Progress
from accord.steering.arms import Arm, Dose, arms, random_unit
from accord.steering.means import Mean, over_prompts, over_texts
from accord.steering.promotion import promoted_along
from accord.steering.reading import Reading
from accord.steering.result import CONCEPT, OTHER, PUSH
from accord.steering.target import Target
from accord.steering.typical import Typical
from accord.steering.writing import Writing

Floats = NDArray[np.float64]
OVER = "concept over "

CONTROLS = (OTHER, PUSH)
_RIVALS = {CONCEPT: (OTHER, PUSH), OTHER: (PUSH,), PUSH: (OTHER,)}
"""What an arm must beat to act as expected on texts: the concept both controls, and each control the other."""
_SPECIFIC = {CONCEPT: (OTHER,), OTHER: (CONCEPT,), PUSH: (OTHER,)}
"""On promoted tokens: the two concepts each other, on the tokens of the first; the direction, on its own, what a
random concept does to tokens."""


@checked
def promoted_effects(
    reading: Reading,
    typical: Typical,
    tokens: Mapping[int, Sequence[int]],
    others: Mapping[int, int],
    doses: Sequence[Dose],
    *,
    places: int = 100,
    seed: int = 0,
    states: Tensor | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Change of the mean log-probability of each concept's promoted tokens, in nats, where it is edited.

    The random direction is scored on as many tokens that it promotes itself at the length of what the concept usually
    writes; the random concept on the concept's tokens. A factor changes states where the concept is active, so it is
    measured there (the control concept where *that* is active); a set strength anywhere.

    Args:
        tokens: concept -> ids of the tokens that it promotes.
        others: concept -> the control of equal rate.
        places: positions of the texts at most, for each concept and dose.
        states: raw states [m, d] of the layer that `tokens` were found on, for the random directions' tokens; without
            them those are found around the mean state.
        progress: called with (concepts done, concepts in all).

    Returns:
        Rows of `Effects.table`.
    """
    rows = []
    around = reading.target.concepts.mean[None] if states is None else states
    for done, (concept, own) in enumerate(tokens.items()):
        pushed = float(typical.written[concept].norm()) * random_unit(reading.target, seed, concept)
        [along] = promoted_along(reading.target, pushed[None], around, n=len(own))
        plain: dict[tuple[str, int, bool], Floats] = {}
        for dose in doses:
            changes, levels = {}, {}
            for arm in arms(reading.target, typical, concept, others[concept], dose, seed):
                where = reading.places(arm.concept if dose.kind == "factor" else None, places, seed)
                scored = along if arm.control == PUSH else own
                after = reading.log_probs(arm, where, scored)
                if (key := (dose.kind, arm.concept, arm.control == PUSH)) not in plain:
                    plain[key] = reading.log_probs(None, where, scored)
                change = after - plain[key]
                changes[arm.control] = over_texts(reading.text[where], change, reading.texts)
                levels[arm.control] = float(after.mean()) if len(after) else float("nan")
            rows += _rows((concept, others[concept]), dose, "promoted", changes, levels, dose.sign, _SPECIFIC)
        if progress:
            progress(done + 1, len(tokens))
    return rows


@checked
def written_effects(
    target: Target,
    typical: Typical,
    writing: Writing,
    directions: Mapping[int, int],
    others: Mapping[int, int],
    doses: Sequence[Dose],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Change of the measures of `Writing.read` against the unsteered text of the same prompt and random numbers.

    Args:
        directions: concept -> 1 if its strength goes with the label, −1 if with its opposite.
        progress: called with (sets of texts done, sets in all).

    Returns:
        Rows of `Effects.table`, and a row for every text.

    Raises:
        AccordError: a direction is neither 1 nor −1.
    """
    if wrong := [way for way in directions.values() if way not in (1, -1)]:
        raise AccordError("a concept goes with the label (1) or with its opposite (-1)", got=wrong[0])
    before = writing.write(target.plain)
    base = writing.read(before)
    texts = [_text(None, None, sample, i, writing, base) for i, sample in enumerate(before)]
    rows: list[dict[str, Any]] = []
    total, done = len(directions) * len(doses) * (1 + len(CONTROLS)), 0
    for concept, direction in directions.items():
        for dose in doses:
            way = direction * dose.sign
            changes: dict[str, dict[str, Mean]] = {}
            levels: dict[str, dict[str, float]] = {}
            for arm in arms(target, typical, concept, others[concept], dose, seed):
                samples = writing.write(arm.model(target))
                after = writing.read(samples)
                texts += [_text(arm, (concept, dose), sample, i, writing, after) for i, sample in enumerate(samples)]
                for name, new, old in _measures(writing, after, base, way):
                    changes.setdefault(name, {})[arm.control] = over_prompts(new - old, unit=name == "wanted")
                    levels.setdefault(name, {})[arm.control] = over_prompts(new).value
                done += 1
                if progress:
                    progress(done, total)
            for name, estimates in changes.items():
                expected = {"label": way, "wanted": 1}.get(name, 0)
                rows += _rows((concept, others[concept]), dose, name, estimates, levels[name], expected, _RIVALS)
    return rows, texts


def _measures(
    writing: Writing, after: Mapping[str, Floats], base: Mapping[str, Floats], way: int
) -> list[tuple[str, Floats, Floats]]:
    """Name, values and unsteered values [prompt, n] of what is measured of texts steered one way."""
    wanted = ("wanted", writing.wanted(after["label"], way), writing.wanted(base["label"], way))
    return [wanted, *((name, after[name], base[name]) for name in after)]


def _rows(
    concepts: tuple[int, int],
    dose: Dose,
    measure: str,
    changes: Mapping[str, Mean],
    levels: Mapping[str, float],
    expected: int,
    rivals: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """A row for each arm of a concept and its random one, and one for the concept's lead over each control."""
    about = {"concept": concepts[0], "random_concept": concepts[1], "kind": dose.kind, "dose": dose.value}
    rows = []
    for control, estimate in changes.items():
        acts = bool(expected) and estimate.beyond(expected)
        acts = acts and all((estimate - changes[rival]).beyond(expected) for rival in rivals[control])
        verdict = {"expected": expected, "acts": acts if expected else None}
        rows.append({**about, "control": control, "measure": measure, **_numbers(estimate, levels[control]), **verdict})
    for rival in CONTROLS:
        lead = _numbers(changes[CONCEPT] - changes[rival], float("nan"))
        rows.append({**about, "control": OVER + rival, "measure": measure, **lead, "expected": expected, "acts": None})
    return rows


def _numbers(estimate: Mean, level: float) -> dict[str, float | int]:
    low, high = estimate.interval
    return {"value": estimate.value, "low": low, "high": high, "n": estimate.n, "level": level}


def _text(
    arm: Arm | None,
    what: tuple[int, Dose] | None,
    sample: Any,
    number: int,
    writing: Writing,
    measured: Mapping[str, Floats],
) -> dict[str, Any]:
    prompt, index = divmod(number, writing.n)
    scores = {name: float(values[prompt, index]) for name, values in measured.items()}
    return {
        "concept": what[0] if what else None,
        "kind": what[1].kind if what else None,
        "dose": what[1].value if what else None,
        "control": arm.control if arm else "none",
        "prompt": sample.prompt,
        "index": index,
        "text": sample.text,
        **{name: value if value == value else None for name, value in scores.items()},
    }
