"""A task of one's own: any table and two templates, and an error for whatever is wrong with them."""

import gzip

import pandas as pd
import pytest

from accord.errors import AccordError
from accord.tasks import CustomTask, task
from accord.tasks.build import left_out

CSV = """country,city,right,kind,near,side
france,Paris,yes,europe,high,train
france,Lyon,no,europe,high,train
japan,Tokyo,true,asia,low,test
japan,Paris,false,asia,low,test
"""
TOML = """# capitals
data = "capitals.csv"
generator = "The capital of {country} is "
validator = "Is {city} the capital of {country}? Answer:"
answer = "city"
gold = "right"
"""
SHOTS = """
[[shots]]
country = "Peru"
city = "Lima"
right = true

[[shots]]
country = "Egypt"
city = "Oslo"
right = "no"
"""


@pytest.fixture
def write(tmp_path):
    def write(toml=TOML, csv=CSV):
        (tmp_path / "capitals.csv").write_text(csv)
        path = tmp_path / "capitals.toml"
        path.write_text(toml)
        return path

    return write


def wrong(words, *args, **choices):
    with pytest.raises(AccordError) as caught:
        task(*args, **choices)
    for word in words:
        assert word in str(caught.value)


def test_a_task_file_is_a_task_and_its_data_lies_beside_it(write):
    made = task(write(), split="all")
    assert made.name == "capitals"
    assert {(i.fields["country"], i.answer, i.gold) for i in made.items} == {
        ("france", "Paris", True),
        ("france", "Lyon", False),
        ("japan", "Tokyo", True),
        ("japan", "Paris", False),
    }
    item = next(i for i in made.items if i.answer == "Lyon")
    assert made.prompts(item) == ("The capital of france is", "Is Lyon the capital of france? Answer:")
    assert made.validator.shots == "zero"  # no worked examples: the default gives way
    assert made.settings["columns"] == {
        "answer": "city",
        "gold": "right",
        "group": None,
        "similarity": None,
        "split": None,
    }


def test_the_path_may_be_text_and_other_data_may_be_named(write, tmp_path):
    other = tmp_path / "other.tsv"
    other.write_text("country\tcity\tright\nspain\tMadrid\t1\n")
    assert [i.answer for i in task(str(write()), data=str(other), split="all").items] == ["Madrid"]


def test_group_similarity_and_split_are_columns(write):
    path = write(TOML + 'group = "kind"\nsimilarity = "near"\nsplit = "side"\n')
    test, train = task(path), task(path, split="train")
    assert {(i.group, i.similarity) for i in test.items} == {("asia", "low")}
    assert {i.group for i in train.items} == {"europe"}
    assert len(task(path, split="all").items) == 4
    assert test.settings["split_kind"] == "column"


def test_without_a_split_column_a_share_of_the_questions_tests(write):
    rows = "".join(f"land{n},Tor,yes,,,\nland{n},Bur,no,,,\n" for n in range(10))
    path = write(TOML + "test_share = 0.4\n", csv=CSV.splitlines()[0] + "\n" + rows)
    sides = [{i.fields["country"] for i in task(path, split=side).items} for side in ("train", "test")]
    assert not sides[0] & sides[1]
    assert [len(side) for side in sides] == [6, 4]


def test_worked_examples_and_an_answer_template_with_a_capital(write):
    toml = TOML.replace('"city"', '"the city of {city}"').replace("of {country} is ", "is named: {Country}")
    made = task(write(toml + SHOTS), split="all", generator_shots="few")
    item = next(i for i in made.items if i.answer == "the city of Lyon")
    assert made.prompts(item) == (
        "The capital is named: Peru the city of Lima\n\nThe capital is named: France",
        "Is Lima the capital of Peru? Answer: Yes\n\nIs Oslo the capital of Egypt? Answer: No\n\n"
        "Is Lyon the capital of france? Answer:",
    )


def test_worked_examples_need_no_group_similarity_or_split(write):
    path = write(TOML + 'group = "kind"\nsimilarity = "near"\nsplit = "side"\n' + SHOTS)
    assert len(task(path).validator.examples) == 2


def test_items_that_are_worked_examples_are_left_out_and_counted(write):
    made = task(write(TOML + SHOTS, csv=CSV + "peru,Cusco,no,america,high,test\n"), split="all")
    assert "peru" not in {i.fields["country"] for i in made.items}
    assert made.settings["skipped"]["worked examples"] == 1


def test_a_table_of_keys_and_a_model_are_tasks_too(write):
    path = write()
    keys = {
        "name": "capitals",
        "data": str(path.with_name("capitals.csv")),
        "generator": "The capital of {country} is",
        "validator": "Is {city} the capital of {country}? Answer:",
        "answer": "city",
        "gold": "right",
    }
    assert task(keys).items == task(CustomTask(**keys)).items == task(path).items


def test_jsonl_numbers_and_booleans_are_text(tmp_path):
    (tmp_path / "d.jsonl").write_text('{"n": 2, "square": 4, "ok": true, "tags": ["x"], "none": null}\n')
    keys = {
        "data": str(tmp_path / "d.jsonl"),
        "generator": "{n} squared is",
        "validator": "Is {square} the square of {n}? Answer:",
        "answer": "square",
        "gold": "ok",
    }
    item = task(keys, split="all").items[0]
    assert (item.fields, item.answer) == ({"n": "2", "square": "4", "ok": "true", "none": ""}, "4")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("{city} the", "{sity} the", ["validator template names {sity}", "did you mean 'city'", ".csv:2"]),
        ("of {country} is ", "of {} is", ["names {}"]),
        ("of {country} is ", "of {country is", ["cannot be read", "{{ or }}"]),
        ("of {country} is ", "of {country:>9} is", ["format or a conversion"]),
        ('"city"', '"town"', ["no column 'town'"]),
        ('"right"', '"rihgt"', ["no column 'rihgt'", "did you mean 'right'"]),
        ('"right"', '"kind"', ["no yes or no", ".csv:2", "'europe'"]),
        ('answer = "city"\n', "", ["lacks the key 'answer'", "capitals.toml"]),
        ("answer =", "anwser =", ["capitals.toml:5", "no key 'anwser'", "did you mean 'answer'"]),
        ("data =", "test_share = 3\ndata =", ["'test_share' is wrong", "capitals.toml:2", "3"]),
        ("answer =", "answer", ["not valid TOML", "line 5"]),
        ("capitals.csv", "capital.csv", ["does not exist", "capital.csv"]),
        ('gold = "right"', 'gold = "right"\nsplit = "kind"', ["'europe'", "train or test", ".csv:2"]),
        ('gold = "right"', 'gold = "right"\nsimilarity = "kind"', ["'europe'", "high or low"]),
        ("{city} the capital of ", "it in ", ["different gold labels"]),
    ],
)
def test_what_is_wrong_with_a_task_file_is_said(write, old, new, words):
    assert old in TOML
    if new == "it in ":  # a validator and an answer that cannot tell the rows apart
        old, new = TOML, TOML.replace(old, new).replace('answer = "city"', 'answer = "somewhere {country}"')
    wrong(words, write(TOML.replace(old, new)))


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("peru,,yes,,,\n", "column 'city' is empty"),
        ("peru\n", "column 'city' is empty"),
        ("peru,Lima\n", "column 'right' is empty"),
        ("peru,Lima,perhaps,,,\n", "column 'right' holds no yes or no"),
    ],
)
def test_a_row_without_a_cell_is_left_out_and_counted(write, rows, reason):
    made = task(write(csv=CSV + "chile,Santiago,y,,,\n" + rows), split="all")
    assert {item.fields["country"] for item in made.items} == {"france", "japan", "chile"}
    assert made.settings["skipped"][reason] == 1
    assert made.settings["skipped_first"] == {reason: "capitals.csv:7"}
    assert left_out(made) == f"capitals.csv: 1 row left out: {reason} (capitals.csv:7)"


def test_repeated_rows_are_said(write):
    made = task(write(csv=CSV + "france,Paris,yes,,,\n" * 2), split="all")
    assert left_out(made) == "capitals.csv: 2 rows left out: duplicates"
    assert left_out(task(write(), split="all")) is None
    assert "skipped_first" not in made.settings


def test_a_file_of_which_most_cannot_be_read_is_an_error(write):
    good, bad = "".join(f"land{n},Tor,yes,,,\n" for n in range(4)), "".join(f"isle{n},,no,,,\n" for n in range(5))
    header = CSV.splitlines()[0] + "\n"
    wrong(["'city' is empty, and 5 of 9 rows are like that", ".csv:6"], write(csv=header + good + bad))
    assert len(task(write(csv=header + good + bad.partition("\n")[2]), split="all").items) == 4
    wrong(["no rows"], write(csv=header))


@pytest.mark.parametrize(("ending", "delimiter"), [(".csv", ";"), (".csv", "\t"), (".csv", "|"), (".tsv", None)])
def test_the_delimiter_is_found_and_said_where_it_is_not_the_usual_one(write, tmp_path, ending, delimiter):
    data = tmp_path / f"other{ending}"
    data.write_text(CSV.replace(",", delimiter or "\t").replace("Tokyo", "Tokyo, 35,6 degrees north"))
    made = task(write(), data=data, split="all")
    assert len(made.items) == 4 and made.settings.get("delimiter") == delimiter
    assert left_out(made) == (delimiter and f"other.csv: cells are separated by {delimiter!r}")


@pytest.mark.parametrize("name", ["d.csv", "d.csv.gz", "d.jsonl", "d.jsonl.gz", "d.json", "d.parquet", "d.parquet.gz"])
def test_every_format_gives_the_same_items(write, tmp_path, name):
    table = pd.read_csv(write().with_name("capitals.csv"))
    table["right"] = table["right"].map({"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0})
    plain = tmp_path / name.removesuffix(".gz")
    if ".csv" in name:
        table.to_csv(plain, sep=";", encoding="utf-16")  # with an unnamed column of row numbers
    elif ".parquet" in name:
        table.astype({"kind": "category"}).to_parquet(plain)
    else:
        table.to_json(plain, orient="records", lines="jsonl" in name)
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress(plain.read_bytes()))
    made = task(write(), data=tmp_path / name, split="all")
    assert questions(made) == questions(task(write(), split="all"))


def questions(made):
    return [(*made.prompts(item), item.answer, item.gold) for item in made.items]


def test_a_row_on_both_sides_is_an_error(write):
    path = write(TOML + 'split = "side"\n', csv=CSV + "france,Paris,yes,europe,high,test\n")
    wrong(["both in train and in test", ".csv:2", ".csv:6"], path)


def test_few_shots_need_worked_examples_and_these_the_columns(write):
    wrong(["no worked examples", "[[shots]]"], write(), validator_shots="few")
    wrong(["names {city}", "shots, row 1"], write(TOML + '[[shots]]\ncountry = "Peru"\nright = true\n'))
    wrong(["no worked examples"], write(TOML + SHOTS.replace("true", "false")), generator_shots="few")
    wrong(["no pairs of words"], write(), split_kind="unseen-hypernyms")


def test_a_missing_task_file_is_an_error(tmp_path):
    wrong(["does not exist", "none.toml"], tmp_path / "none.toml")


def test_every_key_is_documented():
    assert all(field.description for field in CustomTask.model_fields.values())


def test_gold_may_be_the_words_of_the_task(write):
    words = TOML.replace("Answer:", "Antwort:") + 'yes = "Ja"\nno = ["Nein", "Falsch"]\n'
    rows = CSV.replace("true", "JA").replace("false", "falsch")
    made = task(write(words, rows), split="all")
    assert {(i.answer, i.gold) for i in made.items if i.fields["country"] == "japan"} == {
        ("Tokyo", True),
        ("Paris", False),
    }
    left_out = task(write(words, rows.replace("JA", "oui", 1)), split="all").settings["skipped"]
    assert [reason for reason in left_out if "holds no yes or no" in reason]


def test_usual_words_of_gold_keep_their_sense(write):
    """Whether the answer is right does not turn round where a validator denies with True."""
    made = task(write(TOML + 'yes = ["False"]\nno = ["True"]\n'), split="all")
    assert {(i.answer, i.gold) for i in made.items if i.fields["country"] == "japan"} == {
        ("Tokyo", True),
        ("Paris", False),
    }
