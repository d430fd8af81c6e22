"""The annotators that need no server, and which annotator a section asks for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from accord.arguments import checked
from accord.lm import LanguageModel, generate
from accord.lm.chat import chat_text
from accord.names.answers import LONGEST, Annotator, Answer, Reply, Request, Unusable, parse, plain
from accord.names.config import AnyAnnotator, OpenAIAnnotator, TokensAnnotator, TransformersAnnotator

_BEGUN = '{"concept": "'  # how the answer to every request for a name begins
_DRAWN = 0.7  # temperature of all attempts but the first


@checked
def annotator_of(section: AnyAnnotator) -> Annotator:
    """The annotator that a section asks for; loads a local model.

    Raises AccordError where the model cannot be loaded, or a key is missing.
    """
    if isinstance(section, TokensAnnotator):
        return Tokens(section)
    if isinstance(section, OpenAIAnnotator):
        from accord.names.server import ServerAnnotator

        return ServerAnnotator(section)
    from accord.loading import load

    return Local(load(section.model, device=section.device, dtype=section.dtype), section)


@dataclass(frozen=True)
class Tokens:
    """Calls a concept by its kinds of token, the first of them; they are also the alternatives, one by one."""

    section: TokensAnnotator = field(default_factory=TokensAnnotator)

    def replies(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """See `Annotator.replies`."""
        for request in requests:
            words = [word[:LONGEST] for word in map(plain, request.words) if word][: self.section.words]
            if words:
                yield Reply(request.key, Answer(concept=", ".join(words)[:LONGEST], alternatives=words))
            else:
                yield Reply(request.key, None, reason="it fires on white space alone")


@dataclass(frozen=True)
class Local:
    """A chat model that runs here; a model without a chat template gets the plain prompt.

    It names concepts only; names are judged by its log-odds. The first words of its answer are given to it: a small
    model that is to choose them itself rarely begins with JSON.
    """

    lm: LanguageModel
    section: TransformersAnnotator

    def replies(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """See `Annotator.replies`."""
        waiting = list(requests)
        size = self.section.batch
        for begin in range(0, len(waiting), size):
            yield from self._batch(waiting[begin : begin + size])

    def _batch(self, waiting: list[Request]) -> Iterator[Reply]:
        reasons = {request.key: "" for request in waiting}
        for attempt in range(self.section.attempts):
            left = []
            for request, text in zip(waiting, self._write(waiting, attempt), strict=True):
                try:
                    yield Reply(request.key, parse(text, request.form), attempt + 1)
                except Unusable as error:
                    reasons[request.key] = str(error)
                    left.append(request)
            waiting = left
            if not waiting:
                return
        for request in waiting:
            yield Reply(request.key, None, self.section.attempts, reason=reasons[request.key])

    def _write(self, requests: list[Request], attempt: int) -> list[str]:
        chat = bool(self.lm.tokenizer.chat_template)
        prompts = [request.prompt for request in requests]
        texts = [chat_text(self.lm.tokenizer, prompt) if chat else f"{prompt}\nAnswer: " for prompt in prompts]
        samples = generate(
            self.lm,
            prompts=[text + _BEGUN for text in texts],
            special=not chat,
            max_new_tokens=self.section.max_tokens,
            temperature=_DRAWN if attempt else 0.0,
            repetition_penalty=1.0,
            seed=attempt,
            batch_size=len(texts),
        )
        return [_BEGUN + sample.text for sample in samples]
