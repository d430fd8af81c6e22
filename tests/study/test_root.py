"""The model of a study file follows the lists: a kind or a capability that is added is there at once."""

import sys
import types
from typing import Any, Literal

import pytest
from pydantic import Field

import accord.concepts.config as concepts
import accord.heads.config as heads
import accord.repair.config as repair
from accord import capabilities
from accord.concepts import build
from accord.errors import AccordError
from accord.gap.config import GapSection
from accord.study.config import load
from accord.study.root import study_model
from accord.study.search_config import SearchSection
from accord.study.template import template

TOP = 'name = "s"\nbackbone.model = "m"\n'


class ToyConfig(concepts.ConceptConfig):
    """A toy concept model."""

    kind: Literal["toy"] = "toy"
    colour: str = Field(default="red", description="Its colour.")


class ToyHead(heads.HeadConfig):
    """A toy head."""

    kind: Literal["toy"] = "toy"
    reads: Literal["embedding"] = "embedding"


class ToyRepair(repair.Surgery):
    """A toy repair."""

    kind: Literal["toy"] = "toy"
    colour: str = Field(default="red", description="Its colour.")


class ToyTrained(repair.Trained):
    """A toy repair by training."""

    kind: Literal["trained-toy"] = "trained-toy"


class Made:
    def __init__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs


@pytest.fixture
def toys(monkeypatch):
    for room, config in ((concepts, ToyConfig), (heads, ToyHead), (repair, ToyRepair), (repair, ToyTrained)):
        monkeypatch.setitem(room.KINDS, config.model_fields["kind"].default, None)  # so that it is gone afterwards
        del room.KINDS[config.model_fields["kind"].default]
        room.register(config, "toys:Made")
    monkeypatch.setitem(sys.modules, "toys", types.SimpleNamespace(Made=Made))


def loaded(tmp_path, text):
    path = tmp_path / "s.toml"
    path.write_text(TOP + text)
    return load(path).study


def test_kinds_that_are_registered_are_in_a_study_and_the_template(toys, tmp_path):
    study = loaded(
        tmp_path,
        '[[concepts]]\nkind = "toy"\ncolour = "blue"\n[concepts.training]\nbatch = 4\n[[heads]]\nkind = "toy"\n'
        '[[repair]]\nkind = "toy"\ncolour = "blue"\n[[repair]]\nkind = "trained-toy"\n',
    )
    [concept], [head], [toy, trained] = study.concepts, study.heads, study.repair
    assert isinstance(concept, ToyConfig) and concept.config == ToyConfig(colour="blue")
    assert (concept.title, concept.training.batch) == ("toy", 4)
    assert isinstance(head, ToyHead) and heads.head_config(head, 0) == ToyHead()
    assert repair.repair_config(toy) == ToyRepair(colour="blue") and not toy.trained
    assert repair.repair_config(trained) == ToyTrained() and trained.trained
    assert type(concept).__doc__ == "A toy concept model."
    assert '#kind = "toy"' in template() and "# A toy repair by training.\n" in template()


def test_registered_kinds_are_used(toys):
    made: Any = build(ToyConfig(), 8)
    assert made.args == (ToyConfig(), 8)


def test_without_them_they_are_unknown(tmp_path):
    for section in ("concepts", "heads", "repair"):
        with pytest.raises(AccordError, match="Unknown value"):
            loaded(tmp_path, f'[[{section}]]\nkind = "toy"\n')


def test_two_kinds_of_one_name(toys):
    concepts.register(ToyConfig, "toys:Made")  # twice the same
    with pytest.raises(AccordError, match="of this name already"):
        concepts.register(ToyConfig, "toys:Other")
    with pytest.raises(AccordError, match="without a kind"):
        concepts.register(concepts.ConceptConfig, "toys:Made")


def test_a_capability_that_is_listed_is_in_a_study_and_the_template(tmp_path, monkeypatch):
    with pytest.raises(AccordError, match="Unknown key"):
        loaded(tmp_path, "[toy]\n")
    (tmp_path / "toy_capability").mkdir()
    (tmp_path / "toy_capability" / "__init__.py").write_text("")
    (tmp_path / "toy_capability" / "config.py").write_text(
        "from pydantic import Field\nfrom accord.section import Section\n\n"
        'class ToySection(Section):\n    """A toy capability."""\n'
        '    size: int = Field(default=3, description="S.")\n\n'
        "def sections():\n"
        '    return {"toy": (ToySection | None, Field(default=None, description="Toys."))}\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(capabilities, "CAPABILITIES", (*capabilities.CAPABILITIES, "toy_capability"))
    assert loaded(tmp_path, "[toy]\nsize = 5\n").toy.size == 5
    assert "# A toy capability.\n#[toy]\n##size = 3  # S.\n" in template()
    assert capabilities.part("toy_capability", "stage") is None


def test_an_import_that_fails_within_a_part_is_seen(tmp_path, monkeypatch):
    (tmp_path / "broken_capability").mkdir()
    (tmp_path / "broken_capability" / "__init__.py").write_text("")
    (tmp_path / "broken_capability" / "config.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="no_such_library"):
        capabilities.part("broken_capability", "config")


def test_sections_are_found_by_class(tmp_path):
    study = loaded(tmp_path, '[[gap]]\ntask = "a"\n[[repair]]\nkind = "sft"\n[[gap]]\ntask = "b"\n')
    assert [section.task for section in study.all(GapSection)] == ["a", "b"]
    assert [section.title for section in study.all(repair.RepairSection)] == ["sft"]
    assert (study.the(GapSection), study.the(SearchSection)) == (study.gap[0], None)
    assert study_model() is study_model() and isinstance(study, study_model())
