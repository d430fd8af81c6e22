"""Every type of result reads back what it wrote: tables with their types, facts, what is empty or not known."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from accord.capabilities import CAPABILITIES, part
from accord.concepts.result import ConceptMetrics
from accord.damage.result import Damage, Observation
from accord.embeddings.result import Embeddings
from accord.explain.result import Explanation
from accord.forecasting.result import RepairForecast
from accord.gap.change import Change
from accord.gap.result import Gap
from accord.heads.result import HeadMetrics
from accord.names.result import NamedDictionary
from accord.pathway.result import Pathway
from accord.pathway.tables import ALL, BASE, INTO_BASE, INTO_REPAIRED, LAST, REPAIRED
from accord.perplexity.result import JudgedTexts, WrittenTexts
from accord.repair.result import RepairRecord
from accord.steering.result import CONCEPT, OTHER, PUSH, Effects
from accord.verdict.result import Answers, Verdict

NAN = float("nan")
KNOWN, UNKNOWN = {"value": 0.5, "low": 0.25, "high": 0.75}, {"value": None, "low": None, "high": None}
FACTS = {"name": "topk", "layer": 3, "seed": None, "r2": 0.1 + 0.2, "whole": False, "words": ["Müller", "\u2028"],
         "origin": {"tool": "SAELens", "k": None, "rows": []}}  # fmt: skip


def scores(items: int = 3) -> pd.DataFrame:
    """As `measure_gap` gives them, in small."""
    table = pd.DataFrame(
        {
            "noun1": [f"bee\u2028{i}" for i in range(items)],
            "similarity": [NAN if i % 2 else 0.5 for i in range(items)],
            "gold": [i % 2 == 0 for i in range(items)],
            "label": [None if i % 2 else "ja" for i in range(items)],
            "generator_logodds": np.linspace(-1e-300, 1 / 3, items),
            "generator_rank": np.arange(items),
        }
    )
    table.attrs |= {"answer_score": "whole", "first_token_clashes": 2, "task_items": items}
    return table


def layers() -> dict[str, pd.DataFrame]:
    numbers = {"value": [0.5, NAN], "low": [0.1, NAN], "high": [0.9, NAN]}
    return {
        "layers": pd.DataFrame({"item": [0, 1], "layer": [0, 1], "validator_logodds": [NAN, 1.0]}),
        "layer_metrics": pd.DataFrame({"layer": [0, 1], "metric": ["pearson_all"] * 2, **numbers}),
        "layer_matrix": pd.DataFrame({"generator_layer": [0], "validator_layer": [1], "pearson": [NAN]}),
        "lens": pd.DataFrame({"item": [0], "token": ["\n"], "top": [" ja"], "probability": [0.5]}),
    }


def forecast(**metrics: Any) -> RepairForecast:
    numbers = {"value": [0.5, NAN], "low": [0.1, NAN], "high": [0.9, NAN]}
    pairs = {"direction": ["g2v", "v2g"], "scope": "all", "bin": [0, 1], "above": 0.0, "upto": 1e-300, "pairs": 3}
    told = {"repair": "readout", "model": ["\u2028", "m"], "readout_r": 0.5, "predicted": [NAN, 0.5], "found": 0.25}
    return RepairForecast(
        {**FACTS, "items": 3},
        scores().assign(read=NAN),
        pd.DataFrame({**pairs, **numbers}),
        pd.DataFrame({"layer": [0, 1], "metric": "readout_r", **numbers}),
        pd.DataFrame({"correction": ["own", "own"], "scope": "all", "metric": ["order", "turned"], **numbers}),
        pd.DataFrame(told),
        {"g2v_right": KNOWN, "v2g_right": UNKNOWN, "readout_r": KNOWN, **metrics},
    )


def curve() -> pd.DataFrame:
    return pd.DataFrame({"step": [0.0, 50.0, 99.0], "loss": [1 / 3, 0.25, 0.125], "fvu": [NAN, 0.5, NAN]})


def damage(free: pd.DataFrame, **columns: Any) -> Damage:
    row = {"group": "text", "measure": "perplexity", "base": 9.5, "repaired": NAN, "change": NAN, "low": NAN,
           "high": NAN, "change_is": "ratio", "n": 4, "worse_if": "higher", "worsened": False,
           "reason": None}  # fmt: skip
    rows = [row, {**row, "measure": "ce", "repaired": 9.75, "worsened": True, "reason": "too few"}]
    texts = pd.DataFrame({"text": ["A\nbee", ""], "tokens": [3, 0], "nll_base": [1.5, 0.0], "nll_repaired": [NAN, 0.0]})
    relations = pd.DataFrame({"relation": ["capital"], "subject": ["Chad"], "answer": ["x"], "wrong": ["y"], **columns})
    return Damage(pd.DataFrame(rows), "Nothing got worse.", texts, relations, free)


def free(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"prompt": ["", "A\u2028bee"], "base": ["is\n", "“”"], "repaired": ["", "no"], **columns})


def pathway(concepts: pd.DataFrame | None = None) -> Pathway:
    numbers = {"low": [NAN, 0.1, 0.2], "high": [NAN, 0.9, 0.8]}
    at = {"layer": [0, 1, 2], "value": [NAN, 0.5, 0.75], **numbers}
    metrics = ("validator_auc", "generator_auc", "final_pearson_all", "final_pearson_yes", "final_pearson_no")
    patching = [
        {"direction": way, "positions": place, "what": what}
        for way in (INTO_BASE, INTO_REPAIRED)
        for place in (LAST, ALL)
        for what in ("states", "random")
    ]
    return Pathway(
        about={"base": "a", "repaired": "b", "tests": ["test"], "n": {"train": 4, "test": 3}, "concepts": None},
        curves=_all([{"model": model, "metric": metric} for model in (BASE, REPAIRED) for metric in metrics], at),
        matrix=pd.DataFrame({"model": [BASE], "generator_layer": [0], "validator_layer": [1], "pearson": [NAN]}),
        cka=_all([{"form": form} for form in ("generator", "validator")], at),
        readout=_all(
            [
                {"model": model, "items": items, "metric": metric}
                for model in (BASE, REPAIRED)
                for items, metric in (("train", "explained"), ("test", "pearson_all"))
            ],
            at,
        ),
        patching=_all(patching, at),
        patched=pd.DataFrame({"direction": [INTO_BASE], "item": [0], "layer": [1], "patched": [NAN]}),
        concepts=concepts,
    )


def _all(keys: list[dict[str, str]], columns: Mapping[str, Any]) -> pd.DataFrame:
    return pd.concat([pd.DataFrame({**key, **columns}) for key in keys], ignore_index=True)


def effects(rows: int | None = None, **about: Any) -> Effects:
    table = pd.DataFrame(
        [
            {"concept": k, "random_concept": 9, "kind": "factor", "dose": 0.0, "control": control, "measure": measure,
             "value": NAN if k else -0.5, "low": NAN, "high": 0.5, "n": 4, "level": 1.5, "expected": sign,
             "acts": None if measure == "judge_nll" else control == CONCEPT, "per_float": -0.5}
            for measure, sign in (("promoted", -1), ("judge_nll", 0))
            for k in (0, 1)
            for control in (CONCEPT, OTHER, PUSH)
        ]
    ).astype({"acts": "boolean"})  # fmt: skip
    texts = [{"concept": 0, "kind": "factor", "dose": 0.0, "prompt": "", "index": 0, "text": "x\u2028\n", "nll": NAN}]
    typical = pd.DataFrame({"concept": [0, 1], "rate": [0.5, 0.0], "mean": [1.5, NAN], "association": [NAN, NAN]})
    about = {"name": "planted", "floats_per_concept": 1, "active_floats_per_token": 2.5, "tokens": 64, **about}
    return Effects(table[:rows], texts[:rows], about, typical[:rows])


def explanation(rows: int | None = None) -> Explanation:
    concepts = pd.DataFrame({"concept": [3, 5], "generator_rate": [0.5, 0.0], "pull": [NAN, 1.0], "high": [NAN, 2.0]})
    items = pd.DataFrame({"item": [0], "form": ["validator"], "concept": [3], "strength": [0.5], "contribution": [NAN]})
    check = pd.DataFrame({"chosen": [[3, 5]], "largest": [True], "value": [0.5]})
    return Explanation(concepts[:rows], items[:rows], scores()[:rows], check[:rows], {**FACTS, "check": UNKNOWN})


def dictionary(rows: int | None = None) -> NamedDictionary:
    concepts = pd.DataFrame(
        {
            "concept": [1, 4],
            "rate": [0.5, 0.001],
            "types": [[{"token": " bee", "share": 0.5}], []],
            "edges": [[1.0, 2.0], [0.5]],
            "name": ["insects", None],
            "alternatives": [["bees"], None],
            "no_name": [None, "broken JSON"],
            "detection": [0.75, NAN],
        }
    )
    examples = pd.DataFrame({"concept": [1], "side": ["train"], "kind": ["top"], "strength": [2.5], "before": ["\n"]})
    return NamedDictionary(concepts[:rows], examples[:rows], {**FACTS, "detection": {**KNOWN, "n": 1}})


def verdict(**about: Any) -> Verdict:
    change = Change(KNOWN, {**UNKNOWN, "reason": "too few"}, UNKNOWN, None)  # type: ignore[arg-type, typeddict-unknown-key]
    changes = {test: {"pearson_all": change, "auc": Change(*[KNOWN] * 4)} for test in ("test", "task-trivia")}  # type: ignore[arg-type]
    titles = {"test": "test items", "task-trivia": "task trivia (2 left out)"}
    return Verdict(changes, titles, {"test": 3, "task-trivia": 0}, {"test": scores(), "task-trivia": scores(0)}, about)


TEXTS = pd.DataFrame({"row": ["a", "a"], "seed": [0, 0], "index": [0, 1], "text": ["A\u2028\n", ""], "tokens": [3, 0],
                      "finished": [True, False]})  # fmt: skip
RESULTS: dict[str, Any] = {
    "gap": Gap(scores(), {"pearson_all": KNOWN, "auc": UNKNOWN}, "per_token"),  # type: ignore[dict-item]
    "gap-layers": Gap(scores(), {"pearson_all": KNOWN}, "first", **layers()),  # type: ignore[dict-item]
    "gap-empty": Gap(scores(0), {}, "whole", **{name: table[:0] for name, table in layers().items()}),
    "concepts": ConceptMetrics(FACTS),
    "concepts-curve": ConceptMetrics(FACTS, curve()),
    "heads": HeadMetrics({**FACTS, "held_out_ce": 2.5}),
    "heads-curve": HeadMetrics(FACTS, curve()),
    "texts": WrittenTexts(TEXTS),
    "texts-empty": WrittenTexts(TEXTS[:0]),
    "perplexity": JudgedTexts({**FACTS, "own_perplexity": None}),
    "names": dictionary(),
    "names-empty": dictionary(0),
    "steering": effects(label="Sentiment", promoted={"0": ["a"]}),
    "steering-empty": effects(0),
    "explain": explanation(),
    "explain-empty": explanation(0),
    "forecast": forecast(),
    "forecast-unknown": forecast(g2v_right={**UNKNOWN, "reason": "all items are of one gold class"}),
    "repair": RepairRecord(
        {**FACTS, "best": {"penalty": 0.1}}, {"kind": "weights"}, {"model": "a", "fingerprint": "x"}
    ),
    "repair-curve": RepairRecord(FACTS, {"kind": "adapter"}, {"folder": "..", "path": "/x"}, curve()),
    "answers": Answers({"test": scores(), "task-trivia": scores(0)}),
    "answers-none": Answers({}),
    "verdict": verdict(),
    "verdict-study": verdict(repair="rankalign", kind="rankalign", seed=0, task="hypernymy", base="b", seconds=None),
    "damage": damage(free(base_perplexity=[NAN, 9.5], repaired_perplexity=[8.5, 9.0]), answer_logprob_base=[NAN]),
    "damage-unknown": damage(free(base_perplexity=NAN, repaired_perplexity=NAN)),
    "damage-unjudged": damage(free()),
    "damage-none": damage(free()[:0]),
    "pathway": pathway(),
    "pathway-concepts": pathway(pd.DataFrame({"concept": [3], "change": [NAN], "certain": [False]})),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_reads_back_what_it_wrote(name: str, tmp_path: Path) -> None:
    result = RESULTS[name]
    result.write(tmp_path)
    again = type(result).read(tmp_path)
    for field in fields(result):
        assert_same(getattr(again, field.name), getattr(result, field.name), field.name)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again.write(tmp_path)  # as `accord.read` gives it
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == written


@pytest.mark.parametrize("name", RESULTS)
def test_what_a_result_found_is_told_in_a_line_whatever_of_it_is_missing(name: str) -> None:
    line = RESULTS[name].headline()  # type: ignore[attr-defined]
    assert isinstance(line, str) and "\n" not in line and len(line) < 300 and "nan" not in line.split()


@pytest.mark.parametrize("result", [Embeddings, Observation])
def test_a_result_that_is_large_stays_where_it_is(result: type, tmp_path: Path) -> None:
    large = Embeddings(tmp_path, FACTS) if result is Embeddings else Observation(tmp_path)
    large.write(tmp_path)
    assert result.read(tmp_path) == large  # type: ignore[attr-defined]


def test_every_type_is_tried() -> None:
    modules = [part(capability, "result") for capability in CAPABILITIES]
    types = {result for module in modules if module for result in module.RESULTS.values()}
    assert types == {type(result) for result in RESULTS.values()} | {Embeddings, Observation}


def test_a_number_that_is_not_finite_is_told_as_unknown(tmp_path: Path) -> None:
    JudgedTexts({"judge_mean": NAN, "interval": [float("inf"), 1.0]}).write(tmp_path)
    assert JudgedTexts.read(tmp_path).metrics == {"judge_mean": None, "interval": [None, 1.0]}


def assert_same(value: Any, expected: Any, where: str) -> None:
    if isinstance(expected, pd.DataFrame):
        # Lists in cells come back as arrays, which Parquet has in their place.
        value, expected = (table.reset_index(drop=True).map(_as_list) for table in (value, expected))
        pd.testing.assert_frame_equal(value, expected, check_exact=True, obj=where)
        assert value.attrs == expected.attrs
    elif isinstance(expected, Mapping):
        assert value.keys() == expected.keys(), where
        for key in expected:
            assert_same(value[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(value) == len(expected)
        for i, element in enumerate(expected):
            assert_same(value[i], element, f"{where}.{i}")
    else:
        assert value == expected or (value != value and expected != expected), where


def _as_list(cell: Any) -> Any:
    return cell.tolist() if isinstance(cell, np.ndarray) else cell
