"""`accord diff`: every way in which two runs may differ is told by its own cause, and metrics beside it."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from tests.report.run_folder import publish_result
from tests.study.made_run import change
from tests.test_results import RESULTS
from tests.tiny import tiny_hub_folder, tiny_texts
from typer.testing import CliRunner

import accord
from accord import capabilities, cli
from accord.concepts.result import ConceptMetrics
from accord.errors import AccordError
from accord.gap import compare, summarize
from accord.gap.result import Gap
from accord.intervals import mean_change, ratio_difference
from accord.names.result import NamedDictionary
from accord.perplexity.result import JudgedTexts
from accord.screen import Screen
from accord.study import engine
from accord.study.difference import Difference, RunDifference
from accord.study.rerun import check_studies, rerun
from accord.study.shown_difference import because, notes, sentences, verdict
from accord.verdict.result import Answers

VERSIONS = {"python": "3.11.9", "torch": "2.13.0"}
CPU = {"device": "cpu", "dtype": "float32"}


def scores(n: int = 60, *, noise: int = 1, first: int = 0) -> pd.DataFrame:
    rng, gold = np.random.default_rng(noise), np.arange(n) % 5 < 2
    generator = np.random.default_rng(0).normal(size=n) + gold
    return pd.DataFrame(
        {
            "gold": gold,
            "answer": [f"a{i}" for i in range(first, first + n)],
            "generator_prompt": [f"g{i}" for i in range(first, first + n)],
            "validator_prompt": [f"v{i}" for i in range(first, first + n)],
            "generator_logodds": generator,
            "validator_logodds": 0.4 * generator + rng.normal(size=n),
            "generator_rank": np.random.default_rng(2).integers(1, 500, size=n),
            "yes_no_mass": np.full(n, 0.9),
        }
    )


def write_run(
    folder: Path,
    *,
    seed: int = 0,
    table: pd.DataFrame | None = None,
    k: int = 4,
    size: int = 8,
    r2: float = 0.9,
    seconds: float = 1.0,
    versions: dict[str, str] = VERSIONS,
    facts: dict[str, str] = CPU,
    source: str = "reviews",
    text: str = "texts",
) -> Path:
    """A gap, and embeddings with concepts on them whose texts are judged."""
    table = scores() if table is None else table
    label, perplexity = f"topk-s{seed}", 20 + 10 * (1 - r2)
    judged = {"row": "topk", "seed": seed, "judge_mean": perplexity, "judge_mean_low": perplexity - 1}
    with mock.patch("accord.study.provenance.versions", return_value=versions):
        gap = Gap(table, summarize(table), "first")
        publish_result(folder, "gap", "hypernymy", gap, settings={"task": {"limit": len(table)}}, facts=facts)
        publish_result(folder, "embeddings", "", None, settings={"source": source}, facts=facts, files={"store": text})
        publish_result(
            folder, "concepts", label, ConceptMetrics({"seed": seed, "r2": r2, "fvu": 0.5, "seconds": seconds}),
            settings={"seed": seed, "model": {"size": size, "k": k}}, seed=seed, inputs={"embeddings": "embeddings"},
            facts=facts, files={"model.safetensors": f"{seed} {size} {k} {r2}"},
        )  # fmt: skip
        publish_result(
            folder, "perplexity", label, JudgedTexts({**judged, "judge_mean_high": perplexity + 1}),
            settings={"row": "topk"}, seed=seed, inputs={"model": f"concepts/{label}"}, facts=facts,
        )  # fmt: skip
    return folder


@pytest.fixture
def differ(tmp_path: Path) -> Callable[..., RunDifference]:
    """The usual run beside one with changes."""

    def differ(**changes: Any) -> RunDifference:
        return accord.diff(write_run(tmp_path / "a"), write_run(tmp_path / "b", **changes))

    return differ


def said(difference: RunDifference) -> str:
    return "\n".join(sentences(difference))


def shown(difference: RunDifference, *words: str) -> str:
    command = ["diff", str(difference.first), str(difference.second), *words]
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 0, done.output
    return done.stdout


def causes(difference: RunDifference) -> dict[str, list[tuple[str, str, Any, Any]]]:
    return {pair.first: [(c.kind, c.name, c.first, c.second) for c in pair.causes] for pair in difference.causes}


def test_equal_runs_are_told_to_be_so(differ: Callable[..., RunDifference]) -> None:
    difference = differ()
    assert not difference.differing and not difference.metrics and difference.suspect is None
    assert said(difference) == "All 4 stages are equal to the last byte."
    assert shown(difference) == "All 4 stages are equal to the last byte.\n"


def test_how_long_it_took_is_no_difference(differ: Callable[..., RunDifference]) -> None:
    difference = differ(seconds=2.0)
    assert said(difference) == "All 4 stages are equal to the last byte, but for how long 1 of them took."


def test_one_setting_explains_what_follows_from_it(differ: Callable[..., RunDifference]) -> None:
    difference = differ(k=5, r2=0.8)
    assert [pair.first for pair in difference.differing] == ["concepts/topk-s0", "perplexity/topk-s0"]
    assert causes(difference) == {"concepts/topk-s0": [("setting", "model.k", 4, 5)]}
    assert difference.explanation is difference.suspect is difference.causes[0]
    assert [metric.metric for metric in difference.alone(difference.causes[0])] == ["r2", "judge_mean"]
    assert because(difference.pairs[3]) == "follows from concepts/topk-s0"
    assert said(difference).split("\n") == [
        "The runs differ in 2 of 4 stages. The first that differs for its own reasons is concepts/topk-s0: "
        "setting model.k (4 → 5). All others follow from it.",
        "2 metrics differ, and all depend on concepts/topk-s0. Most of all: concepts/topk-s0, r2, "
        "0.900 → 0.800 (−0.100).",
    ]
    [note] = notes(difference)
    assert note.startswith("A difference without an interval is of other items")
    table = difference.table()
    assert table.iloc[1].drop(["stage", "metric"]).astype(float).round(9).tolist()[:7] == [21, 20, 22, 22, 21, 23, 1]
    assert table["change_low"].isna().all()  # the texts are not the same: no interval is claimed
    out = shown(difference)
    assert "21.0 [20.0, 22.0]" in out and "+1.0" in out and "setting model.k" in out


def test_stages_of_other_seeds_belong_together(differ: Callable[..., RunDifference]) -> None:
    difference = differ(seed=1, r2=0.8)
    assert [(pair.first, pair.second) for pair in difference.differing] == [
        ("concepts/topk-s0", "concepts/topk-s1"),
        ("perplexity/topk-s0", "perplexity/topk-s1"),
    ]
    assert causes(difference) == {  # the setting that only repeats the seed is no difference of its own
        "concepts/topk-s0": [("seed", "seed", 0, 1)],
        "perplexity/topk-s0": [("seed", "seed", 0, 1)],
    }
    assert difference.roots["perplexity/topk-s0"] == {"concepts/topk-s0", "perplexity/topk-s0"}
    assert difference.explanation == difference.causes[0]
    text = said(difference)
    assert "is concepts/topk-s0 → topk-s1: its seed (0 → 1)." in text
    assert (
        "2 stages have causes of their own, in each its seed (0 → 1): concepts/topk-s0 → topk-s1 (1 metric on it alone)"
        in text
    )


def test_versions_and_devices_are_causes_where_nothing_else_differs(differ: Callable[..., RunDifference]) -> None:
    difference = differ(versions={**VERSIONS, "torch": "2.12.1"}, r2=0.8)
    assert causes(difference) == {"concepts/topk-s0": [("package", "torch", "2.13.0", "2.12.1")]}
    assert because(difference.causes[0]) == "the same recipe, made with torch 2.13.0 and 2.12.1"
    assert "all 4 stages (2 of them with the same files)" in shown(difference)


def test_a_seed_and_a_version_are_both_told(differ: Callable[..., RunDifference]) -> None:
    difference = differ(seed=1, versions={**VERSIONS, "torch": "2.12.1"}, r2=0.8)
    assert because(difference.causes[0]) == "its seed (0 → 1)"
    assert "topk-s1: its seed (0 → 1); also made with torch 2.13.0 and 2.12.1." in said(difference)
    out = shown(difference)
    assert re.search(r"\n seed +0 +1 ", out) and re.search(r"torch +2.13.0 +2.12.1 +all 4 stages", out)


def test_a_device_and_a_precision(differ: Callable[..., RunDifference]) -> None:
    difference = differ(facts={"device": "cuda", "dtype": "bfloat16"}, r2=0.8)
    words = "the same recipe and versions, made on cpu float32 and cuda bfloat16"
    assert because(difference.causes[0]) == words
    assert because(differ_in_dtype(difference)) == "the same recipe and versions, made in float32 and bfloat16"


def differ_in_dtype(difference: RunDifference) -> Any:
    pair = difference.causes[0]
    return replace(pair, made=tuple(one for one in pair.made if one.name == "dtype"))


def test_other_versions_that_change_nothing(differ: Callable[..., RunDifference]) -> None:
    difference = differ(versions={**VERSIONS, "torch": "2.12.1"})
    assert said(difference).startswith("All 4 stages are equal to the last byte.\nWhat differs in how they were made")
    assert "torch" in shown(difference) and "with the same files" in shown(difference)


def test_other_bytes_without_a_reason(differ: Callable[..., RunDifference]) -> None:
    difference = differ(text="other texts")
    assert causes(difference) == {"embeddings": [("unknown", "", None, None)]}
    assert "the same recipe, versions and device, other bytes: not deterministic" in said(difference)
    assert "No metric differs." in said(difference)


def test_files_that_were_changed_since(tmp_path: Path) -> None:
    first, second = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    path = second / "perplexity" / "topk-s0" / "metrics.json"
    path.write_text(path.read_text().replace("21", "31"))
    difference = accord.diff(first, second)
    assert causes(difference) == {"perplexity/topk-s0": [("changed", "files", "as written", "changed")]}
    assert "files of the second run changed since they were made (see accord check)" in said(difference)
    assert difference.metrics == [] and "its metrics are not compared" in said(difference)


def test_causes_that_do_not_depend_on_each_other(differ: Callable[..., RunDifference]) -> None:
    difference = differ(k=5, r2=0.8, table=scores().assign(validator_logodds=lambda t: -t["validator_logodds"]))
    assert difference.explanation is None and list(causes(difference)) == ["gap/hypernymy", "concepts/topk-s0"]
    gap, concepts = difference.causes
    assert {metric.stage for metric in difference.alone(gap)} == {"gap/hypernymy"}
    assert {metric.stage for metric in difference.alone(concepts)} == {"concepts/topk-s0", "perplexity/topk-s0"}
    assert "2 stages have causes of their own" in said(difference)
    assert difference.suspect is gap  # the most telling metric is its


def test_a_cause_within_what_follows_from_another(differ: Callable[..., RunDifference]) -> None:
    difference = differ(source="books", text="books", k=5, r2=0.8)
    assert difference.explanation is not None and difference.explanation.first == "embeddings"
    assert difference.roots["perplexity/topk-s0"] == {"embeddings", "concepts/topk-s0"}
    assert "all depend on embeddings" in said(difference) and "depend on several of them" in said(difference)


def test_an_input_of_another_recipe_with_the_same_files_explains_nothing(
    differ: Callable[..., RunDifference],
) -> None:
    difference = differ(source="books", k=5, r2=0.8)
    [embeddings] = [pair for pair in difference.pairs if pair.first == "embeddings"]
    assert list(causes(difference)) == ["concepts/topk-s0"] and not embeddings.files
    assert embeddings.recipe == (Difference("setting", "source", "reviews", "books"),)


def test_changes_of_the_same_items_are_paired(differ: Callable[..., RunDifference]) -> None:
    table = scores(noise=3)
    own = compare(scores(), table)
    found = {metric.metric: metric for metric in differ(table=table.sample(frac=1, random_state=0)).metrics}
    assert set(found) == {name for name, change in own.items() if change.change["value"]}
    assert len(found) > 3 and "generator_auc" not in found
    for name, metric in found.items():
        for side, interval in (("first", own[name].before), ("second", own[name].after), ("change", own[name].change)):
            for end in ("value", "low", "high"):
                assert getattr(metric, side)[end] == pytest.approx(interval[end], abs=1e-12)
        assert metric.paired
    assert list(found.values()) == sorted(found.values(), key=lambda metric: metric.order)


def test_items_that_are_worded_otherwise_are_paired_by_what_the_data_says(tmp_path: Path) -> None:
    table, other = scores(), scores(noise=3).assign(validator_prompt=lambda t: "Well, " + t["validator_prompt"])
    for each in (table, other):
        each.insert(0, "noun", [f"n{i}" for i in range(len(table))])
        each.insert(1, "group", "all")
    difference = accord.diff(write_run(tmp_path / "a", table=table), write_run(tmp_path / "b", table=other))
    own = compare(scores(), scores(noise=3))
    for metric in difference.metrics:
        assert metric.paired and metric.change["low"] == pytest.approx(own[metric.metric].change["low"])
    assert difference.metrics and not any(pair.remarks for pair in difference.pairs)


def test_items_that_only_some_have_are_told_apart(differ: Callable[..., RunDifference]) -> None:
    difference = differ(table=scores(first=40, noise=1))
    assert not any(metric.paired for metric in difference.metrics)
    assert "gap/hypernymy: 20 items are in both, of 60 and 60; on these the scores differ by up to" in said(difference)
    half = scores()[:30]
    assert "on these the scores are the same: what differs is which items" in said(differ(table=half))
    assert "none of the 60 and 60 items is in both." in said(differ(table=scores(first=100)))


def test_rounding_is_counted_and_not_listed(differ: Callable[..., RunDifference]) -> None:
    difference = differ(r2=0.9 * (1 + 1e-8))
    assert not difference.metrics and sum(pair.noise for pair in difference.pairs) == 2
    assert "No metric differs, but for 2 by rounding only." in said(difference)


def test_stages_that_one_run_has_alone(tmp_path: Path) -> None:
    first, second = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    for name, folder in (("one", first), ("two", first), ("three", second)):
        publish_result(folder, "texts", name, None, files={"texts.jsonl": name})
    shutil.rmtree(second / "gap")
    difference = accord.diff(first, second)
    assert difference.only_first == ("gap/hypernymy", "texts/one", "texts/two")
    assert difference.only_second == ("texts/three",)
    assert f"Only in {first}: gap/hypernymy, texts/one and texts/two." in shown(difference)


def test_the_only_stage_of_a_kind_is_paired_whatever_its_name(tmp_path: Path) -> None:
    folders = []
    for name, layer in (("few-L3-s0", 3), ("zero", 4)):
        gap = Gap(scores(noise=layer), summarize(scores(noise=layer)), "first")
        folders.append(publish_result(tmp_path, "gap", name, gap, settings={"layer": layer}, folder=tmp_path / name))
    difference = accord.diff(*folders)
    assert [(pair.first, pair.second) for pair in difference.pairs] == [("gap/few-L3-s0", "gap/zero")]
    assert "The runs differ in their one stage, gap/few-L3-s0 → zero: setting layer (3 → 4)." in said(difference)
    with pytest.raises(AccordError, match="keeps no study"):
        check_studies(difference)
    done = CliRunner().invoke(cli.app, ["diff", *map(str, folders), "--rerun"])
    assert (done.exit_code, done.stdout) == (1, "") and done.stderr.count("error:") == 1


def test_layers_are_paired_where_only_one_is_left(tmp_path: Path) -> None:
    for run, labels in (("a", ["x-L3-s0", "y-L3-s0"]), ("b", ["x-L4-s1", "y-L4-s1"]), ("c", ["x-L4-s0", "x-L5-s0"])):
        for label in labels:
            settings = {"seed": int(label[-1])}
            publish_result(tmp_path / run, "texts", label, None, seed=int(label[-1]), settings=settings)
    pairs = [(pair.first, pair.second) for pair in accord.diff(tmp_path / "a", tmp_path / "b").pairs]
    assert pairs == [("texts/x-L3-s0", "texts/x-L4-s1"), ("texts/y-L3-s0", "texts/y-L4-s1")]
    assert accord.diff(tmp_path / "a", tmp_path / "c").pairs == ()  # which of them?


def test_another_stage_in_a_role_is_a_cause(tmp_path: Path) -> None:
    for run, chosen in (("a", "x"), ("b", "y")):
        for label in ("x", "y"):
            publish_result(tmp_path / run, "texts", label, None, settings={"row": label})
        publish_result(tmp_path / run, "names", "n", None, inputs={"texts": f"texts/{chosen}"}, files={"f": chosen})
    difference = accord.diff(tmp_path / "a", tmp_path / "b")
    assert causes(difference) == {"names/n": [("input", "texts", "texts/x", "texts/y")]}
    assert "names/n: its texts (texts/x → texts/y)" in said(difference)
    for run in ("a", "b"):
        shutil.rmtree(tmp_path / run / "texts")
    assert causes(accord.diff(tmp_path / "a", tmp_path / "b")) == causes(difference)


def test_names_of_others_are_made_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "[red]x[/red] :bug: \x1b[2J\u202e"
    for run, value in (("a", hostile), ("b", hostile + "y")):
        publish_result(tmp_path / run, "texts", "", None, settings={hostile: value}, files={"f": value},
                       inputs=None, facts={"device": hostile + value})  # fmt: skip
    difference = accord.diff(tmp_path / "a", tmp_path / "b")
    for out in (shown(difference), on_a_terminal(difference, monkeypatch)):
        assert "\x1b[2J" not in out and "\u202e" not in out and "[red]x[/red] :bug:" in out


def on_a_terminal(difference: RunDifference, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the command prints where a person reads it, 180 columns wide."""
    terminal = lambda **keys: Screen(**{"force_terminal": True, "width": 180, **keys}, _environ={})  # noqa: E731
    monkeypatch.setattr("accord.terminal.Screen", terminal)
    return shown(difference)


def test_a_terminal_gets_a_short_screen(differ: Callable[..., RunDifference], monkeypatch: pytest.MonkeyPatch) -> None:
    difference = differ(k=5, r2=0.8, table=scores(noise=3))
    plain = shown(difference)
    out = on_a_terminal(difference, monkeypatch)
    assert max(len(line) for line in re.sub(r"\x1b\[\d*m", "", out).splitlines()) <= 100
    assert "spearman_no" in plain and "and 2 more" in out and "less" in out
    assert plain.count("gap/hypernymy") > 6


def test_a_result_that_cannot_be_read_costs_its_metrics_alone(tmp_path: Path) -> None:
    first, second = write_run(tmp_path / "a"), write_run(tmp_path / "b", r2=0.8)
    (second / "concepts/topk-s0/metrics.json").write_text("{")
    difference = accord.diff(first, second)
    assert "concepts/topk-s0: its metrics are not compared" in said(difference)
    assert [metric.stage for metric in difference.metrics] == ["perplexity/topk-s0"]


def test_names_are_paired_by_concept() -> None:
    def named(values: list[float], rates: tuple[float, ...] = (0.5,) * 6) -> NamedDictionary:
        table = pd.DataFrame({"concept": range(6), "rate": rates, "detection": values, "detection_shuffled": 0.5})
        return NamedDictionary(table, pd.DataFrame(), {"named": 6, "detection": {"value": 0.5}, "detection_gain": {}})

    first, second = [0.5, 0.75, 1.0, 0.25, np.nan, 0.5], [0.75, 0.75, 0.75, 1.0, np.nan, 0.5]
    known = [0, 1, 2, 3, 5]
    own = mean_change(np.array(first)[known], np.array(second)[known], unit=True).interval()
    paired = named(first).paired(named(second))
    assert paired["detection"] == own and paired["detection_gain"] == pytest.approx(own)
    assert named(first).paired(named(second, rates=(0.25,) * 6)) == {}  # other concepts
    assert named(first).paired(named([0.5] * 6)) == {}  # one more of them was scored


def test_damage_is_paired_by_text() -> None:
    texts = pd.DataFrame({"text": list("abcdef"), "tokens": [3, 4, 0, 5, 2, 6]})
    nll = np.array([3.0, 5, 0, 4, 2, 9]), np.array([2.5, 5, 0, 3, 2, 7])
    first, second = (replace(RESULTS["damage"], texts=texts.assign(nll_repaired=values)) for values in nll)
    kept, tokens = [0, 1, 3, 4, 5], np.array([3.0, 4, 5, 2, 6])
    own = ratio_difference((nll[0][kept], tokens), (nll[1][kept], tokens)).interval()
    assert first.paired(second) == {"text: nats a token of the repaired model": own}
    assert set(first.paired(second)) < set(first.measures())
    assert first.paired(replace(second, texts=second.texts[::-1])) == {}


def test_answers_are_paired_trial_by_trial() -> None:
    first, second = (Answers({"test": scores(noise=noise), "more": scores(noise + 30)}) for noise in (1, 3))
    own = compare(first.scores["test"], second.scores["test"])
    assert first.paired(second) == {f"test: {name}": change.change for name, change in own.items()}
    assert first.measures()["test: pearson_all"] == summarize(scores())["pearson_all"]
    assert first.paired(second).keys() < first.measures().keys()


@pytest.mark.parametrize("name", ["verdict", "damage", "steering", "pathway"])
def test_results_name_their_metrics(name: str) -> None:
    measured = RESULTS[name].measures()
    assert measured
    for metric, interval in measured.items():
        assert isinstance(metric, str) and {"value", "low", "high"} <= interval.keys()


STUDY = """\
name = "s"
[backbone]
model = "model"
device = "cpu"
[text]
source = "texts.txt"
max_tokens = 200
held_out_tokens = 80
[toy]
letter = "o"
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a study, a run of it, and another of a letter that is rarer."""
    folder = tmp_path_factory.mktemp("rerun")
    tiny_hub_folder(folder / "model")
    (folder / "texts.txt").write_text("\n".join(tiny_texts()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capabilities, "CAPABILITIES", (*capabilities.CAPABILITIES, "tests.toy_capability"))
        for name, letter in (("o", "o"), ("k", "k")):
            (folder / f"{name}.toml").write_text(STUDY.replace('letter = "o"', f'letter = "{letter}"'))
            patch.setattr("sys.argv", ["accord", "run", str(folder / f"{name}.toml")])
            engine.run(folder / f"{name}.toml", folder / name, console=Console(quiet=True))
        yield folder


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_recipe_that_explains_it_is_shown_by_making_both_again(ran: Path) -> None:
    before = everything(ran)
    difference = accord.diff(ran / "o", ran / "k")
    assert causes(difference) == {"toy/o": [("setting", "letter", "o", "k")]}
    assert difference.suspect is not None
    again = rerun(difference, difference.suspect)
    assert again.first.reproduced and again.second.reproduced and not again.equal
    assert again.first.again == again.first.recorded != again.second.recorded == again.second.again
    assert verdict(again, difference.suspect).startswith("Both come out as recorded: what differs in its recipe")
    out = shown(difference, "--rerun")
    assert "Made again here: toy/o → k. Both come out as recorded" in out and "count" in out
    assert everything(ran) == before


def test_a_record_of_other_versions_is_not_reproduced(ran: Path, tmp_path: Path) -> None:
    doctored = Path(shutil.copytree(ran / "o", tmp_path / "doctored"))
    place = doctored / "toy/o"
    (place / "metrics.json").write_text('{"count": 7}')
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["files"]["metrics.json"]["sha256"] = accord.disk.sha256(place / "metrics.json")
    manifest["files"]["metrics.json"]["bytes"] = 12
    manifest["versions"]["torch"] = "2.12.1"
    change(place / "manifest.json", **manifest)
    difference = accord.diff(ran / "o", doctored)
    assert [cause[:2] for cause in causes(difference)["toy/o"]] == [("package", "torch")]
    out = shown(difference, "--rerun")
    assert "Both come out alike; only the first record is reproduced." in out
    assert "doctored: recorded with torch 2.12.1 (" in out
    assert re.search(r"count +43 +43 +7 +43 ", out)
    assert difference.suspect is not None
    again = rerun(difference, difference.suspect)
    assert again.equal and again.first.reproduced and not again.second.reproduced
    (doctored / "study.toml").write_text(STUDY + "\n")  # no longer what it is a copy of
    with pytest.raises(AccordError, match="cannot be planned here"):
        rerun(difference, difference.suspect)
    text = STUDY.replace("[toy]", "").replace('letter = "o"', "").replace('"model"', f'"{ran}/model"')
    (doctored / "study.toml").write_text(text.replace('"texts.txt"', f'"{ran}/texts.txt"'))
    with pytest.raises(AccordError, match="makes no such stage"):
        rerun(difference, difference.suspect)
