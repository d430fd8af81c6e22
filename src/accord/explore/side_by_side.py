"""What editing concepts does to a text, beside its controls: the same prompt and random numbers in all four arms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from accord.arguments import checked
from accord.errors import AccordError
from accord.gap.preview import shown_tokens
from accord.lm.encoding import encode_prompt, start_id
from accord.lm.model import LanguageModel
from accord.lm.next_tokens import next_tokens
from accord.lm.prefix_tree import Ids
from accord.lm.sampling import generate
from accord.steering.arms import Dose, equal_rates, joint_arms
from accord.steering.result import CONCEPT, OTHER, PUSH
from accord.steering.target import Target
from accord.steering.typical import Typical

WITHOUT = "without"
ARMS = (WITHOUT, CONCEPT, OTHER, PUSH)
"""In their order; the last two are the controls, which are always there."""


@dataclass(frozen=True)
class Beside:
    """A text that one arm wrote.

    Attributes:
        arm: "without" any edit, "concept", or a control: "random concept" of equal rate, "random direction" that moves
            every state as far.
        concepts: those that are edited in this arm.
        tokens: what was written, token by token.
        same: how many of the first tokens are those of the text without.
        text: the same as text.
        next: the most probable tokens right after the prompt, each with its probability.
    """

    arm: str
    concepts: tuple[int, ...]
    tokens: tuple[str, ...]
    same: int
    text: str
    next: Sequence[tuple[str, float]]


@checked
def write_beside(
    target: Target,
    typical: Typical,
    doses: Mapping[int, Dose],
    *,
    prompt: str = "",
    tokens: int = 40,
    seed: int = 0,
    likely: int = 10,
    shown: Callable[[list[Beside]], None] | None = None,
) -> list[Beside]:
    """Write a text without edits, with them, and with both controls; see `accord.steering.arms.joint_arms`.

    Args:
        doses: concept -> how it is edited.
        prompt: what to continue; empty for a text from nothing.
        tokens: after which a text is cut.
        seed: of the draws, the same in all arms; of the random concepts and the random direction.
        likely: how many of the most probable next tokens.
        shown: called with the texts so far, after every token.

    Raises:
        AccordError: no dose, a concept that was never active, or as `accord.lm.generate` does.
    """
    if wrong := [k for k in doses if not 0 <= k < target.concepts.K]:
        raise AccordError("There is no such concept.", got=wrong[0], wanted=f"0 to {target.concepts.K - 1}")
    others = equal_rates(typical, list(doses), seed)
    arms = joint_arms(target, typical, doses, others, seed)
    models = {WITHOUT: target.plain, **{arm.control: arm.model(target) for arm in arms}}
    edited = {WITHOUT: (), CONCEPT: tuple(doses), OTHER: tuple(others.values()), PUSH: ()}
    tokenizer = target.lm.tokenizer
    context = encode_prompt(tokenizer, prompt) if prompt else (start_id(tokenizer),)
    done: list[Beside] = []
    first: Ids = ()
    for arm in ARMS:
        [likeliest] = next_tokens(models[arm], [context], likely)
        beside = partial(_beside, target.lm, arm, edited[arm], likeliest, first)
        told = None if shown is None else partial(_tell, shown, tuple(done), beside)
        [sample] = generate(
            models[arm], prompts=[prompt] if prompt else None, max_new_tokens=tokens, seed=seed, written=told
        )
        first = sample.ids if arm == WITHOUT else first
        done.append(_beside(target.lm, arm, edited[arm], likeliest, first, sample.ids))
    return done


def _beside(
    lm: LanguageModel,
    arm: str,
    concepts: tuple[int, ...],
    likeliest: Sequence[tuple[int, float]],
    first: Ids,
    ids: Ids,
) -> Beside:
    same = next((i for i, (own, other) in enumerate(zip(ids, first, strict=False)) if own != other), len(ids))
    return Beside(
        arm,
        concepts,
        tuple(str(lm.tokenizer.decode([token])) for token in ids),
        min(same, len(first)) if arm != WITHOUT else len(ids),
        str(lm.tokenizer.decode(list(ids), skip_special_tokens=True)),
        [(shown_tokens(lm, (token,)), probability) for token, probability in likeliest],
    )


def _tell(
    shown: Callable[[list[Beside]], None], done: Sequence[Beside], beside: Callable[[Ids], Beside], ids: Ids
) -> None:
    shown([*done, beside(ids)])
