"""What accord writes, opened by the hub id of a copy: from the hub's cache, without a network."""

import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from typer.testing import CliRunner

import accord
from accord import cli, concepts
from accord.concepts import Scale
from accord.errors import AccordError
from accord.heads import ConceptLM, Reader, save_concept_lm
from accord.lm import Backbone
from accord.loading import fingerprint, folder_of, load_tokenizer
from accord.repair import save_edits
from accord.repair.result import base_of
from accord.steering import AddDirection, EditConcepts
from tests.tiny import tiny_hub_folder

COMMITS = {"main": "a" * 40, "v1": "b" * 40}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def put(hub: Path, name: str, folder: Path, revision: str = "main") -> None:
    """A folder as the hub's library keeps its copy."""
    repository = hub / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, repository / "snapshots" / COMMITS[revision])
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / revision).write_text(COMMITS[revision])


def logits(lm: accord.LanguageModel) -> torch.Tensor:
    ids = torch.randint(3, 250, (2, 8), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return lm.lens(lm.hidden(ids)[lm.n_layers])


def directions(lm: Backbone, seed: int) -> list[AddDirection]:
    return [AddDirection(1, torch.randn(lm.d_model, generator=torch.Generator().manual_seed(seed)))]


def test_a_repaired_model_and_its_base_by_hub_ids(hub: Path, tmp_path: Path) -> None:
    tiny_hub_folder(tmp_path / "base")
    put(hub, "org/base", tmp_path / "base")
    base = accord.load("org/base")
    model = concepts.build(concepts.read_config({"kind": "topk", "size": 16, "k": 4}), d=base.d_model, seed=0)
    for seed, revision in enumerate(COMMITS):
        edits = [*directions(base, seed), EditConcepts(2, model, {3: Scale(4.0)})]
        save_edits(edits, tmp_path / revision, base="org/base", about={})
        put(hub, "me/repaired", tmp_path / revision, revision)
    newest, first = accord.load("me/repaired"), accord.load("me/repaired", revision="v1")
    for lm, revision in ((newest, "main"), (first, "v1")):
        torch.testing.assert_close(logits(lm), logits(accord.load(tmp_path / revision)))
    assert not torch.equal(logits(newest), logits(first)) and newest.name == "me/repaired"
    assert base_of("me/repaired") == "org/base"
    assert fingerprint("me/repaired") == fingerprint(str(tmp_path / "main"))
    assert load_tokenizer("me/repaired").get_vocab() == base.tokenizer.get_vocab()
    done = CliRunner().invoke(cli.app, ["generate", "--model", "me/repaired", "--prompt", "A bee", "--tokens", "3"])
    assert done.exit_code == 0, done.output


def test_a_concept_language_model_and_a_concept_model_by_hub_ids(hub: Path, tmp_path: Path) -> None:
    tiny_hub_folder(tmp_path / "base")
    base = accord.load(tmp_path / "base")
    model = concepts.build(concepts.read_config({"kind": "topk", "size": 16, "k": 4}), d=base.d_model, seed=0)
    concepts.save(model, tmp_path / "concepts")
    put(hub, "me/concepts", tmp_path / "concepts")
    same = concepts.load("me/concepts")
    assert all(torch.equal(same.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    lm = ConceptLM(base, 2, Reader("reconstruction", model), None, name="read")
    save_concept_lm(lm, tmp_path / "lm")
    put(hub, "me/lm", tmp_path / "lm")
    torch.testing.assert_close(logits(accord.load("me/lm")), logits(lm))


def test_revisions_and_names_that_are_not_there(hub: Path, tmp_path: Path) -> None:
    tiny_hub_folder(tmp_path / "base")
    with pytest.raises(AccordError, match="me/gone is not cached, and the hub cannot be reached"):
        accord.load("me/gone")
    with pytest.raises(AccordError, match="only a hub id has revisions"):
        accord.load(tmp_path / "base", revision="v1")
    put(hub, "org/base", tmp_path / "base")
    with pytest.raises(AccordError, match="is not cached"):
        accord.load("org/base", revision="v1")
    assert folder_of(tmp_path / "base") == tmp_path / "base" and folder_of("me/gone") == Path("me/gone")
