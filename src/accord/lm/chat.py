"""Conversations as a model's chat template writes them, and what goes wrong there.

A template is a program from elsewhere. It reaches nothing but its messages (jinja2's sandbox); that it ends, and takes
and writes no more than it may, is seen to here.
"""

import inspect
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from transformers import PreTrainedTokenizerBase

from accord.errors import AccordError, nearest

Message = Mapping[str, str]

_REPLY = "reply"
# What a template may take for one conversation; those of models take thousandths of a second, and write a few words.
_SECONDS = 5.0
_LINES = 64  # after so many lines of it, the clock is looked at
_MEMORY = 2**31
_POWER = 100  # of a number, and the number itself
_LETTERS = 100_000  # around the messages, and ten times as many as these have


def chat_text(
    tokenizer: PreTrainedTokenizerBase, messages: str | Sequence[Message], options: Mapping[str, Any] | None = None
) -> str:
    """The text of a conversation (or of a user's message), up to where the model's reply begins.

    Special tokens are already in it: encode it with `special=False`, or BOS doubles.

    Raises:
        AccordError: the tokenizer has no chat template; it fails; it leaves a message out, or does not know an option.
    """
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    if not tokenizer.chat_template:
        raise AccordError(
            "a chat template was asked for, but this model has none",
            where=_name(tokenizer),
            fix="leave chat off, or use the model's instruction-tuned version",
        )
    _check_options(tokenizer, options or {})
    text = _rendered(tokenizer, messages, options or {}, add_generation_prompt=True)
    for message in messages:  # some templates pass over what they have no place for
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

    Most templates write none, and the reply's first word is tokenised as it stands; the first templates of Llama 2 and
    Mistral write a space. Empty if the template does something else to a reply, or refuses it.
    """
    try:
        whole = _rendered(
            tokenizer, [*messages, {"role": "assistant", "content": _REPLY}], options or {}, add_generation_prompt=False
        )
    except AccordError:
        return ""
    before, reply, _ = whole.removeprefix(text).partition(_REPLY)
    return before if whole.startswith(text) and reply and before.isspace() else ""


def _rendered(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    options: Mapping[str, Any],
    *,
    add_generation_prompt: bool,
) -> str:
    own = [dict(message) for message in messages]  # a template may change what it gets
    try:
        _check_powers(tokenizer.get_chat_template())
        with _limited():
            text = tokenizer.apply_chat_template(
                own, tokenize=False, add_generation_prompt=add_generation_prompt, **options
            )
        if len(text) > _LETTERS + 10 * sum(len(message["content"]) for message in messages):
            raise ValueError(f"it writes {len(text):,} letters")
        return str(text)
    # A template is a program from elsewhere: whatever it raises is an error of the template.
    except (
        TemplateError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
        MemoryError,
        TimeoutError,
    ) as error:
        has_system = messages[0]["role"] == "system"
        roles = dict.fromkeys(message["role"] for message in messages)
        line = getattr(error, "lineno", None)
        raise AccordError(
            "this model's chat template fails",
            where=_name(tokenizer) + (f", line {line} of the template" if line else ""),
            got=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}",
            wanted=f"a text of {len(messages)} messages: {', '.join(roles)}",
            fix=("leave the system message out" if has_system else 'give a system message (system = "…")')
            + ", ask in one message (chat_turns = false), or leave chat off",
        ) from None


@contextmanager
def _limited() -> Iterator[None]:
    """Within, a template that has no end raises TimeoutError, and one that takes too much memory MemoryError."""
    until, before, lines = time.thread_time() + _SECONDS, sys.gettrace(), count(1)

    def line(frame: Any, event: str, argument: Any) -> Any:
        if not next(lines) % _LINES and time.thread_time() > until:
            raise TimeoutError(f"no end after {_SECONDS:.0f} s of work")
        return line

    def call(frame: Any, event: str, argument: Any) -> Any:
        file = frame.f_code.co_filename
        return line(frame, event, argument) if file == "<template>" or "jinja2" in file else None

    sys.settrace(call)
    try:
        with _limited_memory():
            yield
    finally:
        sys.settrace(before)


@contextmanager
def _limited_memory() -> Iterator[None]:
    """Within, this process gets at most so much more; where the system has no such limit, there is none."""
    kept = None
    with suppress(ImportError, OSError, ValueError):
        import resource

        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        if soft == resource.RLIM_INFINITY or now + _MEMORY < soft:
            resource.setrlimit(resource.RLIMIT_AS, (now + _MEMORY, hard))
            kept = (soft, hard)
    try:
        yield
    finally:
        if kept is not None:
            resource.setrlimit(resource.RLIMIT_AS, kept)


def _check_powers(template: str) -> None:
    """ValueError for a template with other powers than small written ones: 10 ** 10 ** 10 nothing interrupts."""
    with suppress(TemplateError):  # rendering it gives the better error
        for power in _parsed(template).find_all(nodes.Pow):
            numbers = [part.value if isinstance(part, nodes.Const) else None for part in (power.left, power.right)]
            if not all(isinstance(number, int) and number < _POWER for number in numbers):
                raise ValueError("it raises numbers to powers")


@lru_cache(maxsize=8)
def _parsed(template: str) -> nodes.Template:
    template = re.sub(r"{%-?\s*(end)?generation\s*-?%}", "", template)
    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    return environment.parse(template)


def _check_options(tokenizer: PreTrainedTokenizerBase, options: Mapping[str, Any]) -> None:
    """AccordError for an option that would not reach the template, or that it does not read."""
    if not options:
        return
    arguments = set(inspect.signature(tokenizer.apply_chat_template).parameters) - {"kwargs"}
    try:
        variables = _variables(tokenizer) - arguments - {"messages"}
    except Exception:  # it cannot be read, or does not end even here, where its constants are computed
        return  # rendering it gives the better error
    for name in options:
        if name in arguments or name not in variables:
            raise AccordError(
                f"this model's chat template reads no option {name!r}",
                where=_name(tokenizer),
                wanted=nearest(name, sorted(variables)) or "none: it has no options",
            )


def _variables(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """The names that a template reads and does not set."""
    template = tokenizer.get_chat_template()
    _check_powers(template)
    with _limited():
        return meta.find_undeclared_variables(_parsed(template))


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return tokenizer.name_or_path or type(tokenizer).__name__
