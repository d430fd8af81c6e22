"""Tasks as users make them: each reference format, what may be chosen, and what is wrong."""

import json
from pathlib import Path

import pytest

from accord.errors import AccordError
from accord.tasks import catalog, task

PAIRS = [
    ("kebabs", "food", "yes", "high"),
    ("kebabs", "furniture", "no", "low"),
    ("sofas", "furniture", "yes", "high"),
    ("sofas", "vehicle", "no", "high"),
    ("trombones", "musical instrument", "yes", "low"),
    ("trombones", "animal", "no", "low"),
    ("eels", "animal", "yes", "low"),
    ("eels", "food", "no", "high"),
]
SUBSTITUTES = [
    [["happy", 90], ["pleased", 80], ["sad", 0]],
    [["sad", 0], ["happy", 90], ["glad", 100]],
    [["happy", 10], ["pleased", 10]],
]
SWORDS = [
    {"context": f"Text {n}:  she was very\n glad to go.", "target": "glad", "substitutes": SUBSTITUTES[n % 3]}
    for n in range(12)
]
LAMBADA = [
    {"context": f"“I’m going, {n}” said", "final_word": word, "correct": gold}
    for n in range(8)
    for word, gold in (("Tom", "Yes"), ("cab", "No"))
]
TRIVIA = [
    {"question": f"Who wrote book {n}?", "answers": answers, "correct": gold}
    for n in range(8)
    for answers, gold in ((["Ann Lee", "Lee"], "Yes"), (["Bo"], "No"))
]
TEXTS = {
    "hypernymy": "".join("\t".join(row) + f"\t{n}\tYes\t Yes\n" for n, row in enumerate(PAIRS)),
    "substitution": json.dumps(SWORDS, indent=2),
    "next-word": "".join(json.dumps(row) + "\n" for row in LAMBADA),
    "trivia": "".join(json.dumps(row) + "\n" for row in TRIVIA),
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """One small file in the reference format of each task."""
    paths = {name: tmp_path / f"{name}.data" for name in TEXTS}
    for name, path in paths.items():
        path.write_text(TEXTS[name], encoding="utf-8")
    return paths


def wrong(words: list[str], *args: object, **choices: object) -> None:
    with pytest.raises(AccordError) as caught:
        task(*args, **choices)
    for word in words:
        assert word in str(caught.value)


def test_hypernymy_reads_the_reference_table(files):
    items = task("hypernymy", data=files["hypernymy"], split="all").items
    assert {(*i.fields.values(), "yes" if i.gold else "no", i.similarity) for i in items} == set(PAIRS)
    assert all(i.answer == i.group == i.fields["noun2"] for i in items)


def test_substitution_takes_the_best_and_the_worst_and_marks_the_target(files):
    made = task("substitution", data=files["substitution"], split="all")
    items = [i for i in made.items if i.fields["context"].startswith(("Text 0:", "Text 1:"))]
    assert sorted((i.fields["context"][5], i.answer, i.gold) for i in items) == [
        ("0", "happy", True),
        ("0", "sad", False),
        ("1", "happy", True),
        ("1", "sad", False),
    ]
    assert all(i.fields["context"].endswith(": she was very *glad* to go.") for i in items)
    assert made.settings["skipped"]["no best and worst substitute"] == 4


def test_substitution_ranks_by_score_whatever_the_order_and_leaves_the_target_out(tmp_path):
    def pair(*substitutes):
        path = tmp_path / "s.json"
        row = {"context": "He was glad.", "target": "glad", "substitutes": substitutes}
        same = {"context": "She was glad.", "target": "glad", "substitutes": [["a", 2], ["b", 1]]}
        path.write_text(json.dumps([row, same]))
        items = task("substitution", data=path, split="all").items
        return {item.answer: item.gold for item in items if item.fields["context"].startswith("He")}

    assert pair(["mid", 5], ["low", -1.5], ["top", 7], ["Glad", 99]) == {"top": True, "low": False}
    assert pair(["one", 7], ["two", 7], ["three", 0], ["four", 0]) == {
        "one": True,
        "four": False,
    }  # ties: as in the file
    assert pair(["one", 7], ["two", 7]) == pair(["glad", 7], ["two", 3]) == pair() == {}


def test_substitution_marks_whole_words_before_parts(tmp_path):
    path = tmp_path / "s.json"
    rows = [
        {"context": "In total, it was totally new.", "target": "total", "substitutes": SUBSTITUTES[0]},
        {"context": "We cannot stay.", "target": "can", "substitutes": SUBSTITUTES[0]},
    ]
    path.write_text(json.dumps(rows))
    contexts = {i.fields["context"] for i in task("substitution", data=path, split="all").items}
    assert contexts == {"In *total*, it was totally new.", "We *can*not stay."}


def test_next_word_and_trivia_read_their_lines(files):
    words = task("next-word", data=files["next-word"], split="all").items
    assert {(i.answer, i.gold) for i in words} == {("Tom", True), ("cab", False)}
    answers = task("trivia", data=files["trivia"], split="all").items
    assert {(i.answer, i.gold) for i in answers} == {("Ann Lee", True), ("Bo", False)}


@pytest.mark.parametrize("name", ["substitution", "next-word", "trivia"])
@pytest.mark.parametrize("seed", range(4))
def test_both_answers_to_a_question_stand_on_one_side(files, name, seed):
    questions = []
    for side in ("train", "test"):
        made = task(name, data=files[name], split=side, seed=seed)
        questions.append({made.prompts(item)[0] for item in made.items})
        assert len(made.items) == 2 * len(questions[-1])
    assert not questions[0] & questions[1]
    assert len(questions[0]) == 3 * len(questions[1])


def test_train_and_test_make_up_all(files):
    sides = [set(map(str, task("hypernymy", data=files["hypernymy"], split=s).items)) for s in ("train", "test")]
    assert sides[0] | sides[1] == set(map(str, task("hypernymy", data=files["hypernymy"], split="all").items))
    assert [len(side) for side in sides] == [6, 2]


def test_a_limit_is_a_balanced_prefix_and_may_exceed_the_items(files):
    whole = task("hypernymy", data=files["hypernymy"], split="all").items
    for limit in (2, 4, 6):
        cut = task("hypernymy", data=files["hypernymy"], split="all", limit=limit).items
        assert cut == whole[:limit]
        assert sum(item.gold for item in cut) == limit / 2
    assert task("hypernymy", data=files["hypernymy"], split="all", limit=99).items == whole


def test_the_same_choices_give_the_same_task_and_a_seed_another(files):
    made = [task("hypernymy", data=files["hypernymy"], split="train", seed=seed) for seed in (1, 1, 2)]
    assert made[0] == made[1]
    assert made[0].items != made[2].items


def test_settings_are_json_and_tell_what_fixes_the_numbers(files):
    made = task("trivia", data=files["trivia"], limit=2, seed=7, chat=True, generator_phrasing="short")
    settings = json.loads(json.dumps(made.settings))
    assert settings == made.settings
    assert made.chat
    assert len(settings.pop("data_sha256")) == 64
    validator = settings.pop("validator")
    assert (validator["phrasing"], validator["shots"], len(validator["examples"])) == ("correct", "few", 4)
    assert settings == {
        "name": "trivia",
        "data": "trivia.data",
        "split": "test",
        "split_kind": "random",
        "test_share": 0.25,
        "limit": 2,
        "seed": 7,
        "chat": {"system": None, "options": {}, "turns": True},
        "answer_score": "auto",
        "generator": {"phrasing": "short", "template": "Q: {question}\nA:", "shots": "zero", "examples": []},
        "items": 2,
        "skipped": {"duplicates": 0, "worked examples": 0},
    }


def test_crossing_pairs_are_counted(files):
    made = [
        task("hypernymy", data=files["hypernymy"], split=side, split_kind="unseen-both") for side in ("train", "test")
    ]
    dropped = made[0].settings["skipped"]["crossing pairs"]
    assert dropped == made[1].settings["skipped"]["crossing pairs"] > 0
    assert sum(len(side.items) for side in made) + dropped == len(PAIRS)


def test_duplicates_are_merged_and_counted(tmp_path):
    path = tmp_path / "d.tsv"
    path.write_text("eels\tanimal\tyes\thigh\n" * 3 + "eels\tfood\tno\tlow\n")
    made = task("hypernymy", data=path, split="all")
    assert len(made.items) == 2
    assert made.settings["skipped"]["duplicates"] == 2


def test_rows_that_contradict_each_other_are_an_error(tmp_path):
    path = tmp_path / "d.tsv"
    path.write_text("eels\tanimal\tyes\thigh\neels\tanimal\tno\tlow\n")
    wrong(["different gold labels", "d.tsv:1 and ", "d.tsv:2"], "hypernymy", data=path)


def test_worked_examples_never_are_items(tmp_path):
    path = tmp_path / "d.tsv"
    path.write_text("tariffs\ttax\tyes\thigh\nTariffs\tfood\tno\tlow\neels\tanimal\tyes\thigh\n")
    for shots in ("zero", "few"):
        made = task("hypernymy", data=path, split="all", validator_shots=shots)
        assert [item.fields["noun1"] for item in made.items] == ["eels"]
        assert made.settings["skipped"]["worked examples"] == 2


def test_all_items_of_one_class_are_allowed(tmp_path):
    path = tmp_path / "d.tsv"
    path.write_text("".join(f"n{n}\tfood\tyes\thigh\nm{n}\ttool\tyes\thigh\n" for n in range(8)))
    for kind in ("random", "unseen-hypernyms", "unseen-both"):
        assert task("hypernymy", data=path, split_kind=kind).items


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("hypernymy", "eels\tanimal\tyes\n", ["wrong number of columns", ":1", "similarity"]),
        ("hypernymy", "eels\tanimal\tmaybe\thigh\n", ["no yes or no", ":1", "'maybe'"]),
        ("hypernymy", "eels\tanimal\tyes\tmedium\n", ["'medium'", "high or low"]),
        ("hypernymy", "eels\t \tyes\thigh\n", ["'noun2' is empty", ":1"]),
        ("substitution", '[{"context": "a b", "substitutes": []}]', ["no column 'target'", "entry 1"]),
        ("substitution", '[{"context": "a b", "target": "c", "substitutes": []}]', ["not in its context"]),
        (
            "substitution",
            '[{"context": "a b", "target": "a", "substitutes": [["x"]]}]',
            ["not pairs of a word and a score", "entry 1"],
        ),
        ("substitution", '[{"context": "a", "target": "a", "substitutes": [["x", "1"]]}]', ["not pairs"]),
        ("next-word", '{"context": "a", "final_word": "b", "corect": "Yes"}', ["(did you mean 'corect'?)"]),
        ("next-word", '{"context": "a", "final_word": " ", "correct": "Yes"}', ["'final_word' is empty"]),
        ("trivia", '{"question": "a", "answers": [], "correct": "Yes"}', ["no list that begins with", ":1"]),
        ("trivia", '{"question": "a", "answers": "b", "correct": "Yes"}', ["no list that begins with"]),
        ("trivia", '{"question": "a", "answer": " ", "correct": "Yes"}', ["'answer' is empty", ":1"]),
        ("responses", '{"prompt": "a", "respons": "b", "correct": "Yes"}', ["(did you mean 'respons'?)"]),
        ("responses", '{"prompt": "a", "response": "b", "correct": "perhaps"}', ["no yes or no"]),
        ("personas", '{"persona": "a", "statement": "b"}', ["no column 'correct'"]),
        ("hypernymy-members", "eels\tanimal\tyes\tmedium\n", ["'medium'", "high or low"]),
    ],
)
def test_bad_rows_are_errors(tmp_path, name, text, words):
    path = tmp_path / "data"
    path.write_text(text)
    wrong([*words, str(path)], name, data=path)


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"split": "tset"}, ["Unknown split", "'tset'", "did you mean 'test'"]),
        ({"split_kind": "unseen"}, ["Unknown split kind", "unseen-both"]),
        ({"generator_shots": "one"}, ["Unknown number of shots"]),
        ({"validator_shots": "one"}, ["Unknown number of shots"]),
        ({"generator_phrasing": "plian"}, ["Unknown generator phrasing", "did you mean 'plain'"]),
        ({"validator_phrasing": "plain"}, ["Unknown validator phrasing", "think, true"]),
        ({"limit": 0}, ["limit leaves no items"]),
        ({"data": "/nowhere/d.tsv"}, ["does not exist", "/nowhere/d.tsv"]),
    ],
)
def test_wrong_choices_are_errors(files, choices, words):
    wrong(words, "hypernymy", **{"data": files["hypernymy"], **choices})


def test_split_kinds_need_pairs_of_words_and_enough_of_them(files, tmp_path):
    wrong(["no pairs of words", "'unseen-both'"], "trivia", data=files["trivia"], split_kind="unseen-both")
    path = tmp_path / "d.tsv"
    path.write_text("eels\tanimal\tyes\thigh\ncats\tanimal\tyes\thigh\n")
    wrong(["cannot be divided"], "hypernymy", data=path, split_kind="unseen-hypernyms")


def test_an_empty_split_is_an_error(tmp_path):
    path = tmp_path / "d.tsv"
    path.write_text("eels\tanimal\tyes\thigh\n")
    wrong(["test split has no items", "1 in all"], "hypernymy", data=path)


def test_unknown_tasks_and_missing_data_say_what_to_do():
    wrong(["Unknown task", "did you mean 'hypernymy'"], "hypernimy")
    wrong(["needs a data file", "final_word", "--data FILE"], "next-word")


def test_the_catalog_lists_every_task_with_its_phrasings():
    rows = {row.name: row for row in catalog()}
    assert list(rows) == [
        "hypernymy", "hypernymy-members", "substitution", "next-word", "trivia", "arithmetic-chains", "responses",
        "programs", "personas",
    ]  # fmt: skip
    assert all(len(row.generator_phrasings) >= 3 and len(row.validator_phrasings) >= 3 for row in rows.values())
    assert (rows["hypernymy"].items or 0) > 1000
    assert rows["trivia"].items is None


def test_a_task_tells_how_else_it_could_be_asked_and_divided():
    plain = task("hypernymy", limit=2, generator_phrasing="plain")
    assert plain.nested
    assert "plain" not in plain.rewordings["generator"] and "complete" in plain.rewordings["generator"]
    assert "think" not in plain.rewordings["validator"] and "true" in plain.rewordings["validator"]
