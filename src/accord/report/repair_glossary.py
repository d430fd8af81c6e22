"""What each column of the repairs and each measure of damage means, with its formula, and where it is defined."""

from accord.report.glossary import Term

_COMPARE = "accord.gap.change"
_VERDICT = "accord.verdict.measure"
_METRICS = "accord.gap.metrics"
_DAMAGE = "accord.damage"

# Columns of the table of repairs, in order.
REPAIR_TERMS: dict[str, Term] = {
    "closure": Term(
        "Closed",
        "share of the gap that is closed on test items: (r after − r before) / (1 − r before), r over all items; "
        "1 is perfect agreement of the two forms, 0 nothing gained, below 0 lost",
        f"{_COMPARE}.Change",
    ),
    "pearson_all": Term(
        "r, all", "correlation of generator and validator log-odds over all test items, after the repair", _METRICS
    ),
    "pearson_yes": Term(
        "r, right", "the same within right answers, where merely telling right from wrong gains nothing", _METRICS
    ),
    "pearson_no": Term("r, wrong", "the same within wrong answers", _METRICS),
    "unseen-hypernyms": Term("r, unseen categories", "r, all, on items whose category no training item has", _VERDICT),
    "unseen-both": Term("r, unseen words", "r, all, on items of which no training item has either word", _VERDICT),
    "wordings": Term(
        "r, other wordings", "r, all, on test items asked or completed in other words; mean over the wordings", _VERDICT
    ),
    "validator_auc": Term(
        "Validator AUC", "chance that a right answer is affirmed more than a wrong one, when asked", f"{_METRICS}.auc"
    ),
    "validator_accuracy": Term(
        "Accuracy",
        "share of items on which yes or no is right (log-odds above or below 0); the order may be right (AUC) and the "
        "threshold not",
        f"{_METRICS}.MEASURES",
    ),
    "generator_auc": Term(
        "Generator AUC, change", "what the repair did to the form that knew: after − before", f"{_COMPARE}.Change"
    ),
    "perplexity": Term(
        "Perplexity ×",
        "perplexity on held-out text, repaired / base, same texts: exp of the mean difference in nats a token",
        f"{_DAMAGE}.measures",
    ),
    "specificity": Term(
        "Others unmoved",
        "specificity: share of prompts about other relations (part–whole, synonyms, capitals, …) whose most likely "
        "next token is still the base model's",
        f"{_DAMAGE}.measures",
    ),
    "seconds": Term("Seconds", "time to make the repair, with the one that it goes on from", "verdict.json"),
}  # fmt: skip

_FORMS = {"generator_": "completing", "validator_": "asked"}

DAMAGE_TERMS: dict[str, Term] = {
    "perplexity": Term("Perplexity", "of all tokens of held-out text; change: repaired / base", _DAMAGE),
    "perplexity_per_text": Term("Perplexity of a text", "geometric mean over texts; change: repaired / base", _DAMAGE),
    "kl_base_repaired": Term(
        "KL(base ‖ repaired)", "Σ p log(p / q), nats a prediction, p the base model's next token, q the repaired one's",
        _DAMAGE,
    ),
    "kl_repaired_base": Term("KL(repaired ‖ base)", "the same the other way round", _DAMAGE),
    "same_top": Term("Same top token", "share of predictions whose top token is still the base model's", _DAMAGE),
    "true_beats_false": Term(
        "True beats false", "share of facts whose true answer is more probable than a false one (ROME)", _DAMAGE
    ),
    "answer_probability": Term("Probability of the answer", "mean p of the true answer", _DAMAGE),
    "answer_margin": Term("Margin of the answer", "mean of log p(true) − log p(false)", _DAMAGE),
    "yes_beats_no": Term("Asked, true beats false", "share of facts affirmed more than their false twin", _DAMAGE),
    "validator_auc": Term("Validator AUC", "of yes-or-no questions about it", _DAMAGE),
    "validator_accuracy": Term("Validator accuracy", "share of yes-or-no questions answered rightly", _DAMAGE),
    "validator_logodds": Term("Validator log-odds", "mean; neither direction is worse in itself", _DAMAGE),
    "yes_share": Term("Share of yes", "of questions of which half are true", _DAMAGE),
    "yes_excess": Term("Bias to one answer", "|share of yes − ½|", _DAMAGE),
    "yes_no_mass": Term("Probability of yes or no", "how much of it falls on these words when asked", _DAMAGE),
    "generator_auc": Term("Generator AUC", "of the repaired task, on items that the repair never saw", _DAMAGE),
    "mrr_yes": Term("Mean reciprocal rank", "of right answers' first tokens among all tokens", _DAMAGE),
    "generator_logodds": Term("Generator log-odds", "mean; neither direction is worse in itself", _DAMAGE),
    "generator_moved": Term("Generator moved", "mean |change| of the generator's log-odds, in nats", _DAMAGE),
    "generator_pearson": Term("Generator with itself", "correlation of its log-odds before and after", _DAMAGE),
    "distinct_1": Term("Distinct-1", "different words as a share of all words in free texts", "accord.text.diversity"),
    "distinct_2": Term("Distinct-2", "the same of pairs of words", "accord.text.diversity"),
    "distinct_3": Term("Distinct-3", "the same of triples", "accord.text.diversity"),
    "repeated_4": Term(
        "Repeated-4", "share of a text's runs of four words that occurred before in it", "accord.text.diversity"
    ),
    "tokens": Term("Length", "tokens of a free text", _DAMAGE),
    "judge_perplexity": Term("Judge's perplexity", "of the free texts under another model; ratio", _DAMAGE),
}  # fmt: skip


DAMAGE_GROUPS = {
    "text": "held-out text",
    "relations": "other relations",
    "own task": "the repaired task's generator",
    "free text": "free texts",
}
"""Groups of measures in the order of the page: what stands in the table, and what the page calls it. Others (single
relations, other tasks) have their own names."""


def damage_term(measure: str) -> Term:
    """The entry of a measure of damage; one that is not in the list stands under its own name."""
    if measure in DAMAGE_TERMS:
        return DAMAGE_TERMS[measure]
    for prefix, form in _FORMS.items():
        known = DAMAGE_TERMS.get(measure.removeprefix(prefix)) if measure.startswith(prefix) else None
        if known is not None:
            return Term(f"{known.label}, {form}", f"{known.meaning}; at the ends of {form} prompts", known.defined)
    return Term(measure.replace("_", " "), "", "damage.parquet")


def in_sentence(label: str) -> str:
    """A label with a small first letter, but for abbreviations."""
    return label[0].lower() + label[1:] if len(label) > 1 and label[1].islower() else label
