"""What is passed to public functions: what they take works, all else is an AccordError that says what they take."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import accord
from accord.arguments import checked
from accord.errors import AccordError
from accord.lm import LanguageModel, Query, generate
from accord.lm.perplexity import perplexity
from accord.tasks import Task
from accord.text import corpus, extract
from tests.tiny import tiny_hub_folder, tiny_texts


@checked
def example(
    lm: "LanguageModel | None" = None,
    *,
    number: int = 1,
    share: float = 0.5,
    words: Sequence[str] = (),
    ids: Annotated[Sequence[int] | None, "ids"] = None,
    place: Path | None = None,
    model: str | Path = "x",
    kind: Literal["a", "b"] = "a",
    flag: bool = False,
    table: Mapping[str, int] | None = None,
    device: torch.device | str = "cpu",
    call: Callable[[], None] | None = None,
    seed: int = 0,
    limit: int | None = None,
) -> dict[str, Any]:
    return dict(locals())


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("number", np.int64(3), 3),
        ("share", 1, 1.0),
        ("share", np.float32(0.25), 0.25),
        ("words", ("a", "b"), ("a", "b")),
        ("words", pd.Series(["a", "b"], index=[5, 6]), ["a", "b"]),
        ("ids", np.array([1, 2]), [1, 2]),
        ("ids", range(2), range(2)),
        ("place", "a/b", Path("a/b")),
        ("model", Path("a"), Path("a")),
        ("model", "a", "a"),
        ("flag", np.bool_(True), True),
        ("device", torch.device("cpu"), torch.device("cpu")),
        ("limit", None, None),
        ("call", print, print),
    ],
)
def test_what_is_as_good_as_the_type_is_taken(name: str, value: Any, wanted: Any) -> None:
    got = example(**{name: value})[name]
    assert got == wanted and type(got) is type(wanted)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("lm", "smollm2-135m", "a LanguageModel, as accord.load gives"),
        ("number", "10", "a whole number"),
        ("number", True, "a whole number"),
        ("number", 2.0, "a whole number"),
        ("number", 10**30, "64 bits"),
        ("share", float("nan"), "a finite number"),
        ("share", "0.5", "a finite number"),
        ("words", "ab", "a list of texts"),
        ("words", ["a", 3], "element 1 is 3"),
        ("words", ["\ud800"], "whole characters"),
        ("words", pd.DataFrame({"a": ["b"]}), "not a table"),
        ("ids", [1, True], "element 1 is True"),
        ("place", "", "a path"),
        ("place", "a\0b", "a path"),
        ("model", "a\0b", "zero bytes"),
        ("model", 3, "text or a path"),
        ("kind", "c", "'a' or 'b'"),
        ("flag", 1, "True or False"),
        ("table", [1], "a Mapping"),
        ("device", "gpu", "a device of this machine"),
        ("call", 3, "a Callable"),
        ("seed", -1, "0 or more"),
        ("limit", "10", "a whole number or None"),
        ("nmber", 1, "did you mean 'number'?"),
    ],
)
def test_what_is_not_is_an_error_that_says_what_is(name: str, value: Any, wanted: str) -> None:
    with pytest.raises(AccordError) as caught:
        example(**{name: value})
    assert wanted in str(caught.value) and "example" in str(caught.value)


def test_files_that_cannot_be_used_are_errors(tmp_path: Path) -> None:
    @checked
    def write(folder: Path) -> None:
        folder.mkdir(parents=True)

    (tmp_path / "file").write_text("")
    for place in ("file", "file/below"):
        with pytest.raises(AccordError, match=place):
            write(tmp_path / place)


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = tmp_path_factory.mktemp("model")
    tiny_hub_folder(folder)
    return accord.load(folder, device="cpu")


TABLE = {
    "generator": "{One} is a",
    "validator": "Is {one} a {two}?",
    "answer": "two",
    "gold": "same",
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = tmp_path_factory.mktemp("data") / "pairs.csv"
    rows = [f"{a},{b},{'yes' if a[0] == b[0] else 'no'}" for a in ("ant", "bee", "cow") for b in ("ape", "bat", "cat")]
    path.write_text("\n".join(["one,two,same", *rows]) + "\n")
    return {**TABLE, "data": str(path)}


def test_the_gap_of_a_task_by_its_name_or_table(lm: LanguageModel, pairs: dict[str, str]) -> None:
    gap = accord.measure_gap(lm, pairs, resamples=5)
    pd.testing.assert_frame_equal(gap.scores, accord.measure_gap(lm, accord.task(pairs), resamples=5).scores)
    with pytest.raises(AccordError, match=r"Unknown task(?s:.*)did you mean 'hypernymy'"):
        accord.measure_gap(lm, "hypernimy")


def test_texts_are_scored_from_the_start_token(lm: LanguageModel) -> None:
    """Plain reference: every token's log-probability in a pass over the whole text."""
    texts = [*tiny_texts(3), "food"]
    for text, score in zip(texts, accord.score(lm, texts), strict=True):
        ids = lm.tokenizer(text)["input_ids"]  # begins with BOS
        with torch.no_grad():
            top = lm.hidden(torch.tensor([ids]))[lm.n_layers]
            logs = lm.lens(top)[0].double().log_softmax(-1)
        total = sum(float(logs[i, token]) for i, token in enumerate(ids[1:]))
        assert score.total.tolist() == pytest.approx([total], abs=1e-4)
    nll = perplexity(lm, texts).nll
    assert [s.total[0] for s in accord.score(lm, texts)] == pytest.approx((-nll).tolist(), abs=1e-4)
    mixed = accord.score(lm, [texts[0], Query((1,), ((5,), (6,)))])
    assert [len(query_score.total) for query_score in mixed] == [1, 2]


@pytest.mark.parametrize(
    ("queries", "words"),
    [
        ("text", "a list of texts or Query objects"),
        ([("a", "b")], "element 0 is ('a', 'b')"),
        ([""], "no tokens"),
        ([Query((), ((1,),))], "at least one token"),
    ],
)
def test_what_score_does_not_take(lm: LanguageModel, queries: Any, words: str) -> None:
    with pytest.raises(AccordError) as caught:
        accord.score(lm, queries)
    assert words in str(caught.value)


@pytest.mark.parametrize("parts", [("a", ((1,),)), ((1,), ("b",)), ((1.5,), ((1,),)), (1, 2)])
def test_a_query_of_anything_but_ids_is_an_error(parts: Any) -> None:
    with pytest.raises(AccordError, match="made of token ids"):
        Query(*parts)
    assert Query([np.int64(1)], [[2]]) == Query((1,), ((2,),))  # type: ignore[arg-type, list-item]


WRONG = [
    *(None, True, -1, 0, 10**20, 1.5, float("nan"), float("inf"), "", "x", "10", "a\0", "\ud800", b"x"),
    *([], [""], ["x"], [None], {}, {"a": 1}, (1, 2), [99], [-1], {99: 1.0}, {"1": 1.0}, {1: "x"}, {1: float("nan")}),
    *(object(), int, print, Path("/dev/null"), Path("/proc"), np.zeros(3), torch.zeros(2, 3), pd.DataFrame({"a": [1]})),
    *([Query((), ())], [Query((1,), ((),))], iter([1])),
]


@given(data=st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_nothing_wrong_gets_through(
    data: st.DataObject, lm: LanguageModel, pairs: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    task = accord.task(pairs, split="all")
    assert isinstance(task, Task)
    calls: dict[Callable[..., Any], dict[str, Any]] = {
        accord.task: {"name": pairs},
        accord.load: {"model": "smollm2-135m", "device": "nowhere"},
        accord.measure_gap: {"lm": lm, "task": task, "resamples": 2},
        accord.score: {"lm": lm, "queries": [Query((1,), ((2,),))]},
        accord.steer: {"lm": lm, "edits": {}},
        perplexity: {"lm": lm, "texts": ["a"]},
        generate: {"lm": lm, "max_new_tokens": 1},
        corpus: {"source": pairs["data"], "column": "one"},
        extract: {"lm": lm, "texts": ["a b", "c"], "folder": tmp_path_factory.mktemp("out") / "store", "layers": [1]},
    }
    function = data.draw(st.sampled_from(list(calls)))
    names = [name for name in inspect.signature(function).parameters if name not in ("progress", "seen")]
    arguments = {**calls[function], data.draw(st.sampled_from(names)): data.draw(st.sampled_from(WRONG))}
    with chdir(tmp_path_factory.mktemp("here")), suppress(AccordError):  # an empty folder's name is where we are
        function(**arguments)
