"""Text to token ids: where a prompt ends and its answer begins, and which words are single tokens."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from accord.errors import AccordError


def encode_answer(
    tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str, *, join: str = " ", special: bool = True
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids of the context and of the answer that continues it.

    Prompt, join and answer are tokenised together, because that is what a model reads. The answer begins with the
    first token that reaches past what stands before it: a token that straddles the join belongs to the answer. Spaces
    at the join's end come with the answer; all else of it stands before the answer. After a prompt that is empty or
    ends in white space, the join brings no further white space.

    Args:
        join: what stands between prompt and answer: a space, or nothing in languages that write none.
        special: let the tokenizer add its special tokens (BOS); off for text that a chat template made.

    Raises:
        AccordError: the answer has no tokens, or nothing at all stands before it.
    """
    before, space = _joined(prompt, join)
    if not tokenizer.is_fast:
        raise AccordError(
            "this tokenizer cannot tell which characters a token covers",
            got=type(tokenizer).__name__,
            wanted="a fast tokenizer (tokenizer.json beside the weights)",
        )
    encoded = tokenizer(before + space + answer, add_special_tokens=special, return_offsets_mapping=True)
    ids, ends = encoded["input_ids"], [end for _, end in encoded["offset_mapping"]]
    # Special tokens cover no characters (0, 0): a BOS stays with the context, an EOS after the answer is dropped.
    covered = [i for i, end in enumerate(ends) if end > len(before)]
    if not covered or not any(letter.isprintable() and not letter.isspace() for letter in answer):
        raise AccordError("an answer has no tokens", where=f"after the prompt {prompt[-60:]!r}", got=repr(answer))
    context = tuple(ids[: covered[0]])
    if not context:
        context = (start_id(tokenizer),)
    return context, tuple(ids[covered[0] : covered[-1] + 1])


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: str, *, join: str = "", special: bool = True
) -> tuple[int, ...]:
    """Ids of a prompt that the model goes on from; never empty, so that there is a position to read.

    Args:
        join: what comes before an answer (see `encode_answer`): all of it but spaces at its end is read too.

    Raises:
        AccordError: the prompt is empty and the tokenizer has no BOS to stand for it.
    """
    ids = tuple(tokenizer(_joined(prompt, join)[0], add_special_tokens=special)["input_ids"])
    if special and ids and ids[-1] == tokenizer.eos_token_id != tokenizer.bos_token_id:
        ids = ids[:-1]  # some tokenizers close every text; a prompt is to be continued
    return ids or (start_id(tokenizer),)


def _joined(prompt: str, join: str) -> tuple[str, str]:
    """The text before an answer, and the spaces that are tokenised with the answer.

    >>> _joined("A bee is a", " "), _joined("A bee is a ", " ")
    (('A bee is a', ' '), ('A bee is a ', ''))
    """
    if not prompt or prompt[-1].isspace():
        join = join.lstrip()
    fixed = join.rstrip(" ")
    return prompt + fixed, join[len(fixed) :]


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


def single_tokens(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> tuple[int, ...]:
    """Ids of the words that are a single token, without repeats, in the order of the words.

    Raises:
        AccordError: none of the words is a single token.
    """
    tokens: dict[int, None] = {}
    for word in words:
        ids = tokenizer(word, add_special_tokens=False)["input_ids"]
        if len(ids) == 1:
            tokens[int(ids[0])] = None
    if not tokens:
        raise AccordError(
            "no form of this answer is a single token for this tokenizer", got=", ".join(map(repr, words))
        )
    return tuple(tokens)
