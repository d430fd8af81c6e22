"""Names and their scores: annotators without a server, what is kept of answers, judges, and the control."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from transformers import PreTrainedTokenizerFast

from accord.lm import Query, score
from accord.lm.encoding import encode_prompt, single_tokens
from accord.names import (
    Answer,
    TokensAnnotator,
    TransformersAnnotator,
    annotate,
    annotator_of,
    build_dictionary,
    score_names,
)
from accord.names.annotators import Local
from accord.names.answers import ANSWERS, FAILURES, Reply, Request, Unusable, ask, parse, read_answers
from accord.names.judges import ListJudge, LogOddsJudge, Numbers, Quiz, TokensJudge
from accord.names.prompts import examples_to_show, marked, naming_prompt, question
from accord.names.scores import balanced_accuracy
from tests.names.conftest import LAYER, make
from tests.tiny import tiny_tokenizer


@pytest.fixture(scope="module")
def dictionary(sides, lm):
    return build_dictionary(make("topk", sides), lm, LAYER, sides["train"], sides["held_out"])


class Scripted:
    """An annotator whose replies are given by key; counts what it is asked."""

    def __init__(self, replies, unreachable=False):
        self.given, self.unreachable, self.keys = replies, unreachable, []

    def replies(self, requests):
        for request in requests:
            self.keys.append(request.key)
            answer = self.given(request)
            yield Reply(request.key, answer, reason=None if answer else "no idea", unreachable=self.unreachable)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('Sure: ```json\n{"concept": " birds\\n of prey", "alternatives": ["hawks"], "why": "…"}\n``` done', None),
        ('<think>Perhaps {"concept": "y"}.</think> {"concept": "x", "why": {"concept": "z"}} {so}', None),
        ('{this} is {"concept": "x"}, not {"name": "y"}', None),
        ('{"concept": "\\u0000x\\u202e\\u2066"}', None),
        ("no idea", "no JSON"),
        ('{"concept": "birds', "broken JSON"),
        ('{"concept": "  "}', "at least 1"),
        ('{"concept": "\\u202e"}', "at least 1"),
        ('{"concept": ["a"]}', "concept"),
        ('{"name": "birds"}', "concept: Field required"),
        ('{"concept": "x", "alternatives": "y"}', "alternatives"),
        ('{"concept": "' + "x" * 121 + '"}', "concept"),
    ],
)
def test_what_is_an_answer(text, reason):
    if reason is None:
        answer = parse(text, Answer)
        assert answer.concept in ("birds of prey", "x")
    else:
        with pytest.raises(Unusable, match=reason):
            parse(text, Answer)


def test_nothing_is_asked_twice(tmp_path):
    requests = [Request(f"name:{i}", "") for i in range(5)]
    first = Scripted(lambda request: None if request.key == "name:3" else Answer(concept=request.key), True)
    answered, failed = ask(first, requests, tmp_path)
    assert len(answered) == 4 and failed == {"name:3": "no idea"}
    with (tmp_path / ANSWERS).open("a") as file:
        file.write('{"key": "name:3", "ans')
    second = Scripted(lambda request: Answer(concept="at last"))
    answered, failed = ask(second, requests, tmp_path)
    assert second.keys == ["name:3"] and failed == {}
    assert [answered[f"name:{i}"].concept for i in range(5)] == ["name:0", "name:1", "name:2", "at last", "name:4"]
    assert len(read_answers(tmp_path)) == 5
    assert all(json.loads(line) for line in (tmp_path / ANSWERS).read_text().splitlines())


@pytest.mark.parametrize(
    "harm", [("name:1 is", "name:1 was"), ('"attempts"', '"attempt!"'), ('"key"', "key"), ("}\n", "\n")]
)
def test_a_damaged_answer_is_asked_for_again(harm, tmp_path, caplog):
    requests = [Request(f"name:{i}", "") for i in range(3)]
    ask(Scripted(lambda request: Answer(concept=f"{request.key} is")), requests, tmp_path)
    lines = (tmp_path / ANSWERS).read_text().splitlines(keepends=True)
    lines[1] = lines[1].replace(*harm)
    (tmp_path / ANSWERS).write_text("".join(lines))
    assert read_answers(tmp_path).keys() == {"name:0", "name:2"}
    (tmp_path / FAILURES).write_text('{"key": "name:2", "rea\n')
    again = Scripted(lambda request: Answer(concept="again"))
    answered, _ = ask(again, requests, tmp_path)
    assert again.keys == ["name:1"] and answered["name:1"].concept == "again"
    assert "1 of 3 lines are damaged" in caplog.text
    kept = (tmp_path / ANSWERS).read_text().splitlines(keepends=True)
    assert kept[:2] == [lines[0], lines[2]] and len(kept) == 3


def test_an_answer_of_an_earlier_version_counts(tmp_path):
    asked = Request("name:0", "").hash
    line = {"key": "name:0", "asked": asked, "answer": {"concept": "x"}, "attempts": 1, "seconds": 0.1}
    (tmp_path / ANSWERS).write_text(json.dumps(line) + "\n")
    answered, _ = ask(Scripted(lambda request: Answer(concept="y")), [Request("name:0", "")], tmp_path)
    assert answered["name:0"].concept == "x"


def test_another_question_of_the_same_key_is_asked(tmp_path):
    quiz = Quiz("detection", 1, contexts=CONTEXTS, **QUIZ)
    other = Quiz("detection", 1, contexts=CONTEXTS, **{**QUIZ, "name": Answer(concept="trees")})
    outcomes = []
    for own, numbers in ((quiz, [1, 2, 3, 4]), (quiz, []), (other, []), (other, [1])):
        scripted = Scripted(lambda request, numbers=numbers: Numbers(numbers=numbers))
        [values] = ListJudge(scripted, tmp_path).judge([own])
        outcomes.append((len(scripted.keys), values.sum()))
    assert outcomes == [(1, 4), (0, 4), (1, 0), (0, 0)]


def test_an_answer_is_on_the_disk_before_the_next_is_asked_for(tmp_path):
    def answer(request):
        assert len(read_answers(tmp_path)) == int(request.key[5:])
        return Answer(concept="x")

    ask(Scripted(answer), [Request(f"name:{i}", "") for i in range(4)], tmp_path)


def test_the_disk_is_waited_for_once_a_second_and_at_the_end(tmp_path, monkeypatch):
    """Not for each of 20,000 answers, which cost nothing; a kill loses none of those that the system has."""
    synced = []
    monkeypatch.setattr("accord.names.answers.os.fsync", lambda number: synced.append(number))
    moments = iter(np.arange(0, 100, 0.3))
    monkeypatch.setattr("accord.names.answers.time", SimpleNamespace(monotonic=lambda: next(moments)))
    requests = [Request(f"name:{i}", "") for i in range(10)]
    ask(Scripted(lambda request: Answer(concept="x")), requests, tmp_path)
    assert len(read_answers(tmp_path)) == 10
    assert 3 <= len(synced) <= 4 + 2  # the file of failures is synced by itself


def test_judging_tokenises_the_texts_of_many_quizzes_together(monkeypatch):
    tokenizer, calls, call = tiny_tokenizer(), [], PreTrainedTokenizerFast.__call__
    monkeypatch.setattr(
        PreTrainedTokenizerFast, "__call__", lambda self, *a, **k: calls.append(a) or call(self, *a, **k)
    )
    quizzes = [Quiz("detection", k, contexts=CONTEXTS, **QUIZ) for k in range(50)]
    judged = TokensJudge(tokenizer).judge(quizzes)
    assert len(calls) == 1 and all(values.tolist() == judged[0].tolist() for values in judged)


def test_names_of_tokens(dictionary, tmp_path):
    names = annotate(annotator_of(TokensAnnotator(words=2)), dictionary.concepts, dictionary.examples, tmp_path)
    assert names.answers.keys() | names.failures.keys() == set(dictionary.concepts["concept"])
    for row in dictionary.concepts.itertuples():
        words = [kind["token"] for kind in row.types if kind["token"].strip()][:2]
        assert names.answers[row.concept] == Answer(concept=", ".join(words), alternatives=words)


def test_the_prompt_shows_training_examples_alone(dictionary):
    concept = dictionary.concepts["concept"].iloc[0]
    own = dictionary.examples[dictionary.examples["concept"] == concept]
    shown = examples_to_show(dictionary.examples[dictionary.examples["side"] == "train"], 9)
    text = naming_prompt(shown[concept], [" birds", "\n"])
    lines = [line for line in text.splitlines() if line[0].isdigit()]
    top, drawn = (own[own["kind"] == kind] for kind in ("top", "quantile"))
    assert len(lines) == 9 and all("<<" in line and ">>" in line for line in lines)
    strongest = [marked(*row) for row in top.head(6)[["before", "token", "after"]].itertuples(index=False)]
    strong = drawn[drawn["band"] == 4].iloc[0]
    assert [line.partition(" ")[2] for line in lines[:7]] == [
        *strongest,
        marked(strong.before, strong.token, strong.after),
    ]
    assert "birds" in text and "JSON" in text and "{" not in text  # nothing to copy


def test_marks_stand_at_the_token():
    assert marked("a fine\n", " film", ". Yes") == "a fine <<film>>. Yes"
    assert marked("un", "believ", "able") == "un<<believ>>able"
    assert marked("a", " ", "b") == "a <<>>b"


def test_a_local_model_is_asked_greedily_then_by_drawing(lm):
    """A random model writes no JSON: every attempt is made, and the first is the most probable text."""
    section = TransformersAnnotator(model="tiny", max_tokens=8, attempts=3, batch=2)
    local = Local(lm, section)
    wrote = []
    write = Local._write
    spy = lambda self, requests, attempt: wrote.append((attempt, write(self, requests, attempt))) or wrote[-1][1]  # noqa: E731
    Local._write = spy
    try:
        replies = list(local.replies([Request("name:0", "a b"), Request("name:1", "c"), Request("name:2", "d")]))
    finally:
        Local._write = write
    assert [reply.key for reply in replies] == ["name:0", "name:1", "name:2"]
    assert [attempt for attempt, _ in wrote] == [0, 1, 2, 0, 1, 2]
    assert all(text.startswith('{"concept": "') for _, texts in wrote for text in texts)
    assert all(reply.answer is None and reply.attempts == 3 and "JSON" in reply.reason for reply in replies)
    assert wrote[0][1] == local._write([Request("name:0", "a b"), Request("name:1", "c")], 0)


def test_a_local_model_with_a_chat_template_reads_it(lm, monkeypatch):
    section = TransformersAnnotator(model="tiny")
    seen = {}

    def generate(model, **keys):
        seen.update(keys)
        return [type("Sample", (), {"text": 'birds", "alternatives": []} and more'})()]

    monkeypatch.setattr("accord.names.annotators.generate", generate)
    monkeypatch.setattr(lm.tokenizer, "chat_template", "<u>{{ messages[0].content }}<a>")
    [reply] = Local(lm, section).replies([Request("name:0", "a b")])
    assert reply.answer == Answer(concept="birds") and reply.attempts == 1
    assert seen["prompts"] == ['<u>a b<a>{"concept": "'] and seen["special"] is False and seen["temperature"] == 0.0


QUIZ = dict(name=Answer(concept="food, bird", alternatives=["food", "bird"]), control=False, positives=2)
CONTEXTS = [("the", " food", " is"), ("of", " x", " bird"), ("a ", "no", "ne"), ("yes", " kind", "")]


def test_the_judge_of_tokens(lm):
    values = TokensJudge(lm.tokenizer).judge(
        [Quiz("detection", 1, contexts=CONTEXTS, **QUIZ), Quiz("fuzzing", 1, contexts=CONTEXTS, **QUIZ)]
    )
    assert [row.tolist() for row in values] == [[1, 1, 0, 0], [1, 0, 0, 0]]


def test_the_judge_by_log_odds(lm):
    quizzes = [
        Quiz("detection", 1, contexts=CONTEXTS, **QUIZ),
        Quiz("fuzzing", 1, contexts=CONTEXTS[:3], **QUIZ),
    ]
    values = LogOddsJudge(lm).judge(quizzes)
    assert [len(row) for row in values] == [4, 3] and LogOddsJudge(lm).judge([]) == []
    yes = single_tokens(lm.tokenizer, ("Yes", " Yes", "YES", "yes", " yes"))
    no = single_tokens(lm.tokenizer, ("No", " No", "NO", "no", " no"))
    for quiz, row in zip(quizzes, values, strict=True):
        for context, value in zip(quiz.contexts, row, strict=True):
            ids = encode_prompt(lm.tokenizer, question(quiz.task, "food, bird", *context) + "\nAnswer:")
            [scored] = score(lm, [Query(ids, tuple((token,) for token in (*yes, *no)))])
            p = np.exp(scored.first)
            assert value == pytest.approx(np.log(p[: len(yes)].sum() / p[len(yes) :].sum()), abs=1e-4)


def test_the_judge_by_lists(tmp_path):
    """An annotator that knows: it names the lines with a word, whatever order they are in."""

    def answer(request):
        lines = [line.split(".", 1) for line in request.prompt.splitlines() if line[0].isdigit()]
        numbers = [int(number) for number, text in lines if "food" in text or "bird" in text]
        return Numbers(numbers=[*numbers, 99]) if "shuffled" not in request.key else None

    quizzes = [
        Quiz("detection", 1, contexts=CONTEXTS, **QUIZ),
        Quiz("fuzzing", 1, contexts=CONTEXTS, **QUIZ),
    ]
    quizzes.append(Quiz("detection", 1, contexts=CONTEXTS, **{**QUIZ, "control": True}))
    scripted = Scripted(answer)
    values = ListJudge(scripted, tmp_path).judge(quizzes)
    assert values[0].tolist() == values[1].tolist() == [1, 1, 0, 0] and values[2] is None
    assert scripted.keys == ["detection:1", "fuzzing:1", "detection-shuffled:1"]
    again = Scripted(lambda request: None)
    assert ListJudge(again, tmp_path).judge(quizzes[:2])[0].tolist() == [1, 1, 0, 0] and again.keys == []


def test_balanced_accuracy_is_that_of_sklearn():
    draw = np.random.default_rng(0)
    for threshold in (0.1, None):
        values = draw.normal(size=12)
        cut = np.median(values) if threshold is None else threshold
        truth = np.arange(12) < 6
        assert balanced_accuracy(values, 6, threshold) == pytest.approx(balanced_accuracy_score(truth, values > cut))


class Knows:
    """A judge that finds the concept's own examples under its own name, and none under another's."""

    threshold = None

    def judge(self, quizzes):
        self.quizzes = quizzes
        return [
            np.where(np.arange(len(quiz.contexts)) < quiz.positives, quiz.name.concept == str(quiz.concept), 0.0)
            + np.linspace(0.2, 0, len(quiz.contexts))
            if quiz.concept != 7
            else None
            for quiz in quizzes
        ]


def test_scores_against_shuffled_names():
    kinds = {"on": 6, "off": 5, "negative": 4}
    rows = [
        {"concept": k, "side": "held_out", "kind": kind, "before": f"{k} {i} ", "token": kind, "after": ""}
        for k in range(9)
        for kind, count in kinds.items()
        for i in range(count if (k, kind) != (4, "off") else 2)
    ]
    examples = pd.DataFrame([*rows, {**rows[0], "side": "train", "kind": "top"}])
    judge = Knows()
    scores = score_names(judge, {k: Answer(concept=str(k)) for k in range(9)}, examples, seed=3)
    for quiz in judge.quizzes:
        count = {"detection": 4, "fuzzing": 5}[quiz.task]
        assert quiz.positives == count and len(quiz.contexts) == 2 * count
        assert [token for _, token, _ in quiz.contexts[:count]] == ["on"] * count
        assert {token for _, token, _ in quiz.contexts[count:]} == {"negative" if quiz.task == "detection" else "off"}
        assert quiz.control != (quiz.name.concept == str(quiz.concept))
    own = [t.name.concept for t in judge.quizzes if t.task == "detection" and t.control]
    assert sorted(own) == sorted(map(str, range(9)))  # every name is another concept's once
    table = scores.table.set_index("concept")
    assert table.drop(index=7)["detection"].eq(1).all() and table.loc[7].isna().all()
    assert np.isnan(table.loc[4, "fuzzing"]) and table.loc[4, "detection"] == 1
    values = np.linspace(0.2, 0, 8)
    assert table.loc[0, "detection_auc_shuffled"] == pytest.approx(roc_auc_score(np.arange(8) < 4, values))
    perfect = scores.summary["detection"]  # all right in eight is not all right for certain
    assert (perfect["value"], perfect["high"], perfect["n"]) == (1.0, 1.0, 8) and 0.6 < perfect["low"] < 0.8
    assert scores.summary["fuzzing"]["n"] == 7
    gain = table["detection_auc"] - table["detection_auc_shuffled"]
    assert scores.summary["detection_auc_gain"]["value"] == pytest.approx(gain.mean())


def test_what_is_fuzzed_is_paired(lm, sides):
    """A token and the one near it that is compared with it are of one text, also where some have none."""
    examples = build_dictionary(make("topk", sides), lm, LAYER, sides["train"], sides["held_out"]).examples
    lacking = 0
    for _, own in examples[examples["side"] == "held_out"].groupby("concept"):
        on, off = (own[own["kind"] == kind] for kind in ("on", "off"))
        lacking += len(off) < len(on)
        assert list(on["text"])[: len(off)] == list(off["text"])
        assert (np.abs(on["position"].to_numpy()[: len(off)] - off["position"].to_numpy()) <= 16).all()
    assert lacking


def test_too_few_to_score(dictionary):
    first = dictionary.concepts["concept"].iloc[0]
    alone = score_names(Knows(), {int(first): Answer(concept="x")}, dictionary.examples)
    assert np.isnan(alone.table["detection_shuffled"]).all()  # there is no other name
    assert alone.summary["detection_shuffled"]["n"] == 0
    none = score_names(Knows(), {}, dictionary.examples)
    assert none.table.empty and none.summary["fuzzing"]["n"] == 0
