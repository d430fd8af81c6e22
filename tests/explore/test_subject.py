"""What is walked around in, and who may ask: models, runs, tokens, the command."""

import asyncio
from pathlib import Path
from unittest import mock

import pytest
from typer.testing import CliRunner

from accord import cli, study
from accord.errors import AccordError
from accord.explore.gate import TokenGate
from accord.explore.items import item_rows
from accord.explore.subject import BASE, Subject
from accord.lm.config import BackboneSection
from accord.repair.result import RepairRecord
from accord.tasks.config import QuestionSection
from tests.report.conftest import write_gap
from tests.tiny import tiny_hub_folder


def test_a_model_alone_has_its_task_measured_when_asked_for(tmp_path):
    tiny_hub_folder(tmp_path / "model")
    opened = []
    section = QuestionSection(task="hypernymy", validator_shots="zero")
    subject = Subject(BackboneSection(model=str(tmp_path / "model"), device="cpu"), {"hypernymy": section}, limit=8)
    subject.opened = opened.append
    assert subject.models == [BASE] and subject.asked == ["hypernymy"] and subject.gap("hypernymy") is None
    gap = subject.measure("hypernymy")
    assert len(gap.scores) == 8 and subject.gap("hypernymy") is gap and opened == [subject.model()]
    question = subject.item("hypernymy", 3)
    assert len(item_rows(gap.scores)) == 8
    assert question.prompts(question.items[0])[0] == gap.scores["generator_prompt"].iloc[3]


def test_a_folder_of_one_stage_is_shown_and_its_items_are_not_asked_again(tmp_path):
    subject = Subject.of_run(write_gap(tmp_path / "gap"))
    assert subject.backbone.model == "smollm2-135m" and subject.asked == ["gap"] and subject.tasks == []
    assert subject.gap("gap") is not None
    with pytest.raises(AccordError, match="cannot be made again"):
        subject.item("gap", 0)


STUDY = """\
name = "own"
backbone = { model = "model", device = "cpu", dtype = "float32" }
gap = [{ task = "own.toml", split = "all", layers = false }, { task = "table", split = "all", layers = false }]
[tasks.table]
"""
TASK = """\
data = "rows.csv"
generator = "a {word} is a"
validator = "is a {word} a {kind}? Answer:"
answer = "kind"
gold = "right"
"""


def test_a_run_finds_what_its_study_names_beside_itself_and_copied_lines_find_it_anywhere(tmp_path, monkeypatch):
    pytest.importorskip("nicegui", reason="of the explorer (pip install 'accord[explore]')")
    from accord.explore.ask_room import Asked, as_python, first_texts

    beside = tmp_path / "studies"
    tiny_hub_folder(beside / "model")
    (beside / "own.toml").write_text(f'name = "own"\n{TASK}')
    (beside / "rows.csv").write_text("word,kind,right\nbee,food,1\nbee,bird,0\nbird,food,1\nbird,kind,0\n")
    (beside / "study.toml").write_text(STUDY + TASK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["accord", "run", "studies/study.toml"])
    with mock.patch("accord.gap.figures.write_gap_figures"):
        study.run(Path("studies/study.toml"), out=Path("run"))
    subject = Subject.of_run(tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(subject.questions) == 2 and subject.backbone.model == str(beside / "model")
    for way in subject.questions:
        *lines, last = as_python(subject, Asked(way, first_texts(subject, way), [BASE])).splitlines()
        names = {}
        exec("\n".join(lines), names)
        row = subject.gap(way).scores.set_index("answer").loc["food"].iloc[0]
        assert names["question"].prompts(names["question"].items[0])[0] == row["generator_prompt"]
        assert eval(last, names).generator_logodds == pytest.approx(row["generator_logodds"], abs=1e-4)


def test_a_repair_is_calibrated_on_its_own_task_whatever_else_the_run_asks():
    pytest.importorskip("nicegui", reason="of the explorer (pip install 'accord[explore]')")
    from accord.explore.repairs_room import _calibrated

    class Two:
        def __init__(self):
            self.questions = {name: QuestionSection(task=name) for name in ("hypernymy", "programs")}

        def place(self, label):
            return f"run/repair/{label}"

        def record(self, label):
            return RepairRecord({"task": {"name": "programs"}}, {}, {})

    for text in dict(_calibrated(Two(), "readout-s0", 0.5)).values():
        assert "programs" in text and "hypernymy" not in text


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(AccordError, match="no results here"):
        Subject.of_run(tmp_path)


def answer(gate, path, kind="http"):
    """What the gate sends for a request."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "websocket.connect"}

    asyncio.run(gate({"type": kind, "path": path, "headers": [(b"x-forwarded-prefix", b"/evil")]}, receive, send))
    return sent


def test_only_what_begins_with_the_token_comes_through():
    seen = []

    async def app(scope, receive, send):
        seen.append((scope["path"], dict(scope["headers"])[b"x-forwarded-prefix"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})

    gate = TokenGate(app)
    assert len(gate.token) >= 32 and TokenGate(app).token != gate.token
    for path in (
        "/",
        "",
        "/x/",
        f"/{gate.token}",
        f"/{gate.token}x/",
        f"//{gate.token}/",
        f"/{gate.token[:-1]}/",
        "/\u00e9/",
    ):
        assert answer(gate, path)[0]["status"] == 403
        assert answer(gate, path, "websocket") == [{"type": "websocket.close", "code": 1008}]
    assert seen == []
    [start] = answer(gate, f"/{gate.token}/a/b")
    assert seen == [("/a/b", f"/{gate.token}".encode())]
    policy = dict(start["headers"])[b"content-security-policy"]
    assert policy.startswith(b"default-src 'self'") and b"http" not in policy


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], "nothing to explore"),
        (["nowhere"], "no results here"),
        (["--model", "no-such-model"], "no-such-model"),
        (["runs", "--task", "hypernymy"], "has questions of its own"),
        (["runs", "--seed", "3"], "has items and seeds of its own"),
    ],
)
def test_what_cannot_be_explored_is_refused_before_anything_is_served(words, wanted, tmp_path, monkeypatch):
    pytest.importorskip("nicegui", reason="of the explorer (pip install 'accord[explore]')")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, ["explore", *words, "--no-browser"])
    assert done.exit_code == 1 and wanted in done.output


def test_a_missing_library_is_named(monkeypatch):
    from accord.explore import server

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(server, "import_module", missing)
    with pytest.raises(AccordError, match="pip install 'accord\\[explore\\]'"):
        server.check_library()
