"""The error that users of accord are meant to see."""

from collections.abc import Iterable
from difflib import get_close_matches


class AccordError(Exception):
    """Something the user can mend: says what is wrong, where, and how to put it right.

    `problem` is a sentence; `where` a file, line, table or key; `got` and `wanted` the two sides of the
    mismatch; `fix` what to do next. The command line prints `str(error)` and exits with `exit_code`.

    >>> print(AccordError("The file is empty", where="items.csv", fix="give it a header line"))
    The file is empty
      where:  items.csv
      fix:    give it a header line
    """

    exit_code = 1

    def __init__(
        self,
        problem: str,
        *,
        where: object = None,
        got: object = None,
        wanted: object = None,
        fix: str | None = None,
    ) -> None:
        lines = [problem]
        for label, value in (("where", where), ("got", got), ("wanted", wanted), ("fix", fix)):
            if value is not None:
                lines.append(f"  {label + ':':<8}{value}")
        super().__init__("\n".join(lines))
        self.problem, self.where, self.got, self.wanted = problem, where, got, wanted


class MissingLibrary(AccordError):
    """Something needs a package that is not installed: nothing is wrong with the model or the data."""

    exit_code = 2


_LONGEST = 80  # letters of a word that is looked for among names

# Names that people know a thing by, and ours.
_CALLED = {"surgery": ("direction", "concepts")}


def nearest(word: str, choices: Iterable[str]) -> str:
    """All `choices`, and which of them `word` was probably meant to be: for the `wanted` of an error.

    >>> nearest("topk", ["topk-latents", "vanilla"])
    "topk-latents, vanilla (did you mean 'topk-latents'?)"
    """
    names = sorted(choices)
    if ours := [name for name in _CALLED.get(word, ()) if name in names]:
        return ", ".join(names) + f" ({word} is here {' or '.join(map(repr, ours))})"
    close = get_close_matches(word[:_LONGEST], names, n=1, cutoff=0.5)  # in time that grows with the word
    return ", ".join(names) + (f" (did you mean {close[0]!r}?)" if close else "")
