"""Conversations as a model's chat template writes them, and what goes wrong there."""

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from transformers import PreTrainedTokenizerBase

from accord.errors import AccordError, nearest

Message = Mapping[str, str]

_REPLY = "reply"


def chat_text(
    tokenizer: PreTrainedTokenizerBase, messages: str | Sequence[Message], options: Mapping[str, Any] | None = None
) -> str:
    """The text of a conversation (or of one user's message), up to where the model's reply begins.

    Special tokens are already in it: encode it with `special=False`, or BOS doubles.

    Raises:
        AccordError: the tokenizer has no chat template; it fails; it leaves a message out, or does not know an option.
    """
    said = [{"role": "user", "content": messages}] if isinstance(messages, str) else [dict(one) for one in messages]
    if not tokenizer.chat_template:
        raise AccordError(
            "a chat template was asked for, but this model has none",
            where=_name(tokenizer),
            fix="leave chat off, or use the model's instruction-tuned version",
        )
    _check_options(tokenizer, options or {})
    text = _rendered(tokenizer, said, options or {}, add_generation_prompt=True)
    for message in said:  # some templates pass over what they have no place for
        if message["content"].strip() not in text:
            raise AccordError(
                f"this model's chat template leaves out the {message['role']} message",
                where=_name(tokenizer),
                got=repr(message["content"][:80]),
                fix="ask without it" if message["role"] == "system" else "leave chat off",
            )
    return text


def reply_space(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], options: Mapping[str, Any] | None, text: str
) -> str:
    """The white space that the template itself writes between `text`, where a reply begins, and the reply.

    Most write none, and the reply's first word is tokenised as it stands; Llama 2's and Mistral's first ones write a
    space. Nothing is put where the template does something else to a reply, or takes none.
    """
    said = [*(dict(one) for one in messages), {"role": "assistant", "content": _REPLY}]
    try:
        whole = _rendered(tokenizer, said, options or {}, add_generation_prompt=False)
    except AccordError:
        return ""
    before, reply, _ = whole.removeprefix(text).partition(_REPLY)
    return before if whole.startswith(text) and reply and before.isspace() else ""


def _rendered(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, str]],
    options: Mapping[str, Any],
    *,
    add_generation_prompt: bool,
) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=add_generation_prompt, **options
            )
        )
    # A template is a program from elsewhere: whatever it raises is said of it.
    except (
        TemplateError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        has_system = messages[0]["role"] == "system"
        line = getattr(error, "lineno", None)
        raise AccordError(
            "this model's chat template fails",
            where=_name(tokenizer) + (f", line {line} of the template" if line else ""),
            got=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}",
            wanted=f"a text of {len(messages)} messages: {', '.join(dict.fromkeys(one['role'] for one in messages))}",
            fix=("leave the system message out" if has_system else 'give a system message (system = "…")')
            + ", ask in one message (chat_turns = false), or leave chat off",
        ) from None


def _check_options(tokenizer: PreTrainedTokenizerBase, options: Mapping[str, Any]) -> None:
    """AccordError for an option that would not reach the template, or that it does not read."""
    if not options:
        return
    own = set(inspect.signature(tokenizer.apply_chat_template).parameters) - {"kwargs"}
    try:
        known = _variables(tokenizer) - own - {"messages"}
    except TemplateError:
        return  # said better when it is rendered
    for name in options:
        if name in own or name not in known:
            raise AccordError(
                f"this model's chat template reads no option {name!r}",
                where=_name(tokenizer),
                wanted=nearest(name, sorted(known)) or "none: it has no options",
            )


def _variables(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """The names that a template reads and does not set."""
    template = re.sub(r"{%-?\s*(end)?generation\s*-?%}", "", tokenizer.get_chat_template())
    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    return meta.find_undeclared_variables(environment.parse(template))


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return tokenizer.name_or_path or type(tokenizer).__name__
