"""What a model can read, and which sequences it may read together."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from accord.errors import AccordError


@dataclass(frozen=True)
class Limits:
    """The limits of a model's inputs.

    With some position embeddings (longrope, dynamic NTK) the numbers of all positions depend on how long the sequence
    is. Sequences of the same `group` are read alike: they may share a batch, be padded to each other's length and go on
    from each other's caches. Sequences of different groups may not.

    >>> limits = Limits(switches=(4096,))
    >>> limits.group(4095), limits.group(4096), limits.grouped([10, 5000, 20])
    (0, 1, {0: [0, 2], 1: [1]})

    Attributes:
        ids: token ids are below this; None if that is not known.
        length: tokens of the longest sequence; None if only memory bounds it.
        switches: ascending lengths in tokens at which the numbers change: a sequence a token shorter is read otherwise.
        each_from: from this length on, every length is a group of its own; None if there is no such length.
    """

    ids: int | None = None
    length: int | None = None
    switches: tuple[int, ...] = ()
    each_from: int | None = None

    def group(self, length: int) -> int:
        """The group of sequences of so many tokens: 0 for short ones, whose prefixes are all of group 0 as well."""
        if self.each_from is not None and length >= self.each_from:
            return length
        return bisect_right(self.switches, length)

    def grouped(self, lengths: Sequence[int]) -> dict[int, list[int]]:
        """Group -> the indices of its sequences, in order."""
        groups: dict[int, list[int]] = defaultdict(list)
        for i, length in enumerate(lengths):
            groups[self.group(length)].append(i)
        return dict(groups)

    def check(self, name: str, *, longest: int, largest: int) -> None:
        """Raise AccordError if `longest` tokens, or the token id `largest`, are beyond the model `name`."""
        if self.length is not None and longest > self.length:
            raise AccordError(
                "a text is longer than the model can read",
                where=name,
                got=f"{longest} tokens",
                wanted=f"at most {self.length}, the positions that it has learned",
                fix="shorten the prompts or texts (fewer worked examples, a smaller max_length), or use another model",
            )
        if self.ids is not None and largest >= self.ids:
            raise AccordError(
                "the tokenizer gives a token that the model does not have",
                where=name,
                got=f"token id {largest}",
                wanted=f"ids below {self.ids}, the rows of its embedding and head",
                fix="use the model's own tokenizer, or resize its embeddings (resize_token_embeddings) and save it",
            )
