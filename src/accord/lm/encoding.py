"""Text to token ids: where a prompt ends and its answer begins, single-token answer forms, chat templates."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from accord.errors import AccordError


def encode_answer(
    tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str, *, special: bool = True
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids of the context and of the answer that continues it.

    Prompt and answer are joined by a space, unless the prompt ends in white space (as chat templates do), and
    tokenised as one text, because that is what a model reads. The answer begins with the first token that reaches
    past the end of the prompt: a token that straddles the join belongs to the answer.

    Args:
        special: let the tokenizer add its special tokens (BOS); off for text that a chat template made.

    Raises:
        AccordError: the answer has no tokens, or nothing at all stands before it.
    """
    join = "" if not prompt or prompt[-1].isspace() else " "
    text = prompt + join + answer
    if not tokenizer.is_fast:
        raise AccordError(
            "this tokenizer cannot tell which characters a token covers",
            got=type(tokenizer).__name__,
            wanted="a fast tokenizer (tokenizer.json beside the weights)",
        )
    encoded = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
    ids, ends = encoded["input_ids"], [end for _, end in encoded["offset_mapping"]]
    # Special tokens cover no characters (0, 0): a BOS stays with the context, an EOS after the answer is dropped.
    covered = [i for i, end in enumerate(ends) if end > len(prompt)]
    if not covered or not any(letter.isprintable() and not letter.isspace() for letter in answer):
        raise AccordError("an answer has no tokens", where=f"after the prompt {prompt[-60:]!r}", got=repr(answer))
    context = tuple(ids[: covered[0]])
    if not context:
        context = (start_id(tokenizer),)
    return context, tuple(ids[covered[0] : covered[-1] + 1])


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str, *, special: bool = True) -> tuple[int, ...]:
    """Ids of a prompt that the model goes on from; never empty, so that there is a position to read.

    Raises:
        AccordError: the prompt is empty and the tokenizer has no BOS to stand for it.
    """
    ids = tuple(tokenizer(prompt, add_special_tokens=special)["input_ids"])
    if special and ids and ids[-1] == tokenizer.eos_token_id != tokenizer.bos_token_id:
        ids = ids[:-1]  # some tokenizers close every text; a prompt is to be continued
    return ids or (start_id(tokenizer),)


def start_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id to read from when nothing precedes: BOS, or EOS where that is what separates texts.

    Raises:
        AccordError: the tokenizer has neither.
    """
    start = find_start(tokenizer)
    if start is not None:
        return start
    raise AccordError(
        "nothing stands before the text, and this model has no BOS or EOS token to start from",
        where=tokenizer.name_or_path or type(tokenizer).__name__,
        fix="give a prompt that is not empty, or set bos_token in tokenizer_config.json",
    )


def find_start(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """What `start_id` gives, or None where it raises."""
    tokens = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    return next((int(token) for token in tokens if token is not None), None)


def single_tokens(tokenizer: PreTrainedTokenizerBase, forms: Sequence[str]) -> tuple[int, ...]:
    """Ids of those forms that are one token each, without repeats, in the order given.

    Raises:
        AccordError: none of the forms is a single token.
    """
    found: dict[int, None] = {}
    for form in forms:
        ids = tokenizer(form, add_special_tokens=False)["input_ids"]
        if len(ids) == 1:
            found[int(ids[0])] = None
    if not found:
        raise AccordError(
            "no form of this answer is a single token for this tokenizer", got=", ".join(map(repr, forms))
        )
    return tuple(found)


def chat_text(tokenizer: PreTrainedTokenizerBase, message: str) -> str:
    """The text of a one-message conversation, up to where the model's reply begins.

    Special tokens are already in it: encode it with `special=False`, or BOS doubles.

    Raises:
        AccordError: the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise AccordError(
            "a chat template was asked for, but this model has none",
            where=tokenizer.name_or_path or type(tokenizer).__name__,
            fix="leave chat off, or use the model's instruction-tuned version",
        )
    messages = [{"role": "user", "content": message}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
