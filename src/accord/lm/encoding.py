"""Text to token ids: where a prompt ends and its answer begins, and which words are single tokens."""

from collections.abc import Iterator, Sequence
from itertools import repeat

from transformers import PreTrainedTokenizerBase

from accord.errors import AccordError
from accord.lm.prefix_tree import Ids

_AT_ONCE = 256  # texts given to a tokenizer


def encode_answer(
    tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str, *, join: str = " ", special: bool = True
) -> tuple[Ids, Ids]:
    """Ids of the context and of the answer that continues it; see `encode_answers`."""
    return encode_answers(tokenizer, [(prompt, join, answer)], special=special)[0]


def encode_answers(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[tuple[str, str, str]], *, special: bool = True
) -> list[tuple[Ids, Ids]]:
    """Ids of the context and of the answer that continues it, of each (prompt, join, answer).

    Prompt, join and answer are tokenised together, because that is what a model reads. The answer begins with the
    first token that reaches past what stands before it: a token that straddles the join belongs to the answer. Spaces
    at the join's end come with the answer; all else of it stands before the answer. After a prompt that is empty or
    ends in white space, the join brings no further white space.

    Args:
        texts: the join is what stands between prompt and answer: a space, or nothing in languages that write none.
        special: let the tokenizer add its special tokens (BOS); off for text that a chat template made.

    Raises:
        AccordError: an answer has no tokens, or nothing at all stands before it.
    """
    if not tokenizer.is_fast:
        raise AccordError(
            "this tokenizer cannot tell which characters a token covers",
            got=type(tokenizer).__name__,
            wanted="a fast tokenizer (tokenizer.json beside the weights)",
        )
    befores = [_joined(prompt, join) for prompt, join, _ in texts]
    whole = [before + space + answer for (before, space), (*_, answer) in zip(befores, texts, strict=True)]
    encoded = _encoded(tokenizer, whole, special, offsets=True)
    found = []
    for (prompt, _, answer), (before, _), (ids, ends) in zip(texts, befores, encoded, strict=True):
        # Special tokens cover no characters (0, 0): a BOS stays with the context, an EOS after the answer is dropped.
        covered = [i for i, end in enumerate(ends) if end > len(before)]
        if not covered or not any(letter.isprintable() and not letter.isspace() for letter in answer):
            raise AccordError("an answer has no tokens", where=f"after the prompt {prompt[-60:]!r}", got=repr(answer))
        context = ids[: covered[0]] or (start_id(tokenizer),)
        found.append((context, ids[covered[0] : covered[-1] + 1]))
    return found


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str, *, join: str = "", special: bool = True) -> Ids:
    """Ids of a prompt that the model goes on from; see `encode_prompts`."""
    return encode_prompts(tokenizer, [(prompt, join)], special=special)[0]


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[tuple[str, str]], *, special: bool = True
) -> list[Ids]:
    """Ids of each (prompt, join) that the model goes on from; never empty, so that there is a position to read.

    Args:
        texts: the join is what comes before an answer (see `encode_answers`): all of it but spaces at its end is read
            too.

    Raises:
        AccordError: a prompt is empty and the tokenizer has no BOS to stand for it.
    """
    # Some tokenizers close every text; a prompt is to be continued.
    closing = tokenizer.eos_token_id if special and tokenizer.eos_token_id != tokenizer.bos_token_id else None
    befores = [_joined(prompt, join)[0] for prompt, join in texts]
    encoded = (ids for ids, _ in _encoded(tokenizer, befores, special))
    opened = (ids[:-1] if closing is not None and ids[-1:] == (closing,) else ids for ids in encoded)
    return [ids or (start_id(tokenizer),) for ids in opened]


def _encoded(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], special: bool, *, offsets: bool = False
) -> Iterator[tuple[Ids, list[int]]]:
    """Ids of each text and, with `offsets`, where each token ends in it.

    Many texts a call take half the time of one; all in one would hold far more than their ids.
    """
    for begin in range(0, len(texts), _AT_ONCE):
        encoded = tokenizer(
            list(texts[begin : begin + _AT_ONCE]),
            add_special_tokens=special,
            return_attention_mask=False,
            return_offsets_mapping=offsets,
        )
        ends = ([end for _, end in each] for each in encoded["offset_mapping"]) if offsets else repeat([])
        yield from zip(map(tuple, encoded["input_ids"]), ends, strict=False)


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
