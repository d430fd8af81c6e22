"""What a gap amounts to, in one plain sentence that is right in every case, and what to beware of."""

import math

from accord.gap.in_run import MeasuredGap, gaps_of
from accord.gap.result import Gap
from accord.gap.slices import AFFIRMS_SILENT, SAYS_DENIES, judged
from accord.report.finding import Finding
from accord.report.metric import Metric, metric_in
from accord.report.wording import capital, count, equals, interval, measured, number
from accord.study.run_folder import Run

# Under half of the probability on yes and no, the model is not answering the question it was asked.
LOW_MASS, SOME_MASS = 0.5, 0.9
GOOD_AUC = 0.75
FEW_ITEMS = 100
POOLED = 0.05  # of an AUC: from there on it is said that within prompts it is another


def findings(run: Run) -> list[Finding]:
    """One for each gap of a run."""
    return [finding(measured_gap) for measured_gap in gaps_of(run)]


def finding(measured_gap: MeasuredGap) -> Finding:
    """What a gap amounts to, as the page leads with it."""
    return finding_of(measured_gap.gap, measured_gap.model)


def finding_of(gap: Gap, model: str) -> Finding:
    """What the gap of this model amounts to."""
    headline, _, evidence = sentence_of(gap, model).partition(": ")
    return Finding(headline, capital(evidence), remarks=remarks(gap))


def disagreements(gap: Gap) -> str:
    """How many items the two forms disagree on, as a sentence; empty where the validator chooses among labels."""
    if _chooses(gap):
        return ""
    kinds, n = judged(gap.scores)["disagreement"].value_counts(), len(gap.scores)
    return (
        f"Says it and denies it: {int(kinds.get(SAYS_DENIES, 0)):,} of {count(n, 'item')}; "
        f"affirms it and would not say it: {int(kinds.get(AFFIRMS_SILENT, 0)):,}."
    )


def sentence_of(gap: Gap, model: str) -> str:
    """The finding in one sentence, with intervals and the number of items."""
    mass, over = metric_in(gap.metrics, "yes_no_mass"), f"over {count(len(gap.scores), 'item')}"
    if mass.known and mass.value < LOW_MASS:
        words = "with a label" if _chooses(gap) else "yes or no"
        return (
            f"{model} seldom answers {words} when asked (together they get {measured(mass)} of the "
            f"probability), so its validator score means little{_generator_alone(gap)}; taken at face value, "
            f"{_correlation(gap)}, {over}."
        )
    caveat = ""
    if mass.known and mass.value < SOME_MASS:
        words = "the labels" if _chooses(gap) else "yes and no"
        caveat = f", with only {measured(mass)} of the probability on {words} when asked"
    return f"{model} {_headline(gap)}: {_aucs(gap)}{_correlation(gap)}, {over}{caveat}."


def remarks(gap: Gap) -> list[str]:
    """What a reader of the verdict should know before quoting it; often nothing."""
    out = []
    n, affirmed = len(gap.scores), float((gap.scores["validator_logodds"] > 0).mean())
    auc, accuracy = metric_in(gap.metrics, "validator_auc"), metric_in(gap.metrics, "validator_accuracy")
    blank = metric_in(gap.metrics, "blank_first_tokens")
    if blank.known and blank.value:
        out.append(
            f"The first token of {blank.value / n:.0%} of the answers is white space alone, so what is said of first "
            'tokens tells how likely a space is: a task in a language without spaces takes join = "".'
        )
    if _chooses(gap):
        affirmed = 0.5  # it says neither yes nor no
    if auc.known and accuracy.known and auc.value - accuracy.value > 0.1:
        side = "yes" if affirmed > 0.5 else "no"
        out.append(
            f"The yes/no threshold is off: asked, it says {side} to {max(affirmed, 1 - affirmed):.0%} of the items, "
            f"so its accuracy is {measured(accuracy)} although it orders them with AUC {number(auc.value)}."
        )
    elif max(affirmed, 1 - affirmed) > 0.9:
        side = "yes" if affirmed > 0.5 else "no"
        out.append(f"Asked, it says {side} to {max(affirmed, 1 - affirmed):.0%} of the items, whatever they are.")
    if within := _within_prompts(gap):
        out.append(within)
    sanity = metric_in(gap.metrics, "rank_sanity")
    if sanity.known and sanity.value < 0.8:
        out.append(
            f"The log-odds of first tokens follow their ranks only loosely (correlation {measured(sanity)}): "
            "check the prompts and the tokenizer before trusting them."
        )
    if gap.answer_score != "first" or metric_in(gap.metrics, "first_token_clashes").value > 0:
        out.append(what_counts(gap))
    mass = metric_in(gap.metrics, "yes_no_mass")
    if mass.known and mass.value < LOW_MASS:
        out.append(
            "accord show TASK --model MODEL shows what the model would say in place of yes and no, and tries worked "
            "examples, other wordings and a chat template."
        )
    if n < FEW_ITEMS:
        out.append(f"Only {count(n, 'item')}: the intervals are wide, and categories say next to nothing.")
    return out


def _within_prompts(gap: Gap) -> str:
    """That pooling all items hides or fakes order among the answers to one prompt; empty where it does not."""
    parts = []
    for form, when in (("generator", "when completing"), ("validator", "when asked")):
        inside, pooled = (metric_in(gap.metrics, f"{part}{form}_auc") for part in ("within_", ""))
        if inside.known and pooled.known and abs(inside.value - pooled.value) >= POOLED:
            parts.append(f"{measured(inside)} {when}, not {number(pooled.value)}")
    if not parts:
        return ""
    return (
        f"Among the answers to one prompt its AUC is {'; '.join(parts)}: prompts differ in how high all answers score."
    )


def what_counts(gap: Gap) -> str:
    """What the generator's score is of, and how many first tokens clash; empty where the measurement does not say."""
    clashes, items = metric_in(gap.metrics, "first_token_clashes"), metric_in(gap.metrics, "task_items")
    if not (clashes.known and items.known):
        return ""
    return counted_words(gap.answer_score, int(clashes.value), int(items.value))


def counted_words(counted: str, clashes: int, items: int) -> str:
    """What of an answer counts in the generator's score, beside the first tokens that clash, as a sentence."""
    what = {
        "whole": "the whole answer",
        "per_token": "the answer's mean token (geometric)",
        "first": "the answer's first token",
    }[counted]
    clashing = f"{clashes:,} of the task's {count(items, 'item')}" if clashes else f"none of the task's {items:,} items"
    return (
        f"The generator's score is of {what}: in {clashing}, a right and a wrong answer begin with the same token. "
        "Ranks are always of first tokens."
    )


def _headline(gap: Gap) -> str:
    generator, validator = metric_in(gap.metrics, "generator_auc"), metric_in(gap.metrics, "validator_auc")
    if _chooses(gap):
        accuracy = metric_in(gap.metrics, "validator_accuracy")
        return f"chooses the right label for {measured(accuracy)} of the items"
    if not (generator.known and validator.known):
        return "was asked about answers that are all right or all wrong, so neither form can be put to the test"
    if len(gap.scores) < FEW_ITEMS and not (math.isfinite(generator.low) or math.isfinite(validator.low)):
        return "was asked too few items to say anything"
    if _apart(generator, validator):
        return _uneven(generator, validator)
    if _chance(generator) and _chance(validator):
        return "tells right from wrong in neither form"
    if _reversed(generator) or _reversed(validator):
        return "prefers wrong answers to right ones"
    if _chance(generator) or _chance(validator):
        return "shows no clear difference between its two forms"
    if min(generator.value, validator.value) < GOOD_AUC:
        return "tells right from wrong only modestly, and about equally well in both forms"
    return _even_and_good(gap)


def _chooses(gap: Gap) -> bool:
    """Whether the validator chooses among labels; then every answer is a right one."""
    return "validator_choice" in gap.scores


def _uneven(generator: Metric, validator: Metric) -> str:
    """One form is better than chance error explains."""
    best = generator if generator.value > validator.value else validator
    if best.low <= 0.5:
        return "tells right from wrong in neither form"
    if best is generator:
        contrary = "says the right answers but affirms the wrong ones"
        return contrary if _reversed(validator) else "knows more than it affirms"
    if _reversed(generator):
        return "affirms the right answers but would rather say the wrong ones"
    return "knows more than it says"


def _even_and_good(gap: Gap) -> str:
    within = _within(gap)
    if within and min(m.value for m in within) >= 0.5:
        return "affirms what it says"
    if metric_in(gap.metrics, "pearson_all").value >= 0.5 and not within:
        return "affirms what it says"
    return "tells right from wrong in both forms, but not on the same items"


def _aucs(gap: Gap) -> str:
    generator, validator = metric_in(gap.metrics, "generator_auc"), metric_in(gap.metrics, "validator_auc")
    if not (generator.known and validator.known):
        return ""
    return (
        f"it ranks right answers above wrong ones with AUC {measured(generator)} when completing, "
        f"{measured(validator)} when asked; "
    )


def _generator_alone(gap: Gap) -> str:
    auc = metric_in(gap.metrics, "generator_auc")
    return f"; when completing it ranks right answers above wrong ones with AUC {measured(auc)}" if auc.known else ""


def _correlation(gap: Gap) -> str:
    r = metric_in(gap.metrics, "pearson_all")
    if not r.known:
        return "how the two forms correlate is not defined"
    how = equals("r", r)
    if not interval(r):
        text = f"the two forms correlate with {how}"
    elif r.low <= 0 <= r.high:
        text = f"the two forms show no clear correlation ({how})"
    elif r.high < 0:
        text = f"the two forms pull against each other ({how})"
    else:
        strength = "weakly" if r.value < 0.3 else "moderately" if r.value < 0.6 else "strongly"
        text = f"the two forms correlate {strength} ({how})"
    return text + (_inflation(gap) if inflated(gap) else "")


def inflated(gap: Gap) -> bool:
    """Whether the correlation over all items is mostly the distance between the two classes."""
    r, within = metric_in(gap.metrics, "pearson_all"), _within(gap)
    if not within or not r.known:
        return False
    return r.value >= 0.3 and r.value - sum(m.value for m in within) / len(within) >= 0.2


def _inflation(gap: Gap) -> str:
    parts = [
        f"{equals('r', metric_in(gap.metrics, name))} within {label} answers"
        for name, label in (("pearson_yes", "right"), ("pearson_no", "wrong"))
        if metric_in(gap.metrics, name).known
    ]
    return ", but much of that is only right and wrong lying apart: " + " and ".join(parts)


def _within(gap: Gap) -> list[Metric]:
    return [r for name in ("pearson_yes", "pearson_no") if (r := metric_in(gap.metrics, name)).known]


def _apart(generator: Metric, validator: Metric) -> bool:
    """Whether two numbers differ by more than their intervals explain (errors taken as independent)."""
    half = math.hypot(generator.high - generator.low, validator.high - validator.low) / 2
    return abs(generator.value - validator.value) > (half if math.isfinite(half) else 0.1)


def _chance(auc: Metric) -> bool:
    return not _reversed(auc) and (auc.low if math.isfinite(auc.low) else auc.value) <= 0.5


def _reversed(auc: Metric) -> bool:
    return (auc.high if math.isfinite(auc.high) else auc.value) < 0.5
