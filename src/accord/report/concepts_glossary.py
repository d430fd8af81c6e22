"""What each column of the concept and perplexity tables means, and where it is defined."""

from accord.report.glossary import Term

_QUALITY = "accord.concepts.metrics.Quality"
_CE = "accord.concepts.metrics.ce_recovered"
_PERPLEXITY = "accord.lm.perplexity.Perplexity"
_HEADS = "accord.heads.train"
_DIVERSITY = "accord.text.diversity"

CONCEPT_TERMS: dict[str, Term] = {
    "r2": Term("R²", "share of the embeddings' variance that the reconstruction explains, 1 − FVU", _QUALITY),
    "r2_hard": Term("R², hard", "the same with every gate open or shut; for kinds that have gates", _QUALITY),
    "l0": Term("L0", "concepts that fire on a token, on average (with hard gates): fewer is sparser", _QUALITY),
    "alive": Term("Alive", "share of concepts that fire on at least 0.1 % of held-out tokens", _QUALITY),
    "ce_recovered": Term(
        "CE recovered",
        "how much of the next-token prediction survives when the reconstruction takes the embedding's place: "
        "1 all of it, 0 no more than without the embedding",
        _CE,
    ),
    "ce_recovered_hard": Term("CE recovered, hard", "the same with hard gates", _CE),
    "parameters": Term("Parameters", "trained numbers of the concept model", _QUALITY, whole=True),
    "seconds": Term("Seconds", "time to train", "metrics.json"),
}

HEAD_TERMS: dict[str, Term] = {
    "held_out_ce": Term(
        "Held-out CE", "nats a token on texts the head was not trained on; lower is better", f"{_HEADS}.cross_entropy"
    ),
    "start_ce": Term("At start", "the same before training", f"{_HEADS}.cross_entropy"),
    "unigram_ce": Term(
        "Frequencies only", "the same of a guess that knows nothing but how frequent tokens are", f"{_HEADS}.unigram_ce"
    ),
    "seconds": Term("Seconds", "time to train", "metrics.json"),
}  # fmt: skip

PERPLEXITY_TERMS: dict[str, Term] = {
    "judge_mean": Term(
        "Judge, mean", "mean of the texts' perplexities under the judge; one odd text counts a lot", _PERPLEXITY
    ),
    "judge_weighted": Term("Judge, by token", "perplexity of all tokens together under the judge", _PERPLEXITY),
    "own_perplexity": Term(
        "Own, held-out", "the model's own perplexity on real texts it has not seen: repetition does not help it",
        "accord.lm.perplexity.perplexity",
    ),
    "distinct_1": Term("Distinct-1", "different words as a share of all words", f"{_DIVERSITY}.distinct"),
    "distinct_2": Term("Distinct-2", "the same of pairs of words", f"{_DIVERSITY}.distinct"),
    "distinct_3": Term("Distinct-3", "the same of triples", f"{_DIVERSITY}.distinct"),
    "repeated_4": Term(
        "Repeated-4", "share of a text's runs of four words that occurred before in it", f"{_DIVERSITY}.repeated"
    ),
}  # fmt: skip
