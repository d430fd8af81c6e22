"""What accord wrote can be removed, and nothing else."""

import os

import pytest
from tests.report.run_folder import publish_result
from tests.study.made_run import make_run, progress, said

from accord.disk import lock, sha256, write_json
from accord.errors import AccordError
from accord.study.remove import removal
from accord.study.run_status import status
from accord.study.store import LISTING


@pytest.fixture
def run(tmp_path):
    """A run with all that accord writes beside its stages."""
    run = make_run(tmp_path / "runs" / "demo", ["repair/x", "embeddings"], planned=["damage/z"])
    for kind, made_from in (("verdict", "repair/x"), ("damage", "verdict/x"), ("names", "embeddings")):
        publish_result(run, kind, "x", None, files={"a/b.txt": "1"}, inputs={"from": made_from})
    (run / "verdict" / ".x.partial").mkdir()
    (run / "verdict" / ".x.partial" / "part").write_text("12345")
    (run / "verdict" / ".y.lock").touch()
    (run / "figures").mkdir()
    for end in ("svg", "png"):
        (run / "figures" / f"closure.{end}").write_text("")
    (run / "export").mkdir()
    (run / "export" / "table.csv").write_text("1")
    write_json(run / "export" / LISTING, {"files": {"table.csv": sha256(run / "export" / "table.csv")}})
    (run / "study.toml.tmp").write_text("na")
    (run / ".report.html.partial").write_text("half")
    progress(run)
    return run


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def test_a_stage_goes_with_what_was_begun_of_it(run):
    before = files(run)
    found = removal(run, "verdict/x")
    assert found.made_from_it == ("damage/x",) and found.bytes == 6 and found.changed == ()
    assert removal(run, "repair/x").made_from_it == ("damage/x", "verdict/x")
    assert files(run) == before  # nothing goes before it is carried out
    found.carry_out()
    gone = {"report.html", "verdict/x/a/b.txt", "verdict/x/manifest.json", "verdict/.x.partial/part"}
    assert set(before) - set(files(run)) == gone and not (run / "verdict" / "x").exists()
    assert {stage.name: stage.state for stage in status(run).stages}["damage/x"] == "left over"  # as before
    removal(run, "embeddings").carry_out()
    assert not (run / "embeddings").exists() and (run / "names" / "x").exists()
    removal(run, "repair/x").carry_out()
    assert not (run / "repair").exists()  # the folder of its kind, which is empty


@pytest.mark.parametrize("name", ["export/paper.tex", "export/notes/a.txt", "export/table.csv"])
def test_what_a_user_put_beside_an_export_stays(run, name):
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text("years of work")
    with pytest.raises(AccordError, match="did not write"):
        removal(run)
    assert (run / name).read_text() == "years of work"


def test_what_was_only_begun_goes_too(run):
    (run / "damage" / ".z.partial").mkdir()
    (run / "damage" / ".z.partial" / "part").write_text("1")
    removal(run, "damage/z").carry_out()
    assert not (run / "damage" / ".z.partial").exists() and (run / "damage" / "x").exists()


def test_a_whole_run_goes(run):
    assert removal(run).stages == 5
    removal(run).carry_out()
    assert list(run.parent.iterdir()) == []


def test_a_search_and_a_single_stage_go(run, tmp_path):
    (run / "search.json").write_text("{}")
    (run / "trials.csv").write_text("")
    (run / "best.toml").write_text("")
    publish_result(run / "trials" / "0000", "gap", "a", None, files={"x": "1"})
    for name in ("0000/study.toml", "0000/trial.json", "optuna.log", "optuna.log.lock", ".0000.lock"):
        (run / "trials" / name).write_text("")
    (run.parent / ".demo.lock").touch()
    removal(run).carry_out()
    assert list(run.parent.iterdir()) == []
    single = publish_result(tmp_path, "gap", "t", None, files={"x": "1"}, folder=tmp_path / "one")
    (single / "report.html").write_text("")
    with pytest.raises(AccordError, match="remove all of it"):
        removal(single, "gap/one")
    removal(single).carry_out()
    assert not single.exists()


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("notes.txt", None),
        ("figures/mine.png", None),
        ("gap/readme.md", None),
        ("verdict/x/mine.csv", None),
        ("verdict/x/mine.csv", "verdict/x"),
        ("verdict/x/a/.hidden", "verdict/x"),
        ("trials/0000/mine.txt", None),
        (".env", None),
    ],
)
def test_what_accord_did_not_write_is_left_with_all_around_it(run, name, of):
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    (run / name).write_text("years")
    before = files(run)
    with pytest.raises(AccordError, match="accord did not write") as error:
        removal(run, of)
    assert (name if of is None else name.removeprefix(of + "/")) in str(error.value)
    assert said("rm", run, *([of] if of else []), "--yes")[0] == 1 and files(run) == before
    assert of is not None or removal(run, "repair/x")  # elsewhere nothing stands in the way


def test_what_comes_in_before_the_answer_is_left(run):
    found = removal(run)
    (run / "notes.txt").write_text("years")
    with pytest.raises(AccordError, match=r"notes\.txt"):
        found.carry_out()
    assert (run / "repair" / "x" / "numbers.txt").exists()


@pytest.mark.parametrize("where", ["runs/demo", "runs/demo/verdict", "runs/demo/verdict/x", "runs/demo/verdict/x/a"])
def test_no_link_is_followed(run, tmp_path, where):
    link, elsewhere = tmp_path / where, tmp_path / "elsewhere"
    link.rename(elsewhere)
    link.symlink_to(elsewhere)
    before = files(elsewhere)
    for stage in ("verdict/x", None):
        with pytest.raises(AccordError):
            removal(run, stage)
    assert files(elsewhere) == before


def test_no_name_leads_out(run, tmp_path):
    publish_result(tmp_path, "gap", "t", None, files={"x": "1"}, folder=tmp_path / "other")
    for name in ("../../other", "verdict", ".", "", "verdict/../repair/x", str(tmp_path / "other")):
        with pytest.raises(AccordError, match="no such stage"):
            removal(run, name)
    with pytest.raises(AccordError, match="did you mean 'verdict/x'"):
        removal(run, "verdict/xx")


def test_nothing_goes_while_a_process_works_on_it(run):
    with lock(run.resolve()), pytest.raises(AccordError, match="works on this folder now"):
        removal(run, "verdict/x")
    with lock((run / "verdict" / "x").resolve()):
        for stage in ("verdict/x", None):
            with pytest.raises(AccordError, match="works on"):
                removal(run, stage)
        removal(run, "repair/x")
    found = removal(run, "verdict/x")
    with lock(run.resolve()), pytest.raises(AccordError, match="Another accord process"):
        found.carry_out()
    assert (run / "verdict" / "x").exists()


def test_not_under_the_feet_of_a_shell(run, monkeypatch):
    monkeypatch.chdir(run / "verdict")
    for stage in ("verdict/x", None):
        if stage is None:
            with pytest.raises(AccordError, match="current folder"):
                removal(run)
        else:
            assert removal(run, stage)


def test_a_removal_that_is_cut_leaves_a_damaged_stage(run, monkeypatch):
    """So the next run makes it again, and takes nothing for somebody else's."""
    publish_result(run, "gap", "a", None, files={f"{i}.txt": "1" for i in range(4)})
    unlink, calls = os.unlink, []

    def cut(path, *args, **keys):
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        unlink(path, *args, **keys)

    monkeypatch.setattr("pathlib.Path.unlink", lambda path, missing_ok=False: cut(path))
    with pytest.raises(KeyboardInterrupt):
        removal(run, "gap/a").carry_out()
    monkeypatch.undo()
    assert {stage.name: stage.state for stage in status(run).stages}["gap/a"] == "damaged"
    removal(run, "gap/a").carry_out()
    assert not (run / "gap" / "a").exists()


def test_the_command_shows_asks_and_obeys(run, monkeypatch):
    (run / "verdict" / "x" / "a" / "b.txt").write_text("changed by hand")
    code, text = said("rm", run, "verdict/x")
    assert code == 1 and "no terminal to ask in" in text and "--yes" in text and (run / "verdict" / "x").exists()
    assert "Changed since accord wrote it: a/b.txt" in text and "Made from it: damage/x." in text
    assert "The report goes, too" in text
    code, text = said("rm", run, "embeddings")
    assert "made 2026-03-01" in text and "in 41 s" in text
    for answer, gone in ((False, False), (True, True)):
        monkeypatch.setattr("accord.terminal.sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("accord.study.command.confirmed", lambda question, yes, answer=answer: yes or answer)
        assert said("rm", run, "damage/x")[0] == 0
        assert (run / "damage" / "x").exists() is not gone
    code, text = said("rm", run, "--yes")
    assert code == 0 and f"{run}: removed" in text and not run.exists()
