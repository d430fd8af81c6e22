"""What is read is what was written: whatever was changed, swapped or deleted is named, and no number of it is told."""

import json
import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from matplotlib.figure import Figure
from tests.report.run_folder import publish_result
from tests.study.made_run import FOUND, change, listed, make_run, said, write_page

import accord
from accord import cache
from accord.errors import AccordError
from accord.report.html import _save_listed
from accord.study import store
from accord.study.check import check
from accord.study.manifest import MANIFEST, check_if_stage, open_manifest, read_manifest
from accord.study.remove import removal
from accord.study.report_file import bring_report
from accord.study.run_folder import Run, damage
from accord.study.run_list import LIST, begin_list, changed_list, list_figures, read_list, write_listed
from accord.study.run_status import status
from accord.study.stage import Stage
from accord.study.trials import Claim, Trials
from accord.study.work import Models


@pytest.fixture
def run(tmp_path):
    """A run of two gaps and two damages, with a figure and a page."""
    run = make_run(tmp_path / "runs" / "demo", ["gap/a", "gap/b", "damage/x", "damage/y"], report=False)
    (run / "figures").mkdir()
    listed(run)
    write_listed(run, {"figures/closure.svg": "<svg/>"})
    write_page(run, f'<meta name="description" content="{FOUND}">')
    return run


def problems(run):
    return [(problem.path.relative_to(run).as_posix(), problem.what) for problem in check(run)]


def flip(path, bit=3, byte=0):
    content = bytearray(path.read_bytes())
    content[byte] ^= 1 << bit
    path.write_bytes(bytes(content))


def test_a_run_is_as_it_was_written(run):
    assert problems(run) == [] and damage(run) == {} and said("check", run)[0] == said("status", run)[0] == 0


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("gap/a/manifest.json", "missing"),
        ("gap/a/numbers.txt", "missing"),
        ("gap/a", "missing"),
        ("gap", "missing"),
        ("figures/closure.svg", "missing"),
        ("study.toml", "missing"),
        ("run.json", "missing"),
    ],
)
def test_what_is_deleted_is_found(run, name, what):
    path = run / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    found = problems(run)
    assert (name, what) in found or ((f"{name}/a", what) in found and (f"{name}/b", what) in found)
    code, text = said("check", run)
    assert code == 1 and "to mend: accord " in text
    if name.startswith("gap"):
        assert status(run).count("damaged") == (2 if name == "gap" else 1) and said("runs", run.parent)[0] == 1


@pytest.mark.parametrize(
    "name", ["gap/a/numbers.txt", "gap/a/manifest.json", "study.toml", "plan.json", "run.json", "figures/closure.svg"]
)
@pytest.mark.parametrize("content", [None, "", "\udcff{", "[1]", "{}"])
def test_what_is_changed_is_found_with_all_else_that_is(run, name, content):
    """One fault hides no other."""
    flip(run / name) if content is None else (run / name).write_bytes(content.encode(errors="surrogateescape"))
    flip(run / "damage" / "x" / "numbers.txt")
    found = dict(problems(run))
    assert name in found and found["damage/x/numbers.txt"] == "changed"
    assert said("check", run)[0] == said("status", run)[0] == said("runs", run.parent)[0] == 1
    assert name == "run.json" or damage(run).keys() >= {"damage/x"}


def test_two_stages_that_were_swapped_are_found(run):
    """With the list by their hashes, and without it by their names."""
    for a, b in (("x", "aside"), ("y", "x"), ("aside", "y")):
        (run / "damage" / a).rename(run / "damage" / b)
    what = "not the one that this run wrote, but that of damage/y"
    assert ("damage/x/manifest.json", what) in problems(run) and len(problems(run)) == 2
    assert list(Run(run)) == ["gap/a", "gap/b"]
    (run / LIST).unlink()
    assert ("damage/x/manifest.json", "this is damage/y, in the place of damage/x") in problems(run)
    assert list(Run(run)) == ["gap/a", "gap/b"] and damage(run).keys() == {"damage/x", "damage/y"}


def test_every_bit_of_a_manifest_and_of_the_list_counts(run):
    """None crashes anything, and no manifest with another bit is ever taken for one."""
    for path, read in ((run / "gap/a" / MANIFEST, lambda: read_manifest(run / "gap/a")), (run / LIST, listing(run))):
        data = path.read_bytes()
        assert read() is not None
        with mock.patch("accord.study.manifest.listed_as", return_value=None):  # what covers itself needs no list
            for bit in range(0, 8 * len(data), 5):  # of every byte some, of all bits in turn
                changed = bytearray(data)
                changed[bit // 8] ^= 1 << bit % 8
                path.write_bytes(bytes(changed))
                assert read() is None, bit
        path.write_bytes(data)


def listing(run):
    def read():
        try:
            return read_list(run)
        except AccordError:
            return None

    return read


def test_a_manifest_of_an_earlier_version_is_read(run):
    """It covers itself only where the list of a run has it; one with another key is none."""
    place = run / "gap" / "a"
    manifest = json.loads((place / MANIFEST).read_text())
    del manifest["digest"]
    (place / MANIFEST).write_text(json.dumps(manifest))
    assert "not the one that this run wrote" in dict(problems(run))["gap/a/manifest.json"]
    (run / LIST).unlink()
    assert open_manifest(place)["settings"] == {"model": "m"}
    (place / MANIFEST).write_text(json.dumps({**manifest, "dagest": "0" * 64}))
    assert read_manifest(place) is None


@pytest.mark.parametrize(
    "files", [{"../../x": {"bytes": 1, "sha256": "0"}}, {"/x": {"bytes": 1, "sha256": "0"}}, {"a": {}}, {"a": 3}, []]
)
def test_no_manifest_leads_out_of_its_folder(run, files):
    change(run / "gap" / "a" / MANIFEST, files=files)
    assert read_manifest(run / "gap" / "a") is None and said("status", run)[0] == 1


def test_a_large_file_is_hashed_once_and_a_flipped_bit_found_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORD_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_SETTLED", 0)
    monkeypatch.setattr("accord.study.manifest._KEPT", 10)
    place = publish_result(tmp_path, "embeddings", "", None, files={"shard": "1" * 100})
    hashed: list[str] = []
    real = cache.hash_file
    monkeypatch.setattr(cache, "hash_file", lambda path: hashed.append(path.name) or real(path))
    assert damage(place) == damage(place) == {} and hashed == ["shard"]
    before = (place / "shard").stat()
    flip(place / "shard", byte=50)
    os.utime(place / "shard", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert damage(place) == {"": "shard: changed"}
    with pytest.raises(AccordError, match="damaged"):
        accord.concepts.load(place)  # type: ignore[attr-defined]


def test_a_kept_hash_that_is_wrong_is_not_believed(tmp_path, monkeypatch):
    monkeypatch.setattr("accord.study.manifest._KEPT", 10)
    monkeypatch.setattr("accord.study.manifest.kept_hash", lambda path: "0" * 64)
    place = publish_result(tmp_path, "embeddings", "", None, files={"shard": "1" * 100})
    assert damage(place) == {}


def test_a_later_stage_is_not_made_from_a_damaged_one(run):
    made: list[str] = []
    base = store.stage_in(run, "gap/a")
    later = Stage("verdict", "v", lambda work: made.append("v"), {}, 0, 1, {"base": base})
    flip(run / "gap" / "a" / "numbers.txt")
    with pytest.raises(AccordError, match=r"damaged[\s\S]*gap/a[\s\S]*numbers\.txt: changed"):
        store.publish(later, run / "verdict" / "v", models=Models(), at=lambda of: run / of.name)
    assert made == [] and not (run / "verdict" / "v").exists()


def remake(run, name="gap/a", k=2):
    """Make a stage of a run again, with other settings; what was said of it."""
    told: list[str] = []
    kind, _, label = name.partition("/")

    def make(work):
        (work.folder / "numbers.txt").write_text("new")

    stage = Stage(kind, label, make, {"k": k}, 0, 1)
    store.publish(stage, run / name, models=Models(), replace=True, say=told.append)
    return told


def test_what_a_user_put_into_a_stage_is_moved_aside(run, tmp_path):
    for i, kept in enumerate(("a.kept", "a.kept-2")):
        (run / "gap" / "a" / "notes").mkdir()
        (run / "gap" / "a" / "notes" / "mine.txt").write_text(f"years {i}")
        (run / "gap" / "a" / "link").symlink_to(tmp_path)
        (told,) = remake(run, k=i)
        assert told == f"gap/a: what accord did not write there is now in {run / 'gap' / kept}"
        assert (run / "gap" / kept / "notes" / "mine.txt").read_text() == f"years {i}"
        assert (run / "gap" / kept / "link").is_symlink() and tmp_path.exists()
        assert sorted(path.name for path in (run / "gap" / kept).iterdir()) == ["link", "notes"]
    assert remake(run, k=5) == [] and (run / "gap" / "a" / "numbers.txt").read_text() == "new"
    assert damage(run) == {} and problems(run) == []


def test_of_a_stage_with_a_damaged_manifest_all_is_kept(run):
    flip(run / "gap" / "a" / MANIFEST)
    (told,) = remake(run)
    assert "a.kept" in told and (run / "gap" / "a.kept" / "numbers.txt").read_text() == "gap/a"
    (run / "gap" / "b" / MANIFEST).unlink()
    assert "b.kept" in remake(run, "gap/b")[0] and damage(run) == {}


def cut_swap(run):
    """A swap that was cut once the new folder was in its place; a file of the user is in the old one."""
    shutil.copytree(run / "gap" / "a", run / "gap" / ".a.old")
    (run / "gap" / ".a.old" / "mine.txt").write_text("years")


MOVED = "gap/a: what accord did not write there is now in {}"


@pytest.mark.parametrize("k", [1, 2])
def test_what_a_cut_swap_left_of_the_user_is_kept_and_told_by_whoever_comes_next(run, k):
    """Whether or not that replaces the stage once more."""
    remake(run, k=1)
    cut_swap(run)
    assert problems(run) == [("gap/.a.old", "replaced, and not yet removed")]
    assert remake(run, k=k) == [MOVED.format(run / "gap" / "a.kept")]
    assert (run / "gap" / "a.kept" / "mine.txt").read_text() == "years" and problems(run) == []


def test_what_is_moved_aside_is_told_again_where_it_was_cut(run, monkeypatch):
    """Killed when it was told, and before it was there; and between the two renames."""
    remake(run, k=1)
    cut_swap(run)
    real, told = Path.rename, []

    def killed(self, target):
        if ".kept" in str(target):
            raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            store.publish(_numbers(1), run / "gap" / "a", models=Models(), replace=True, say=told.append)
    assert told == remake(run, k=1) == [MOVED.format(run / "gap" / "a.kept")]
    (run / "gap" / "a" / "more.txt").write_text("years")
    shutil.move(run / "gap" / "a", run / "gap" / ".a.old")
    assert remake(run, k=2) == [MOVED.format(run / "gap" / "a.kept-2")]


def test_what_is_not_accords_is_not_taken_into_an_unfinished_stage(run):
    def make(work):
        (work.folder / "numbers.txt").write_text("half")
        if not made:
            work.facts["unfinished"] = "one answer"
        made.append(1)

    made: list[int] = []
    stage = Stage("names", "n", make, {}, 0, 1)
    store.publish(stage, run / "names" / "n", models=Models())
    (run / "names" / "n" / "mine.txt").write_text("years")
    store.publish(stage, run / "names" / "n", models=Models(), say=lambda line: None)
    assert read_manifest(run / "names" / "n")["files"].keys() == {"numbers.txt"}
    assert (run / "names" / "n.kept" / "mine.txt").read_text() == "years"


def test_a_swap_that_is_cut_is_gone_on_with(run, monkeypatch):
    """Killed once the new stage is listed, and before it stands in its place: nothing is lost, and nothing damaged."""

    def killed(folder, partial):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store, "_swap_in", killed)
        with pytest.raises(KeyboardInterrupt):
            remake(run)
    assert damage(run) == {} and problems(run) == [("gap/.a.partial", "unfinished")]
    assert open_manifest(run / "gap" / "a")["settings"] == {"model": "m"}
    assert remake(run) == [] and problems(run) == []
    flip(run / "gap" / "a" / "numbers.txt")
    (run / "gap" / "a").rename(run / "gap" / ".a.partial")  # damaged before it is put in place
    assert remake(run) == [] and problems(run) == []


def _numbers(k: int) -> Stage:
    def make(work):
        (work.folder / "numbers.txt").write_text(f"k = {k}")

    return Stage("gap", "a", make, {"k": k}, 0, 1)


def test_a_swap_that_is_cut_and_not_gone_on_with_leaves_what_is_in_place_whole(run, monkeypatch):
    def publish(stage, **keys):
        return store.publish(stage, run / "gap" / "a", models=Models(), say=lambda line: None, **keys)

    def killed(*_):
        raise KeyboardInterrupt

    assert publish(_numbers(1), replace=True)
    for next_one in (_numbers(1), Stage("gap", "a", killed, {"k": 3}, 0, 1)):
        with monkeypatch.context() as patched:
            patched.setattr(store, "_swap_in", killed)
            with pytest.raises(KeyboardInterrupt):
                publish(_numbers(2), replace=True)
        if next_one.settings == {"k": 1}:
            assert not publish(next_one)
        else:
            with pytest.raises(KeyboardInterrupt):
                publish(next_one, replace=True)
        assert damage(run) == {}
        assert store.state(run / "gap" / "a", _numbers(1).recipe) == "whole"
    with pytest.raises(AccordError, match="other settings"):  # not replaced as if it were damaged
        publish(_numbers(3))


def test_a_stage_whose_manifest_is_gone_is_opened_by_nobody(run):
    check_if_stage(run / "gap" / "a")
    (run / "gap" / "a" / MANIFEST).unlink()
    with pytest.raises(AccordError, match="damaged"):
        check_if_stage(run / "gap" / "a")
    check_if_stage(run.parent)  # no stage at all


def test_the_order_is_that_of_the_study_however_stages_were_begun(run):
    names = ["gap/b", "damage/y", "gap/a", "damage/x"]
    for name in names:
        change(run / name / MANIFEST, started="2026-03-01T10:00:00+00:00")
    change(run / "plan.json", stages=dict.fromkeys(names, "0"))
    begin_list(run, "demo", ["plan.json"])
    assert list(Run(run)) == names
    change(run / "gap" / "b" / MANIFEST, started="2026-03-01T10:00:01+00:00")
    assert list(Run(run)) == names


def test_figures_are_drawn_again_where_they_are_not_as_they_were_drawn(run, monkeypatch):
    drawn: list[Path] = []

    def draw(folder):
        from accord.study.made_from import sources

        drawn.append(folder)
        write_listed(folder, {"figures/closure.svg": "<svg/>"})
        list_figures(folder, sources(Run(folder, verified=True)))

    monkeypatch.setattr("accord.report.write_figures", draw)
    monkeypatch.setattr("accord.report.write_report", write_page)
    bring_report(run)
    assert len(drawn) == 1
    bring_report(run)
    assert len(drawn) == 1
    (run / "figures" / "closure.svg").write_text("mine")
    bring_report(run)
    assert len(drawn) == 2 and problems(run) == []
    remake(run)
    bring_report(run)
    assert len(drawn) == 3


def test_a_stage_that_is_removed_is_no_longer_listed(run):
    assert said("rm", run, "damage/x", "--yes")[0] == 0
    assert problems(run) == [] and "damage/x" not in read_list(run).stages


def test_two_processes_list_their_stages_both(run):
    with changed_list(run) as first:
        first.stages["gap/new"] = "0"
    assert {"gap/new", "gap/a"} <= read_list(run).stages.keys()


def test_a_removal_keeps_what_a_cut_swap_left_of_the_user(run):
    shutil.copytree(run / "gap" / "a", run / "gap" / ".a.old")
    (run / "gap" / ".a.old" / "mine.txt").write_text("years")
    code, text = said("rm", run, "--yes")
    assert code == 1 and "mine.txt" in text and (run / "gap" / ".a.old" / "mine.txt").is_file()
    code, text = said("rm", run, "gap/a", "--yes")
    assert code == 0 and MOVED.format("").strip() in " ".join(text.split()) and "a.kept" in text
    assert (run / "gap" / "a.kept" / "mine.txt").read_text() == "years"


@pytest.mark.parametrize("lost", [["run.json"], ["run.json", "gap/a"], ["run.json", "gap", "damage"]])
def test_a_stage_that_is_deleted_together_with_the_list_is_named_by_the_plan(run, lost):
    for name in lost:
        shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()
    gone = [name for name in ("damage/x", "damage/y", "gap/a", "gap/b") if not (run / name).exists()]
    found = dict(problems(run))
    assert found.pop("run.json").startswith("missing")
    assert sorted(found) == gone and all("not here" in what for what in found.values())
    assert len(gone) == {1: 0, 2: 1, 3: 4}[len(lost)]


def test_a_run_is_known_by_its_study_where_its_list_and_its_plan_are_gone(run):
    """Also that of a trial."""
    (run / "trials").mkdir()
    shutil.copytree(run, run.parent / "copy")
    shutil.move(run.parent / "copy", run / "trials" / "0001")
    for name in ("run.json", "plan.json", "trials/0001/run.json", "trials/0001/plan.json"):
        (run / name).unlink()
    assert [(name, what) for name, what in problems(run) if name.endswith("run.json")] == [
        ("run.json", "missing"),
        ("trials/0001/run.json", "missing"),
    ]
    shutil.rmtree(run / "trials")
    (run / "trials" / "0002").mkdir(parents=True)
    (run / "trials" / "0002" / "study.toml").touch()  # of a trial that was killed before it had a list
    assert [name for name, _ in problems(run) if name.startswith("trials")] == []


class Killed(BaseException):
    """The process ends here."""


def killed_at_each_write(monkeypatch, do):
    """Do it again and again, killed before and after each file is put in its place; then once to its end."""
    real = Path.replace
    for dies in range(1000):
        puts = iter(range(1000))

        def replace(self, target, dies=dies, puts=puts):
            if (put := next(puts)) * 2 == dies:
                raise Killed
            real(self, target)
            if put * 2 + 1 == dies:
                raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", replace)
            try:
                do()
            except Killed:
                yield dies
            else:
                return


@pytest.mark.parametrize("names", [["study.toml"], ["plan.json", "new.toml"], ["figures/closure.svg"]])
def test_whatever_stops_a_write_beside_the_stages_the_check_is_true(run, monkeypatch, names):
    before = {name: (run / name).read_text() if (run / name).exists() else None for name in names}

    def write():
        write_listed(run, {name: f"new {name}" for name in names})

    seen = set()
    for _ in killed_at_each_write(monkeypatch, write):
        assert [name for name, _ in problems(run) if name in names] == []
        seen.add(tuple((run / name).exists() and (run / name).read_text() != before[name] for name in names))
        for name in names:
            if (run / name).exists():
                flip(run / name)
                assert (name, "changed") in problems(run) or name not in read_list(run).files
                flip(run / name)
    assert len(seen) == len(names) + 1 and not read_list(run).coming
    assert all((run / name).read_text() == f"new {name}" for name in names)


def test_whatever_stops_a_trial_that_is_made_again_the_check_is_true(run, monkeypatch):
    pool = SimpleNamespace(alone=nullcontext, study=SimpleNamespace(tell=lambda *_, **__: None))
    for value in (0.25, 0.75):
        for _ in killed_at_each_write(monkeypatch, lambda v=value: Trials.finish(pool, Claim(1, {}, run), v)):
            assert problems(run) == []
        assert json.loads((run / "trial.json").read_text())["value"] == value
    flip(run / "trial.json", byte=50)
    assert problems(run) == [("trial.json", "changed")]


def test_whatever_stops_a_figure_the_check_is_true_and_it_may_be_removed(run, monkeypatch):
    figure = Figure()
    for _ in killed_at_each_write(monkeypatch, lambda: _save_listed(figure, run, "closure")):
        assert [name for name, _ in problems(run) if name.startswith("figures")] == []
    assert read_list(run).files.keys() > {"figures/closure.svg", "figures/closure.png"} and problems(run) == []
    (run / "figures" / "closure.svg").rename(run / "figures" / "closure.svg.tmp")
    removal(run)
    (run / "figures" / "mine.svg.tmp").touch()
    with pytest.raises(AccordError, match="did not write"):
        removal(run)
