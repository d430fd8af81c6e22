"""The one sentence is right in every regime, and says so with intervals and n."""

import pandas as pd
import pytest

from accord.gap.findings import inflated, remarks, sentence_of
from accord.gap.result import Gap

NAN = float("nan")


def a_gap(affirmed: float = 0.5, n: int = 400, **metrics: tuple[float, float, float]) -> Gap:
    """A gap with these metrics over n items, of which a share is affirmed."""
    yes = round(n * affirmed)
    scores = pd.DataFrame({"validator_logodds": [1.0] * yes + [-1.0] * (n - yes)})
    numbers = {"yes_no_mass": (0.98, 0.97, 0.99)} | metrics
    values = {name: dict(zip(("value", "low", "high"), value, strict=True)) for name, value in numbers.items()}
    return Gap(scores, values, "first")


def text(gap: Gap) -> str:
    return sentence_of(gap, "smollm2-135m").replace("\N{NO-BREAK SPACE}", " ")


STRONG, WEAK, GOOD = (0.85, 0.80, 0.90), (0.53, 0.45, 0.61), (0.83, 0.78, 0.88)
NONE, HIGH = (-0.07, -0.20, 0.07), (0.85, 0.80, 0.90)


def test_knows_more_than_it_affirms() -> None:
    gap = a_gap(generator_auc=STRONG, validator_auc=WEAK, pearson_all=NONE)
    assert text(gap) == (
        "smollm2-135m knows more than it affirms: it ranks right answers above wrong ones with AUC .85 [.80, .90] when "
        "completing, .53 [.45, .61] when asked; the two forms show no clear correlation (r = −.07 [−.20, .07]), over "
        "400 items."
    )


@pytest.mark.parametrize(
    ("generator", "validator", "r", "within", "wanted"),
    [
        (STRONG, GOOD, HIGH, (0.7, 0.6, 0.8), "affirms what it says:"),
        (STRONG, GOOD, (0.1, 0.02, 0.2), (0.1, 0.0, 0.2), "in both forms, but not on the same items:"),
        (WEAK, WEAK, NONE, NONE, "tells right from wrong in neither form:"),
        (WEAK, STRONG, NONE, NONE, "knows more than it says:"),
        ((0.65, 0.6, 0.7), STRONG, NONE, NONE, "knows more than it says:"),
        ((0.3, 0.2, 0.4), STRONG, NONE, NONE, "affirms the right answers but would rather say the wrong ones:"),
        (STRONG, (0.3, 0.2, 0.4), NONE, NONE, "says the right answers but affirms the wrong ones:"),
        (WEAK, (0.3, 0.2, 0.4), NONE, NONE, "tells right from wrong in neither form:"),
        ((0.3, 0.2, 0.4), (0.3, 0.2, 0.4), NONE, NONE, "prefers wrong answers to right ones:"),
        ((0.62, 0.55, 0.7), (0.65, 0.56, 0.74), NONE, NONE, "only modestly, and about equally well in both forms:"),
        ((0.6, 0.52, 0.68), (0.55, 0.45, 0.65), NONE, NONE, "shows no clear difference between its two forms:"),
    ],
)
def test_headlines(
    generator: tuple[float, float, float],
    validator: tuple[float, float, float],
    r: tuple[float, float, float],
    within: tuple[float, float, float],
    wanted: str,
) -> None:
    gap = a_gap(generator_auc=generator, validator_auc=validator, pearson_all=r, pearson_yes=within, pearson_no=within)
    assert text(gap).startswith("smollm2-135m ")
    assert wanted in text(gap)
    assert text(gap).count(".\n") == 0
    assert "400 items" in text(gap)


def test_so_few_items_that_nothing_has_an_interval_are_no_finding() -> None:
    alone = (0.0, NAN, NAN)
    few = a_gap(n=2, generator_auc=alone, validator_auc=alone)
    assert text(few).startswith("smollm2-135m was asked too few items to say anything: ")
    assert "prefers wrong answers" in text(
        a_gap(generator_auc=alone, validator_auc=alone)
    )  # intervals were not asked for


@pytest.mark.parametrize(
    ("r", "wanted"),
    [
        ((0.2, 0.1, 0.28), "correlate weakly (r = .20 [.10, .28])"),
        ((0.5, 0.4, 0.58), "correlate moderately"),
        ((0.85, 0.8, 0.9), "correlate strongly"),
        ((-0.4, -0.5, -0.3), "pull against each other (r = −.40 [−.50, −.30])"),
        ((0.3, NAN, NAN), "correlate with r = .30"),
        ((NAN, NAN, NAN), "not defined"),
    ],
)
def test_correlation_in_words(r: tuple[float, float, float], wanted: str) -> None:
    assert wanted in text(a_gap(generator_auc=STRONG, validator_auc=GOOD, pearson_all=r))


def test_inflated_correlation_shows_the_classes() -> None:
    low = {"pearson_yes": (0.12, 0.0, 0.24), "pearson_no": (0.05, -0.1, 0.2)}
    gap = a_gap(generator_auc=STRONG, validator_auc=GOOD, pearson_all=(0.6, 0.5, 0.7), **low)
    assert inflated(gap)
    assert "only right and wrong lying apart: r = .12 [.00, .24] within right answers and r = .05" in text(gap)
    honest = a_gap(generator_auc=STRONG, validator_auc=GOOD, pearson_all=(0.6, 0.5, 0.7), pearson_yes=(0.55, 0.4, 0.7))
    assert not inflated(honest)


def test_low_mass_takes_the_lead() -> None:
    gap = a_gap(generator_auc=STRONG, validator_auc=WEAK, pearson_all=NONE, yes_no_mass=(0.12, 0.10, 0.14))
    assert text(gap).startswith("smollm2-135m seldom answers yes or no when asked")
    assert ".12 [.10, .14]" in text(gap)
    assert "means little" in text(gap)
    some = a_gap(generator_auc=STRONG, validator_auc=WEAK, pearson_all=NONE, yes_no_mass=(0.7, 0.6, 0.8))
    assert "with only .70 [.60, .80] of the probability on yes and no" in text(some)


def test_one_class_only() -> None:
    nothing = (NAN, NAN, NAN)
    gap = a_gap(generator_auc=nothing, validator_auc=nothing, pearson_all=NONE)
    assert "all right or all wrong" in text(gap)
    assert "AUC" not in text(gap)


def test_remarks() -> None:
    biased = a_gap(
        affirmed=0.93, generator_auc=STRONG, validator_auc=(0.89, 0.8, 0.95), validator_accuracy=(0.6, 0.5, 0.7)
    )
    assert "threshold is off: asked, it says yes to 93% of the items" in remarks(biased)[0]
    denies = a_gap(affirmed=0.02, generator_auc=STRONG, validator_auc=WEAK, validator_accuracy=(0.5, 0.4, 0.6))
    assert remarks(denies) == ["Asked, it says no to 98% of the items, whatever they are."]
    odd = a_gap(n=40, generator_auc=STRONG, validator_auc=WEAK, rank_sanity=(0.4, 0.3, 0.5))
    assert len(remarks(odd)) == 2
    assert not remarks(a_gap(generator_auc=STRONG, validator_auc=GOOD, validator_accuracy=(0.8, 0.7, 0.9)))


def test_a_validator_that_chooses_says_neither_yes_nor_no() -> None:
    gap = a_gap(affirmed=1.0, validator_accuracy=(0.4, 0.35, 0.45), pearson_all=HIGH)
    gap.scores["validator_choice"] = "poor"
    assert "chooses the right label for .40 [.35, .45] of the items: " in text(gap)
    assert not any("yes" in remark for remark in remarks(gap))


def test_blank_first_tokens_are_remarked() -> None:
    gap = a_gap(generator_auc=STRONG, validator_auc=GOOD, pearson_all=HIGH, blank_first_tokens=(100, 100, 100))
    assert any("first token of 25% of the answers is white space" in remark for remark in remarks(gap))


def test_what_pooling_hides_within_prompts_is_said():
    def said(**metrics):
        gap = a_gap(generator_auc=(0.64, 0.57, 0.70), validator_auc=(0.51, 0.44, 0.58), **metrics)
        return [remark for remark in remarks(gap) if "one prompt" in remark]

    assert said() == said(within_generator_auc=(0.66, 0.6, 0.7)) == []
    assert said(within_generator_auc=(0.76, 0.71, 0.81), within_validator_auc=(0.53, 0.5, 0.6)) == [
        "Among the answers to one prompt its AUC is .76\N{NO-BREAK SPACE}[.71,\N{NO-BREAK SPACE}.81] when completing, "
        "not .64: prompts differ in how high all answers score."
    ]
