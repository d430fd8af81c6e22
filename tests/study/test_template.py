"""`accord init`: whatever is uncommented in what it writes, as it stands, is a study that is valid."""

import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from types import NoneType

import pytest
from pydantic import BaseModel

import accord.concepts.config as concepts
import accord.heads.config as heads
import accord.repair.config as repair
from accord.errors import AccordError
from accord.gap.config import GapSection
from accord.study.config import load, models_in
from accord.study.graph import plan_study
from accord.study.root import study_model
from accord.study.template import template, write_template

CAPITALS = """\
country\tcity\tcorrect
Aland\tAburg\tyes
Aland\tBburg\tno
Boland\tBburg\tyes
Boland\tAburg\tno
Coland\tCburg\tyes
Coland\tAburg\tno
Doland\tDburg\tyes
Doland\tCburg\tno
"""


@dataclass
class Block:
    """Lines of the template that belong together: a table, and those in it.

    Attributes:
        before: what comments say of it.
        lines: as they stand in a study that has the table.
    """

    before: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    left_out: bool = False

    @property
    def name(self) -> str:
        return re.match(r"\[+([\w.-]+)", self.lines[0])[1]

    @property
    def key(self) -> str:
        """The section that it is of."""
        return self.name.partition(".")[0]

    @property
    def kind(self) -> str:
        return tomllib.loads("\n".join(line for line in self.lines if line.startswith("kind = "))).get("kind", "")

    @property
    def needs(self) -> list[str]:
        words = re.sub(r"\n# ", " ", "\n".join(self.before))
        return [name for said in re.findall(r"Needs (.*?)\.(?: |$)", words) for name in re.findall(r"(\w+)\]", said)]

    def settings(self) -> list[int]:
        """The numbers of the lines that are keys left out."""
        return [i for i, line in enumerate(self.lines) if re.match(r"#\w+ = ", line)]

    def text(self, *uncommented: int) -> str:
        return "\n".join(line[1:] if i in uncommented else line for i, line in enumerate(self.lines)) + "\n"


@cache
def blocks() -> list[Block]:
    """The sections and kinds of the template, as one reads them: by its empty lines and its # signs alone."""
    found, rule = [], []
    for part in template().split("\n\n")[2:]:
        lines = part.splitlines()
        before = [line for line in lines if line.startswith("# ")] if lines[0].startswith("# ") else []
        header = next((i for i, line in enumerate(lines) if re.match(r"#?\[", line)), None)
        if lines[0].startswith("# ---- "):
            rule = before
        if header is not None:
            left_out = lines[header].startswith("#")
            inner = [line.removeprefix("#") if left_out else line for line in lines[header:]]
            above = [line for line in lines[:header] if not line.startswith("# ----")]
            found.append(Block([*(rule if rule != before else []), *above], inner, left_out))
    return found


def first_of(key: str) -> Block:
    return next(block for block in blocks() if block.key == key)


def study_of(block: Block, *uncommented: int) -> str:
    """The template with a block brought in, beside all that this one needs."""
    needed: list[Block] = []

    def need(other: Block) -> None:
        for name in other.needs:
            need(first_of(name))
            if first_of(name) not in needed:
                needed.append(first_of(name))

    need(block)
    there = [other for other in blocks() if not other.left_out]
    others = [other.text() for other in (*there, *(one for one in needed if one not in there)) if other is not block]
    return 'name = "my-study"\n' + "\n".join([*others, block.text(*uncommented)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One that has the data of the task in the template."""
    folder = tmp_path_factory.mktemp("studies")
    (folder / "capitals.tsv").write_text(CAPITALS)
    return folder


KEPT: dict = {}  # tasks that were built: each once, for all studies


@pytest.fixture
def planned(folder, monkeypatch):
    """Check a study of this text."""
    monkeypatch.setattr("accord.text.sources.is_cached", lambda: False)

    def planned(text):
        (folder / "study.toml").write_text(text)
        return plan_study(load(folder / "study.toml"), kept=KEPT)

    return planned


def test_the_template_is_a_good_study(tmp_path):
    write_template(tmp_path / "study.toml")
    file = load(tmp_path / "study.toml")
    [stage] = plan_study(file).stages
    assert (file.study.name, stage.settings["task"]["name"]) == ("my-study", "hypernymy")
    assert file.study.gap == [GapSection.model_validate({"task": "hypernymy"})]


@pytest.mark.parametrize("block", blocks(), ids=lambda block: f"{block.name}-{block.kind}".strip("-"))
def test_a_section_is_valid_as_it_stands_and_with_any_of_its_keys(block, planned):
    """Also by --check."""
    assert planned(study_of(block)).stages
    for i in block.settings():
        try:
            assert planned(study_of(block, i)).stages
        except AccordError as error:
            pytest.fail(f"{block.lines[i]}\n{error}")


def test_all_sections_together(planned):
    """But for annotators, of which a study has one."""
    annotators = [block for block in blocks() if block.name == "names.annotator"]
    assert len(annotators) == 3
    texts = [block.text() for block in blocks() if block not in annotators[1:]]
    kinds = {stage.kind for stage in planned('name = "my-study"\n' + "\n".join(texts)).stages}
    assert {
        "gap",
        "concepts",
        "heads",
        "names",
        "steering",
        "explain",
        "forecast",
        "repair",
        "verdict",
        "damage",
        "pathway",
    } <= kinds


@pytest.mark.parametrize("key", ["name", "seeds"])
def test_the_keys_at_the_top(key, planned):
    line = next(line for line in template().splitlines() if re.match(rf"#?{key} = ", line))
    top = "" if key == "name" else 'name = "my-study"\n'
    assert planned(f"{top}{line.removeprefix('#')}\n{first_of('backbone').text()}{first_of('gap').text()}").stages


def tables(model: type[BaseModel], name: str = "", kind: str = "") -> dict[tuple[str, str], type[BaseModel]]:
    """(Its name, its kind or that of the table around it) -> every table that a study may have."""
    found = {}
    for key, of in model.model_fields.items():
        for section in models_in(of.annotation):
            own = section.model_fields["kind"].default if "kind" in section.model_fields else kind
            found[f"{name}.{key}".strip("."), own] = section
            found |= tables(section, f"{name}.{key}".strip("."), own)
    return found


def explained(block: Block) -> set[str]:
    """The keys that a block shows, or says where they are explained."""
    text = "\n".join(block.lines)
    words = re.sub(r"\n# (?!As )", " ", text)
    elsewhere = [
        name for names in re.findall(r"^# As (?:above|in \S+): (.*)\.$", words, re.M) for name in names.split(", ")
    ]
    return {*re.findall(r"^(?:#? ?)(\w+)(?: =|$| +#)", text, re.M), *elsewhere}


def test_every_key_of_every_kind_is_explained():
    shown: dict = {}
    for block in blocks():
        parts = re.split(r"\n(?=\[)", "\n".join(block.lines))
        for part in parts:
            inner = Block(lines=part.splitlines())
            shown[inner.name.replace(".my-task", ""), block.kind] = explained(inner)
    for (name, kind), section in tables(study_model()).items():
        own = {key for key, of in section.model_fields.items() if of.annotation is not NoneType}
        own -= {"seed"} if "batch" in own else set()
        own -= {key for key in own if (f"{name}.{key}", kind) in shown}  # a table of its own
        around, _, last = name.rpartition(".")
        assert own <= shown.get((name, kind), set()) or last in shown.get((around, kind), set()), (name, kind)


def test_what_kinds_share_is_explained_once():
    words = re.sub(r"\s+", " ", re.sub(r"^#*\s*(?=# )", "", template(), flags=re.M)).replace(" # ", " ")
    sections = [repair.section_of(kind) for kind in repair.KINDS]
    for key in ("micro_batch", "dropout", "after", "allow_low_mass", "budget", "window"):
        fields = [section.model_fields[key] for section in sections if key in section.model_fields]
        [said] = {of.description for of in fields if of.annotation is not NoneType}
        assert words.count(" ".join(said.split())) == 1, key
    assert len(template().splitlines()) < 750


def test_all_kinds_are_shown():
    kinds = set(re.findall(r'^#kind = "(.*)"', template(), flags=re.M))
    for room in (concepts, heads, repair):
        assert set(room.KINDS) <= kinds
    assert {"tokens", "transformers", "openai"} <= kinds


def test_nothing_is_overwritten(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text("mine")
    with pytest.raises(AccordError, match="there already") as caught:
        write_template(path)
    assert path.read_text() == "mine" and "--replace" in str(caught.value) and "name another" in str(caught.value)
    write_template(path, replace=True)
    write_template(path)  # the same
    assert path.read_text() == template()
    for place in (tmp_path / "absent" / "study.toml", tmp_path):
        with pytest.raises(AccordError, match="cannot be written there"):
            write_template(place)
