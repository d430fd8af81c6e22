"""What each measure of damage means, and where it is defined."""

from accord.damage.changes import FREE, HARNESS, OWN, RELATIONS, TEXT
from accord.report.glossary import ACCURACY, AUC, DISTINCT, MASS, PERPLEXITY, REPEATED, SAME_TOP, Term

_DAMAGE = "accord.damage"
_FORMS = {"generator_": "completing", "validator_": "asked"}

DAMAGE_TERMS: dict[str, Term] = {
    "perplexity": Term("Perplexity", "of all tokens of held-out text; change: repaired / base", _DAMAGE, PERPLEXITY),
    "perplexity_per_text": Term(
        "Perplexity of a text",
        "geometric mean over texts; change: repaired / base",
        _DAMAGE,
        "geometric mean over texts of exp(Σ −log p / tokens)",
    ),
    "kl_base_repaired": Term(
        "KL(base ‖ repaired)",
        "Σ p log(p / q), nats a prediction, p the base model's next token, q the repaired one's",
        _DAMAGE,
        "mean over positions of Σ p log(p / q) over all tokens, p the base's, q the repaired model's",
    ),
    "kl_repaired_base": Term(
        "KL(repaired ‖ base)",
        "the same the other way round",
        _DAMAGE,
        "mean over positions of Σ q log(q / p) over all tokens, p the base's, q the repaired model's",
    ),
    "same_top": Term(
        "Same top token",
        "share of predictions whose top token is still the base model's",
        _DAMAGE,
        SAME_TOP,
    ),
    "true_beats_false": Term(
        "True beats false",
        "share of facts whose true answer is more probable than a false one (ROME)",
        _DAMAGE,
        "share of facts with p(true answer) > p(false answer) (Meng et al., arXiv 2202.05262)",
    ),
    "answer_probability": Term(
        "Probability of the answer", "mean p of the true answer", _DAMAGE, "mean over facts of p(true answer)"
    ),
    "answer_margin": Term(
        "Margin of the answer",
        "mean of log p(true) − log p(false)",
        _DAMAGE,
        "mean over facts of log p(true answer) − log p(false answer)",
    ),
    "yes_beats_no": Term(
        "Asked, true beats false",
        "share of facts affirmed more than their false twin",
        _DAMAGE,
        "share of facts with l_V of the true answer > l_V of the false one",
    ),
    "validator_auc": Term("Validator AUC", "of yes-or-no questions about it", _DAMAGE, AUC.format("l_V")),
    "validator_accuracy": Term(
        "Validator accuracy", "share of yes-or-no questions answered rightly", _DAMAGE, ACCURACY
    ),
    "validator_logodds": Term(
        "Validator log-odds", "mean; neither direction is worse in itself", _DAMAGE, "mean of l_V"
    ),
    "yes_share": Term(
        "Share of yes", "of questions of which half are true", _DAMAGE, "share of questions with l_V > 0"
    ),
    "yes_excess": Term("Bias to one answer", "|share of yes − ½|", _DAMAGE, "|share of questions with l_V > 0 − ½|"),
    "yes_no_mass": Term("Probability of yes or no", "how much of it falls on these words when asked", _DAMAGE, MASS),
    "generator_auc": Term(
        "Generator AUC", "of the repaired task, on items that the repair never saw", _DAMAGE, AUC.format("l_G")
    ),
    "mrr_yes": Term(
        "Mean reciprocal rank",
        "of right answers' first tokens among all tokens",
        _DAMAGE,
        "mean over right answers of 1 / rank of the first token",
    ),
    "generator_logodds": Term(
        "Generator log-odds", "mean; neither direction is worse in itself", _DAMAGE, "mean of l_G"
    ),
    "generator_moved": Term(
        "Generator moved",
        "mean |change| of the generator's log-odds, in nats",
        _DAMAGE,
        "mean over items of |l_G after − l_G before|",
    ),
    "generator_pearson": Term(
        "Generator with itself",
        "correlation of its log-odds before and after",
        _DAMAGE,
        "Pearson's r over items of l_G before with l_G after",
    ),
    "distinct_1": Term(
        "Distinct-1",
        "different words as a share of all words in free texts",
        "accord.text.diversity",
        DISTINCT.format("words"),
    ),
    "distinct_2": Term(
        "Distinct-2", "the same of pairs of words", "accord.text.diversity", DISTINCT.format("pairs of words")
    ),
    "distinct_3": Term(
        "Distinct-3", "the same of triples", "accord.text.diversity", DISTINCT.format("triples of words")
    ),
    "repeated_4": Term(
        "Repeated-4",
        "share of a text's runs of four words that occurred before in it",
        "accord.text.diversity",
        REPEATED,
    ),
    "tokens": Term("Length", "tokens of a free text", _DAMAGE, "mean over texts"),
    "judge_perplexity": Term(
        "Judge's perplexity",
        "of the free texts under another model; ratio",
        _DAMAGE,
        "exp(Σ −log p / tokens) under the judge, repaired / base",
    ),
}


DAMAGE_GROUPS = {
    TEXT: "held-out text",
    RELATIONS: "other relations",
    OWN: "the repaired task's generator",
    FREE: "free texts",
    HARNESS: "lm-evaluation-harness",
}
"""Groups of measures in the order of the page: what stands in the table, and what the page calls it. Others (single
relations, other tasks) have their own names."""


def damage_term(measure: str) -> Term:
    """The entry of a measure of damage; one that is not in the list stands under its own name.

    >>> damage_term("generator_same_top").label, damage_term("arc_easy: acc_norm").label
    ('Same top token, completing', 'arc_easy: acc_norm')
    """
    if measure in DAMAGE_TERMS:
        return DAMAGE_TERMS[measure]
    for prefix, form in _FORMS.items():
        whole = DAMAGE_TERMS.get(measure.removeprefix(prefix)) if measure.startswith(prefix) else None
        if whole is not None:
            meaning = f"{whole.meaning}; at the ends of {form} prompts"
            return Term(f"{whole.label}, {form}", meaning, whole.defined, whole.formula)
    if ": " in measure:  # a task of lm-evaluation-harness and its metric, by their own names
        return Term(measure, "", "lm-evaluation-harness")
    return Term(measure.replace("_", " "), "", "damage.parquet")


def in_sentence(label: str) -> str:
    """A label with a small first letter, but for abbreviations.

    >>> in_sentence("Same top token"), in_sentence("KL(base ‖ repaired)")
    ('same top token', 'KL(base ‖ repaired)')
    """
    return label[0].lower() + label[1:] if len(label) > 1 and label[1].islower() else label
