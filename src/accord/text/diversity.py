"""How repetitive texts are: perplexity is easily gamed by saying the same thing again, so print these beside it."""

from collections.abc import Hashable, Sequence

from accord.arguments import checked

Words = Sequence[Hashable]


@checked
def measure_diversity(texts: Sequence[str]) -> dict[str, float]:
    """`distinct_1`, `distinct_2`, `distinct_3` and `repeated_4` of texts, by their words (what spaces part).

    NaN where no text is long enough.

    >>> measure_diversity(["to be or not to be"])
    {'distinct_1': 0.66..., 'distinct_2': 0.8, 'distinct_3': 1.0, 'repeated_4': 0.0}
    """
    words = [text.split() for text in texts]
    return {**{f"distinct_{n}": distinct(words, n) for n in (1, 2, 3)}, "repeated_4": repeated(words, 4)}


def distinct(texts: Sequence[Words], n: int) -> float:
    """Different n-grams as a share of all n-grams of all texts (Li et al. 2016): 1 if none occurs twice.

    It falls as texts get more or longer: compare equal amounts.

    >>> distinct([["a", "b", "a"], ["b"]], 1)
    0.5
    """
    grams = [gram for text in texts for gram in _ngrams(text, n)]
    return len(set(grams)) / len(grams) if grams else float("nan")


def repeated(texts: Sequence[Words], n: int) -> float:
    """Share of a text's n-grams that occurred before in the same text (Welleck et al. 2020), mean over texts.

    Texts shorter than n do not count.

    >>> repeated([["la", "la", "la", "la"], ["a", "b"]], 1)
    0.375
    """
    shares = [1 - len(set(grams)) / len(grams) for text in texts if (grams := _ngrams(text, n))]
    return sum(shares) / len(shares) if shares else float("nan")


def _ngrams(text: Words, n: int) -> list[tuple[Hashable, ...]]:
    return list(zip(*(text[i:] for i in range(n)), strict=False))
