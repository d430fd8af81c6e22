"""How a prompt becomes a conversation, for models that are asked in one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accord.tasks.base import Form, Item

Message = dict[str, str]
"""A turn of a conversation: its `role` (system, user or assistant) and its `content`."""


@dataclass(frozen=True)
class Chat:
    """How a task's prompts are put into a model's chat template.

    Attributes:
        system: the system message; without it there is none of ours (a template may bring its own).
        options: what else the template is given: {"enable_thinking": False}, {"date_string": "26 Jul 2026"}.
        turns: each worked example is a turn of the user and a reply, as such models are trained to see answered
            questions; else all of a prompt is one message.

    >>> Chat(system="Answer with one word.").turns
    True
    """

    system: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    turns: bool = True

    def messages(self, form: "Form", item: "Item", *, negated: bool = False) -> list[Message]:
        """The conversation that the model replies to."""
        turns = [] if self.system is None else [("system", self.system)]
        if self.turns:
            turns += [turn for example in form.examples for turn in zip(("user", "assistant"), example, strict=True)]
            turns.append(("user", form.filled(item, negated=negated)))
        else:
            turns.append(("user", form.prompt(item, negated=negated)))
        return [{"role": role, "content": content} for role, content in turns]

    @property
    def settings(self) -> dict[str, Any]:
        """What fixes the conversations, for the record."""
        return {"system": self.system, "options": dict(self.options), "turns": self.turns}
