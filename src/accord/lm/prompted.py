"""Models that treat a prompt and what follows it differently, such as a model that is steered only in what it writes.

`LanguageModel.hidden` sees ids and cannot tell where a prompt ends. So sampling and scoring, which know it, take
the model for each length of prompt, and read the sequences of that length together.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, Protocol, runtime_checkable

from torch import Tensor
from transformers import Cache

from accord.errors import AccordError
from accord.lm.edited import Wrapped
from accord.lm.marked import States
from accord.lm.model import LanguageModel

Positions = Literal["all", "prompt", "generated"]
"""Which positions change. "generated": those at which generated tokens are read, from the prompt's last token on.
"prompt": those before. "all": both."""


@runtime_checkable
class Prompted(Protocol):
    """A model that depends on how long the prompt is."""

    def after_prompt(self, length: int) -> LanguageModel:
        """The model for sequences whose first `length` tokens are the prompt."""
        ...


def after_prompt(lm: LanguageModel, length: int) -> LanguageModel:
    """The model for sequences whose first `length` tokens are the prompt; most models are the same for every length."""
    return lm.after_prompt(length) if isinstance(lm, Prompted) else lm


class InPart(Wrapped):
    """A language model that is changed in the prompt only, or in what is generated only.

    Sampling and scoring work on it (a query's context is its prompt). Work that knows of no prompt is refused.

    Args:
        lm: the model that is changed.
        make: gives the changed model for the first changed position and the position before which changes end.
        part: "prompt" or "generated".
        changed: what the change is, for `settings`.
    """

    def __init__(
        self,
        lm: LanguageModel,
        make: Callable[[int, int | None], LanguageModel],
        part: Literal["prompt", "generated"],
        changed: dict[str, Any],
    ) -> None:
        super().__init__(lm, None, f"steered in the {part} part")
        self.make, self.part, self.changed = make, part, changed

    def after_prompt(self, length: int) -> LanguageModel:
        """See `Prompted`."""
        return self.make(length - 1, None) if self.part == "generated" else self.make(1, length - 1)

    def hidden(
        self,
        ids: Tensor,
        *,
        layers: Sequence[int] | None = None,
        at: Tensor | None = None,
        cache: Cache | None = None,
    ) -> NoReturn:
        """Raises AccordError: where the prompt ends is not known here."""
        raise AccordError(
            f"This model is steered in the {self.part} part, and nothing here says where a prompt ends.",
            where=self.name,
            fix='steer with positions = "all", or ask for the model of one length of prompt: after_prompt(length)',
        )

    def lens(self, hidden: States) -> Tensor:
        """See `LanguageModel.lens`; of states that no change has touched."""
        return self.lm.lens(hidden)

    def settings(self) -> dict[str, Any]:
        """See `LanguageModel.settings`: the model's, and the change."""
        return {**self.lm.settings(), "model": self.name, "steered": self.changed, "positions": self.part}
