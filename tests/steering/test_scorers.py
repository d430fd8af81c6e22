"""Who judges written texts: the lexicon, and a classifier on means of states."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from accord.errors import AccordError
from accord.lm import Backbone
from accord.steering import Sentiment, fit_classifier, store_means, text_means
from accord.text import extract

TEXTS = ["A bee is a kind of food.", "", "no", "The birds are kind of yes", "Yes, yes."]


def test_sentiment_tells_praise_from_blame() -> None:
    scorer = Sentiment()
    good, bad, neither, empty = scorer(["A wonderful, moving film.", "A dull, awful mess.", "It has two parts.", ""])
    assert good >= scorer.high and bad <= scorer.low and neither == empty == 0


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vaderSentiment", None)
    with pytest.raises(AccordError, match=r"accord\[sentiment\]"):
        Sentiment()


def test_means_of_a_store_are_those_of_the_texts(lm: Backbone, tmp_path: Path) -> None:
    store = extract(lm, TEXTS, tmp_path / "store", layers=[2])
    means, expected = store_means(store, 2, len(TEXTS)), text_means(lm, TEXTS, 2)
    torch.testing.assert_close(means, expected, rtol=1e-4, atol=1e-4, equal_nan=True)
    assert means[1].isnan().all() and not means[0].isnan().any()
    ids = torch.tensor([[1, *lm.tokenizer(TEXTS[3], add_special_tokens=False)["input_ids"]]])
    with torch.no_grad():
        torch.testing.assert_close(means[3], lm.hidden(ids, layers=[2])[2][0, 1:].mean(0), rtol=1e-4, atol=1e-4)


def test_a_classifier_learns_what_can_be_learned(lm: Backbone) -> None:
    words, other = ["food", "bird", "kind"], ["Yes", "no", "No"]
    draw = np.random.default_rng(0)

    def texts(n: int) -> tuple[list[str], torch.Tensor]:
        has = draw.random(n) < 0.3
        written = [" ".join(draw.choice(words if positive else other, 6)) for positive in has]
        return written, torch.from_numpy(has)

    train, held_out = texts(60), texts(40)
    sides = [(text_means(lm, said, 2), has) for said, has in (train, held_out)]
    classifier = fit_classifier("nouns", lm, 2, sides[0], sides[1])
    assert classifier.accuracy > 0.95
    scores = classifier(held_out[0])
    assert ((scores > 0.5) == held_out[1].numpy()).mean() > 0.95
    shuffled = fit_classifier("noise", lm, 2, sides[0], (sides[1][0], held_out[1].roll(7)))
    assert shuffled.accuracy < 0.8
    with pytest.raises(AccordError, match="one class"):
        fit_classifier("none", lm, 2, (sides[0][0], torch.zeros(60, dtype=torch.bool)), sides[1])
