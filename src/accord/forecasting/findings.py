"""What a forecast amounts to, in one plain sentence that is right in every case, and what to beware of."""

import math
from pathlib import Path

import pandas as pd

from accord.forecasting.result import RepairForecast
from accord.gap.corrected import TYPICALITIES, generator_scores
from accord.gap.findings import LOW_MASS
from accord.report.finding import Finding
from accord.report.metric import Metric, called, metric_in, plain
from accord.report.wording import count, equals, measured, number
from accord.study.run_folder import Run

REPAIRS = {"readout": "a readout", "rankalign": "RankAlign"}
FORMS = {"g2v": "generator", "v2g": "validator"}
CHANCE = 0.5


def findings(run: Run) -> list[Finding]:
    """One for each forecast of a run."""
    return [finding(forecast) for forecast in run.of(RepairForecast).values()]


def finding(forecast: RepairForecast) -> Finding:
    """What a forecast amounts to, as the page and the command lead with it."""
    return Finding(f"{_headline(forecast)}.", _evidence(forecast), remarks=remarks(forecast))


def _headline(forecast: RepairForecast) -> str:
    of = f"{called(Path(forecast.about['model']).name)} on {called(forecast.about['task'])}"
    shares = {way: metric_in(forecast.metrics, f"{way}_right") for way in FORMS}
    g, v = shares["g2v"], shares["v2g"]
    if not (g.known and v.known):
        return f"{of}: the training items are all right or all wrong, so it cannot be told who orders pairs rightly"
    numbers = (
        f"of the pairs of a right and a wrong answer the generator orders {measured(g)} rightly, "
        f"the validator {measured(v)}"
    )
    best = max(shares, key=lambda way: shares[way].value)
    if _end(shares[best]) <= CHANCE:
        return f"{of}: neither form is above chance as a teacher: {numbers}"
    if _apart(g, v):
        return f"{of}: the {FORMS[best]} has something to teach ({best}): {numbers}"
    return f"{of}: neither form is clearly the better teacher: {numbers}"


def _end(share: Metric) -> float:
    """The lower end, or the number alone."""
    return share.low if math.isfinite(share.low) else share.value


def _apart(one: Metric, other: Metric) -> bool:
    """Whether two shares differ by more than their intervals explain (errors taken as independent)."""
    half = math.hypot(one.high - one.low, other.high - other.low) / 2
    return abs(one.value - other.value) > (half if math.isfinite(half) else 0.1)


def _evidence(forecast: RepairForecast) -> str:
    r = metric_in(forecast.metrics, "readout_r")
    over = count(int(forecast.about["items"]), "training item")
    if not r.known:
        return f"Over {over}. What the generator says cannot be read off the validator's state: nothing there varies."
    text = (
        f"What the generator says can be read off the validator's state with {equals('r', r)}, by readouts that have "
        f"not seen {unseen(forecast)}, over {over}."
    )
    told = [words for repair in REPAIRS if (words := closure_in_words(forecast, repair))]
    return " ".join([text, *told])


def unseen(forecast: RepairForecast) -> str:
    """What of an item no readout of it has seen, in words."""
    held_out = forecast.about["held_out"]
    return "the item" if held_out == "item" else f"the item's {held_out}"


def closure_in_words(forecast: RepairForecast, repair: str) -> str:
    """What a repair is expected to close, as a sentence; empty where none was logged."""
    table = forecast.metrics.get(f"closure_{repair}")
    if table is None:
        return ""
    closure, n = metric_in(forecast.metrics, f"closure_{repair}"), int((forecast.record["repair"] == repair).sum())
    name, runs = REPAIRS[repair], count(n, "logged run")
    if not closure.known:
        return f"What {name} would close cannot be told ({called(table.get('reason'))})."
    if not math.isfinite(closure.low):
        guess = f"a line through {runs} has {name} close {number(closure.value)} of the gap"
        return f"{guess[0].upper()}{guess[1:]}; too few for an interval."
    text = f"going by {runs}, {name} would close {measured(closure)} of the gap"
    return f"{text[0].upper()}{text[1:]}."


def remarks(forecast: RepairForecast) -> list[str]:
    """What to know before acting on it."""
    out = [line for line in (_close_pairs(forecast), _within(forecast), _layers(forecast), _turned(forecast)) if line]
    mass = float(forecast.items["yes_no_mass"].mean())
    if mass < LOW_MASS:
        out.append(
            f"Yes and no get only {mass:.0%} of the probability when asked, so the validator's order means little."
        )
    out += _record(forecast)
    return out


_MEASURES = {
    "g2v_right": ("Generator orders rightly", "share of the pairs of a right and a wrong answer; .5 is chance"),
    "v2g_right": ("Validator orders rightly", "the same of the validator"),
    "g2v_right_within": ("Generator, within prompts", "the same of two answers to one prompt"),
    "v2g_right_within": ("Validator, within prompts", "the same of the validator"),
    "readout_r": ("Readout's r", "of the generator's log-odds with what is read off the validator, held out"),
    "readout_auc": ("Readout's AUC", "how well what is read tells right from wrong answers, held out"),
    "closure_readout": ("Closure, readout", "share of the gap that it is expected to close, by the logged runs"),
    "closure_rankalign": ("Closure, RankAlign", "the same of RankAlign"),
}


def measures(forecast: RepairForecast) -> list[dict[str, str]]:
    """The main numbers in words: label, value with its interval, and meaning; those that are not defined say why."""
    rows = []
    for name, (label, meaning) in _MEASURES.items():
        if (table := forecast.metrics.get(name)) is not None:
            metric, reason = metric_in(forecast.metrics, name), plain(str(table.get("reason", "")))
            value = measured(metric) if metric.known else "not told"
            rows.append({"label": label, "value": value, "meaning": f"{meaning} ({reason})" if reason else meaning})
    return rows


def teacher(forecast: RepairForecast) -> str:
    """The direction whose teacher orders more pairs rightly; g2v where that is not known."""
    shares = {way: metric_in(forecast.metrics, f"{way}_right").value for way in FORMS}
    known = {way: share for way, share in shares.items() if math.isfinite(share)}
    return max(known, key=known.__getitem__) if known else "g2v"


def bins(forecast: RepairForecast, direction: str, scope: str = "all") -> pd.DataFrame:
    """The shares by |Δ|, without that of all pairs; empty bins left out.

    With a column more: `closer`, the share of the pairs that are closer than the middle of the bin.
    """
    table = forecast.pairs
    own = table[(table["direction"] == direction) & (table["scope"] == scope) & (table["bin"] > 0)]
    own = own.assign(closer=(own["bin"] - 0.5) / len(own))
    return own[own["value"].notna()]


def _close_pairs(forecast: RepairForecast) -> str:
    way = teacher(forecast)
    table = bins(forecast, way)
    if len(table) < 2:
        return ""
    near, far = (Metric(*row) for row in table[["value", "low", "high"]].iloc[[0, -1]].itertuples(index=False))
    share = 2 * float(table["closer"].iloc[0])
    size = "tells" if far.value > near.value else "does not tell"
    text = (
        f"The size of a difference {size}: of the {share:.0%} of pairs that the {FORMS[way]} holds closest (up to "
        f"{table['upto'].iloc[0]:.1f} nats) it orders {measured(near)} rightly, of the farthest {measured(far)}"
    )
    chance = _end(near) <= CHANCE < _end(far)
    return (
        f"{text}; the closest teach nothing for certain, and `delta` of a repair leaves them out."
        if chance
        else f"{text}."
    )


def _within(forecast: RepairForecast) -> str:
    shares = [(form, metric_in(forecast.metrics, f"{way}_right_within")) for way, form in FORMS.items()]
    parts = [f"by the {form} {measured(share)}" for form, share in shares if share.known]
    return f"Of pairs of answers to one prompt rightly ordered: {', '.join(parts)}." if parts else ""


def _layers(forecast: RepairForecast) -> str:
    layers = {form: metric_in(forecast.metrics, f"{form}_layer") for form in FORMS.values()}
    top = int(forecast.layers["layer"].max())
    parts = [
        f"the {form} at layer {layer.value:.0f}" if layer.known else f"the {form} at none"
        for form, layer in layers.items()
    ]
    read = forecast.layers[forecast.layers["metric"] == "readout_r"].dropna(subset="value")
    best = ""
    if len(read):
        row = read.iloc[int(read["value"].to_numpy().argmax())]
        r = Metric(row["value"], row["low"], row["high"])
        best = f" What the generator says is best read off the validator's layer {row['layer']:.0f} ({equals('r', r)})."
    first = f"By the logit lens, {' and '.join(parts)} of {top} first know 95 % of what they do at their best."
    return first + best


def _turned(forecast: RepairForecast) -> str:
    own = corrections(forecast, "own")
    if not {"order", "turned", "auc_change"} <= set(own):
        return ""
    change = own["auc_change"]
    effect = "no clear change"
    if math.isfinite(change.low) and not change.low <= 0 <= change.high:
        effect = "for the better" if change.value > 0 else "for the worse"
    aucs = f"AUC {number(own['raw_auc'].value)} → {number(own['corrected_auc'].value)}"
    return (
        f"Corrected for how typical answers are, the generator orders {measured(own['turned'])} of all pairs the other "
        f"way round ({equals('ρ', own['order'])}): {aucs}, {effect} ({measured(change)})."
    )


def corrections(forecast: RepairForecast, correction: str, scope: str = "all") -> dict[str, Metric]:
    """What a correction changes, by metric; those that are not defined left out."""
    table = forecast.corrections
    own = table[(table["correction"] == correction) & (table["scope"] == scope)]
    found = {row["metric"]: Metric(row["value"], row["low"], row["high"]) for row in own.to_dict("records")}
    return {name: metric for name, metric in found.items() if metric.known}


def moved(forecast: RepairForecast, most: int) -> pd.DataFrame:
    """The items that the first correction moves most among the others, `most` down and `most` up.

    With two columns more: `raw_place` and `corrected_place`, the share of the other items that each stands above.
    """
    scores = generator_scores(forecast.items)
    name = next((name for name in TYPICALITIES if name in scores), None)
    if name is None:
        return forecast.items[:0].assign(raw_place=0.0, corrected_place=0.0)
    n = max(1, len(forecast.items) - 1)
    places = {key: (scores[by].rank() - 1) / n for key, by in (("raw_place", "logprob"), ("corrected_place", name))}
    table = forecast.items.assign(**places)
    by = (table["corrected_place"] - table["raw_place"]).sort_values(kind="stable")
    chosen = [*by.index[by < 0][:most], *by.index[by > 0][-most:]]
    return table.loc[chosen]


def _record(forecast: RepairForecast) -> list[str]:
    """How far the predictions can be trusted."""
    out = []
    for repair, name in REPAIRS.items():
        table = forecast.record[forecast.record["repair"] == repair]
        told = table[table["predicted"].notna()]
        if not len(table):
            continue
        if told.empty:
            out.append(f"Of {name}, {count(len(table), 'run')} logged: too few to foretell one from the others.")
            continue
        n, total = len(table), float(table["found"].sum())
        means = (total - told["found"]) / (n - 1)
        off, plain_off = (float((each - told["found"]).abs().mean()) for each in (told["predicted"], means))
        weak = " No better than the mean." if off >= plain_off else ""
        out.append(
            f"The record so far, {name}: {count(len(told), 'logged run')}, each foretold by the others, off by "
            f"{number(off)} in the mean (their plain mean: {number(plain_off)}).{weak}"
        )
        r = metric_in(forecast.metrics, "readout_r").value
        low, high = float(table["readout_r"].min()), float(table["readout_r"].max())
        if math.isfinite(r) and not low <= r <= high:
            out.append(
                f"This readout's r is outside of what was logged ({number(low)} to {number(high)}): what {name} would "
                "close is a guess."
            )
    return out
