"""distinct-n and repeated n-grams, by hand and as properties."""

from math import isnan

from hypothesis import given
from hypothesis import strategies as st

from accord.text.diversity import distinct, measure_diversity, repeated


def test_by_hand() -> None:
    texts = ["a b a b a b", "c d"]
    shares = measure_diversity(texts)
    assert shares["distinct_1"] == 4 / 8
    assert shares["distinct_2"] == 3 / 6
    assert shares["distinct_3"] == 2 / 4
    assert shares["repeated_4"] == 1 - 2 / 3
    assert isnan(measure_diversity(["", "x"])["distinct_2"])


@given(st.lists(st.lists(st.integers(0, 3), max_size=12), max_size=5), st.integers(1, 4))
def test_between_nothing_and_all(texts: list[list[int]], n: int) -> None:
    if all(len(text) < n for text in texts):
        assert isnan(distinct(texts, n)) and isnan(repeated(texts, n))
        return
    assert 0 < distinct(texts, n) <= 1
    assert 0 <= repeated(texts, n) < 1
    assert distinct([*texts, *texts], n) <= distinct(texts, n) / 2 + 1e-12
