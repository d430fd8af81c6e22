"""What each measure of the gap means, in a line, and where it is defined; and what each file of it holds."""

from accord.report.glossary import ACCURACY, AUC, MASS, Term

RANKALIGN = "RankAlign, arXiv 2504.11381"
CONSISTENCY = "Li et al., arXiv 2310.01846"
_METRICS = "accord.gap.metrics"
_R = "cov(l_G, l_V) / (sd l_G · sd l_V)"
_WITHIN = "mean over prompts of: {}, among the answers of one prompt"


def _correlation(kind: str, which: str, note: str) -> Term:
    name = "Correlation r" if kind == "pearson" else "Rank correlation ρ"
    source = f"{_METRICS}.{kind}; {RANKALIGN}"
    formula = _R if kind == "pearson" else f"{_R}, of their ranks"
    return Term(f"{name}, {which}", note, source, f"{formula}, over {which}", low=-1.0, neutral=0.0)


_ALL = "do both forms rank the items alike? Inflated when both merely tell right from wrong"
_YES = "the same among right answers only: no class separation to inflate it"
_NO = "the same among wrong answers only"

TERMS: dict[str, Term] = {
    "generator_auc": Term(
        "Generator AUC",
        "chance that a right answer gets a higher score than a wrong one when the model completes the sentence",
        f"{_METRICS}.auc",
        AUC.format("l_G"),
        neutral=0.5,
    ),
    "validator_auc": Term(
        "Validator AUC",
        "the same when the model is asked yes or no",
        f"{_METRICS}.auc",
        AUC.format("l_V"),
        neutral=0.5,
    ),
    "validator_accuracy": Term(
        "Validator accuracy",
        "share of items on which its yes or no is right (log-odds above or below zero), or its most probable label",
        f"{_METRICS}.MEASURES; {CONSISTENCY}",
        ACCURACY,
        neutral=0.5,
    ),
    "pearson_all": _correlation("pearson", "all items", _ALL),
    "pearson_yes": _correlation("pearson", "right answers", _YES),
    "pearson_no": _correlation("pearson", "wrong answers", _NO),
    "yes_no_mass": Term(
        "Probability of yes or no",
        "how much of the probability falls on the words for yes and no (or for the labels) when asked; if low, the "
        "validator's score means little",
        f"{_METRICS}.MEASURES; {RANKALIGN}",
        MASS,
    ),
    "spearman_all": _correlation("spearman", "all items", "as r, of ranks: outliers do not count"),
    "spearman_yes": _correlation("spearman", "right answers", "within right answers"),
    "spearman_no": _correlation("spearman", "wrong answers", "within wrong answers"),
    "mrr_yes": Term(
        "Mean reciprocal rank, right answers",
        "1 when the first token of every right answer is the model's first choice (MRR-P)",
        f"{_METRICS}.MEASURES; {RANKALIGN}",
        "mean over right answers of 1 / rank of the first token",
    ),
    "mrr_no": Term(
        "Mean reciprocal rank, wrong answers",
        "the same of wrong answers; should be low",
        f"{_METRICS}.MEASURES; {RANKALIGN}",
        "mean over wrong answers of 1 / rank of the first token",
    ),
    **{
        f"generator_accuracy_{t}": Term(
            f"Generator accuracy, top {t:,}",
            f"share of items that are right exactly when the answer's first token is among the top {t:,}",
            f"{_METRICS}.MEASURES; {RANKALIGN}",
            f"share of items with (rank of the first token ≤ {t:,}) = right",
            neutral=0.5,
        )
        for t in (5, 10, 40, 100, 1000)
    },
    "rank_sanity": Term(
        "First token's log-odds against its rank",
        "correlation of the log-odds of the answer's first token with −log rank; a sound measurement keeps it high",
        f"{_METRICS}.MEASURES; {RANKALIGN}",
        "Pearson's r of log p − log(1 − p) of the first token with −log rank",
        low=-1.0,
        neutral=0.0,
    ),
    "within_generator_auc": Term(
        "Generator AUC, within prompts",
        "the same among the answers of one prompt, the mean over prompts: that one prompt's answers are all likelier "
        "than another's does not count",
        f"{_METRICS}.WITHIN",
        _WITHIN.format(AUC.format("l_G")),
        neutral=0.5,
    ),
    "within_validator_auc": Term(
        "Validator AUC, within prompts",
        "the same among the answers of one prompt, the mean over prompts",
        f"{_METRICS}.WITHIN",
        _WITHIN.format(AUC.format("l_V")),
        neutral=0.5,
    ),
    "within_validator_accuracy": Term(
        "Validator accuracy, within prompts",
        "share of a prompt's answers on which its yes or no is right, the mean over prompts",
        f"{_METRICS}.WITHIN",
        _WITHIN.format(ACCURACY),
        neutral=0.5,
    ),
    "within_pearson": Term(
        "Correlation r, within prompts",
        "do both forms rank the answers of one prompt alike? The mean over prompts",
        f"{_METRICS}.WITHIN",
        _WITHIN.format(_R),
        low=-1.0,
        neutral=0.0,
    ),
    "within_spearman": Term(
        "Rank correlation ρ, within prompts",
        "as r, of ranks",
        f"{_METRICS}.WITHIN",
        _WITHIN.format(f"{_R}, of their ranks"),
        low=-1.0,
        neutral=0.0,
    ),
    "within_concordance": Term(
        "Concordance, within prompts",
        "share of the pairs of one prompt's answers that both forms order alike, of those that both order",
        f"{_METRICS}.WITHIN",
        _WITHIN.format("C / (C + D), C pairs that l_G and l_V order alike, D otherwise (Goodman and Kruskal 1954)"),
        neutral=0.5,
    ),
    "prompts": Term("Prompts", "number of different prompts (or groups of the data)", "scores.parquet", whole=True),
    "prompts_compared": Term(
        "Prompts compared within",
        "those with four answers or more, right and wrong ones",
        "accord.gap.within",
        whole=True,
    ),
    "first_token_clashes": Term(
        "First tokens that clash",
        "items of the whole task that a first token alone does not tell from an answer of the other kind",
        "accord.gap.AnswerScore",
        whole=True,
    ),
    "task_items": Term("Items of the whole task", "before split and limit", "accord.gap.AnswerScore", whole=True),
    "n": Term("Items", "number of items measured", "scores.parquet", whole=True),
    "n_yes": Term("Right answers", "number of items whose answer is right", "scores.parquet", whole=True),
    "n_no": Term("Wrong answers", "number of items whose answer is wrong", "scores.parquet", whole=True),
    "blank_first_tokens": Term(
        "Blank first tokens", "answers whose first token is white space alone", "scores.parquet", whole=True
    ),
}

MAIN = (
    "generator_auc",
    "validator_auc",
    "validator_accuracy",
    "pearson_all",
    "pearson_yes",
    "pearson_no",
    "yes_no_mass",
)

SCORES = {
    "logodds": "the generator's score above",
    "logprob": "whole answer",
    "per_token": "whole answer, a token",
    "own": "whole answer, less what it gets after no prompt",
    "own_per_token": "whole answer, less what it gets after no prompt, a token",
    "negated": "whole answer, less what it gets after the negated prompt",
    "base": "whole answer, less what it gets after no prompt from the base",
    "base_negated": "whole answer, less what it gets after the negated prompt from the base",
}
"""What `accord.gap.corrected.generator_scores` names, in words."""

FILES = {
    "scores.parquet": "a row an item: fields, prompts, scores",
    "corrections.parquet": "how each way of scoring an answer does",
    "metrics.json": "every metric with its interval",
    "layers.parquet": "both scores by item and layer",
    "layer_metrics.parquet": "metrics by layer",
    "layer_matrix.parquet": "correlation of generator layer with validator layer",
    "lens.parquet": "what one example reads at each layer and position",
    "manifest.json": "settings, versions, hashes",
}


def term(metric: str) -> Term:
    """The entry of a metric; one that is not in the list is shown under its own name, without a scale."""
    return TERMS.get(metric) or Term(metric.replace("_", " "), "", "metrics.json", low=float("nan"))
