"""`accord show` with a model: prompts, tokens and label words as it reads them, and what would help."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import accord
from accord import cli
from accord.errors import AccordError
from accord.gap.preview import preview, try_out
from accord.gap.shown import show_command
from accord.lm import Backbone
from accord.tasks import CustomTask, Task, task
from accord.tasks.config import QuestionSection
from accord.tasks.examples import shots_as_toml, with_examples
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}[{{ m.content }}]{% endfor %}{{ '\n' }}"
    tiny_model().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    rows = "".join(f"{a},{a + 10 + w},{'no' if w else 'yes'}\n" for a in range(10, 19) for w in (0, 3))
    (tmp_path / "tens.csv").write_text("a,c,ok\n" + rows)
    forms = 'generator = "{a} + 10 ="\nvalidator = "Is {a} + 10 = {c}? Answer:"\nanswer = "c"\ngold = "ok"\n'
    (tmp_path / "tens.toml").write_text('data = "tens.csv"\n' + forms)
    return tmp_path


def show(*words: object) -> str:
    done = CliRunner().invoke(cli.app, ["show", *(str(word) for word in words)])
    assert done.exit_code == 0, done.stderr
    return done.stdout


def test_what_a_model_reads_and_what_would_help(folder: Path) -> None:
    said = show(folder / "tens.toml", "--model", folder / "model", "-n", 2, "--split", "all")
    assert said.count("generator, as the model reads it:\n  | <s>") == 2
    assert "answer's tokens: · " in said and "does not tell it from an answer of the other kind" in said
    assert "score is of the whole answer: in 18 of the task's 18 items" in said and 'answer_score = "auto"' in said
    assert "Blank first tokens: 18 of 18" in said
    assert "most said:" in said and "as it is" in said
    for remedy in ("worked examples", "the chat template", "--chat", 'validator = "Yes or no: Is {a}'):
        assert remedy in said
    assert "None of them helps much" in said and "shots = [" not in said


def test_the_best_remedy_comes_first_and_examples_are_written_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accord.gap.preview.try_out", lambda lm, changed: {n: 0.1 + 0.8 * ("ex" in n) for n in changed})
    said = show(folder / "tens.toml", "--model", folder / "model", "-n", 1)
    assert said.index("worked examples") < said.index("the wording") < said.index("shots = [\n  { a = ")


def test_the_chat_template_and_built_in_wordings(folder: Path) -> None:
    said = show("hypernymy", "--model", folder / "model", "-n", 1, "--chat", "--shots", "zero")
    assert "  | [Complete the sentence:" in said
    assert "--shots few" in said and "--validator yes-or-no" in said and "the chat template" not in said


def test_worked_examples_are_made_of_the_items_and_leave_the_test(folder: Path) -> None:
    custom = CustomTask.load(folder / "tens.toml")
    shown = with_examples(custom, task(custom, split="all").pool)
    assert shown is not None and [shot["ok"] for shot in shown.shots] == ["yes", "no", "no", "yes"]
    assert len({shot["a"] for shot in shown.shots}) == len({shot["c"] for shot in shown.shots}) == 4
    (folder / "shown.toml").write_text((folder / "tens.toml").read_text() + shots_as_toml(shown))
    read = task(folder / "shown.toml", split="all")
    assert len(read.items) == 18 - 8 and len(read.validator.examples) == 4
    assert with_examples(custom, task(custom, split="all").pool[:2]) is None


def test_shares_are_the_measured_mass(folder: Path) -> None:
    lm, tens = Backbone(tiny_model(), tiny_tokenizer()), task(folder / "tens.toml", split="all")
    seen, measured = preview(lm, tens, items=4, tried=18), accord.measure_gap(lm, tens, resamples=0)
    assert seen.mass == pytest.approx(measured.metrics["yes_no_mass"]["value"], abs=1e-6)
    for item, row in zip(seen.items, measured.scores.to_dict("records"), strict=False):
        assert item.mass == pytest.approx(row["yes_no_mass"], abs=1e-6)
        assert len(item.answer) == row["generator_tokens"] and item.clashes


def test_the_command_that_a_warning_names() -> None:
    question = QuestionSection(
        task="hypernymy", data="a.tsv", validator_shots="zero", validator_phrasing="true", chat=True
    )
    said = show_command("my model", question)
    assert said == "accord show hypernymy --model 'my model' --data a.tsv --shots zero --validator true --chat"


def test_without_a_model_torch_is_not_imported() -> None:
    code = "import sys; sys.argv = ['accord', 'show', 'hypernymy']\nfrom accord.cli import app\n"
    code += "try:\n    app()\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules, 'torch'"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_examples_that_would_take_all_items_are_not_tried() -> None:
    def none_left() -> Task:
        raise AccordError("The test split has no items")

    lm = Backbone(tiny_model(), tiny_tokenizer())
    questions = accord.task("hypernymy", split="test", limit=4)
    assert set(try_out(lm, {"worked examples": none_left, "as it is": lambda: questions})) == {"as it is"}
