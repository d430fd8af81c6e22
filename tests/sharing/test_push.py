"""What a push sends: weights and accord's own files, a card of what was measured, and nothing of this machine."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from peft import LoraConfig, get_peft_model
from typer.testing import CliRunner

import accord
from accord import cli, concepts
from accord.concepts import Scale
from accord.errors import AccordError
from accord.heads import ConceptLM, Reader, save_concept_lm
from accord.loading import fingerprint
from accord.repair import save_edits
from accord.repair.folder import save_adapter
from accord.report.model_card import plain
from accord.sharing import push
from accord.sharing.upload import _refused
from accord.steering import AddDirection, EditConcepts
from tests.sharing.fake_hub import TOKEN, FakeHub, serving
from tests.test_hub_ids import logits, put
from tests.tiny import tiny_hub_folder, tiny_model

BASE = "org/base"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with the base on it, and a copy of that in the cache."""
    with serving() as fake:
        fake.licences[BASE] = "apache-2.0"
        for name, value in {"ENDPOINT": fake.address, "HF_HUB_CACHE": str(tmp_path / "hub")}.items():
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        # What is opened lies in the cache: the fake gives no files.
        snapshot = huggingface_hub.snapshot_download
        monkeypatch.setattr(
            huggingface_hub,
            "snapshot_download",
            lambda *of, **keys: snapshot(*of, **{**keys, "local_files_only": True}),
        )
        tiny_hub_folder(tmp_path / "base")
        put(tmp_path / "hub", BASE, tmp_path / "base")
        yield fake


@pytest.fixture
def repaired(hub: FakeHub, tmp_path: Path) -> Path:
    """Edits, one of them by concepts, among files that are nobody's business."""
    lm = accord.load(BASE)
    model = concepts.build(concepts.read_config({"kind": "topk", "size": 16, "k": 4}), d=lm.d_model, seed=0)
    direction = AddDirection(1, torch.randn(lm.d_model, generator=torch.Generator().manual_seed(0)))
    about = {"task": {"name": "hypernymy", "data": str(tmp_path / "secret" / "pairs.tsv")}, "seed": 0}
    folder = tmp_path / "repaired"
    save_edits([direction, EditConcepts(2, model, {3: Scale(4.0)})], folder, base=BASE, about=about)
    for name in (".env", ".git/config", "notes.txt", "other.safetensors", "curve.jsonl", "manifest.json.bak"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("password")
    return folder


def test_what_goes_up_opens_as_what_was_pushed(hub: FakeHub, repaired: Path, tmp_path: Path) -> None:
    pushed = push(repaired, "me/repaired")
    files = hub.files["me/repaired"]
    assert hub.private["me/repaired"] and pushed.address == f"{hub.address}/me/repaired"
    own = {"README.md", "repair.json", "edits.safetensors"}
    assert set(files) == own | {"concepts-1/config.json", "concepts-1/weights.safetensors"}
    assert dict(pushed.files) == {name: len(content) for name, content in files.items()}
    assert all(str(tmp_path).encode() not in content and b"password" not in content for content in files.values())
    card = files["README.md"].decode()
    assert 'base_model: "org/base"' in card and 'license: "apache-2.0"' in card and 'accord.load("me/repaired")' in card
    assert "Nothing is claimed here" in card and "pairs.tsv" in card
    copy = tmp_path / "copy"
    for name, content in files.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(content)
    put(tmp_path / "hub", "me/repaired", copy)
    torch.testing.assert_close(logits(accord.load("me/repaired")), logits(accord.load(repaired)))


def test_other_kinds_go_up_too(hub: FakeHub, tmp_path: Path) -> None:
    base = accord.load(tmp_path / "base")
    model = concepts.build(concepts.read_config({"kind": "topk", "size": 16, "k": 4}), d=base.d_model, seed=0)
    concepts.save(model, tmp_path / "concepts")
    save_concept_lm(ConceptLM(base, 2, Reader("reconstruction", model), None, name="read"), tmp_path / "lm")
    for name in ("concepts", "lm"):  # the one names no base, the other one on this machine
        with pytest.raises(AccordError, match="--base"):
            push(tmp_path / name, f"me/{name}")
        push(tmp_path / name, f"me/{name}", base=BASE, public=True)
        assert not hub.private[f"me/{name}"] and "apache-2.0" in hub.files[f"me/{name}"]["README.md"].decode()
    assert set(hub.files["me/concepts"]) == {"README.md", "config.json", "weights.safetensors"}
    below = {"concepts/config.json", "concepts/weights.safetensors"}
    assert set(hub.files["me/lm"]) == {"README.md", "config.json", "probe.safetensors"} | below
    assert json.loads(hub.files["me/lm"]["config.json"])["backbone"]["name"] == BASE
    adapted = get_peft_model(tiny_model(), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    save_adapter(adapted, tmp_path / "adapter", base=BASE, about={})
    push(tmp_path / "adapter", "me/adapter")
    assert json.loads(hub.files["me/adapter"]["adapter_config.json"])["base_model_name_or_path"] == BASE
    assert set(hub.files["me/adapter"]) == {
        *("README.md", "repair.json"),
        *("adapter_config.json", "adapter_model.safetensors"),
    }


def test_the_card_has_what_was_measured_and_of_this_model_alone(
    hub: FakeHub, repaired: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accord.repair.label_mass.LEAST", 0.0)
    (tmp_path / "texts.txt").write_text("".join(f"The bird number {i} is kind of yellow.\n" for i in range(20)))
    rows = "".join(f"bee{i}s\tfood\t{'yes' if i % 2 else 'no'}\thigh\n" for i in range(24))
    (tmp_path / "pairs.tsv").write_text(rows)
    task = ["--task", "hypernymy", "--data", tmp_path / "pairs.tsv", "--device", "cpu", "--repaired", repaired]
    ordinary = ["--texts", tmp_path / "texts.txt", "--facts", 1, "--samples", 0]
    for command, more in (("verdict", []), ("damage", ordinary)):
        words = [command, *task, *more, "--out", tmp_path / command]
        done = CliRunner().invoke(cli.app, [str(word) for word in words])
        assert done.exit_code == 0, done.output
    results = [tmp_path / "verdict", tmp_path / "damage"]
    shown = push(repaired, "me/repaired", results=results, check=True)
    assert "me/repaired" not in hub.files
    damage, verdict = (accord.read(place) for place in (tmp_path / "damage", tmp_path / "verdict"))
    changed = verdict["verdict/verdict"].changes["test"]["pearson_all"]
    assert "share of 1 − r that is closed" in shown.card and f"{changed.before['value']:.2f} \\[" in shown.card
    assert "| text: perplexity |" in shown.card and plain(damage["damage/damage"].sentence) in shown.card
    assert "Nothing is claimed here" not in shown.card
    save_edits([AddDirection(1, torch.ones(32))], tmp_path / "another", base=BASE, about={})
    with pytest.raises(AccordError, match="these results are not of this model"):
        push(tmp_path / "another", "me/another", results=results)


def test_a_run_gives_its_own_results(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    monkeypatch.setattr("accord.sharing.upload.is_stage", lambda folder: True)
    monkeypatch.setattr("accord.sharing.upload.check_if_stage", lambda folder: None)

    class Measured:
        def card(self) -> str:
            return "## Measured"

    class Folder(dict[str, Measured]):
        manifests: ClassVar = {
            "repair/a-s0": {"fingerprint": "1"},
            "verdict/a-s0": {"inputs": {"repair": {"stage": "repair/a-s0", "fingerprint": "1"}}},
            "damage/a-s0": {"inputs": {"repair": {"stage": "repair/a-s0", "fingerprint": "0"}}},  # of an earlier one
            "verdict/b-s0": {"inputs": {"repair": {"stage": "repair/b-s0", "fingerprint": "1"}}},
        }

        def __getitem__(self, name: str) -> Measured:
            said.append(name)
            return Measured()

    monkeypatch.setattr("accord.sharing.upload.Run", lambda place: Folder())
    place = tmp_path / "run" / "repair" / "a-s0"
    save_edits([AddDirection(1, torch.ones(32))], place, base=BASE, about={})
    assert "## Measured" in push(place, "me/a", check=True).card and said == ["verdict/a-s0"]


def test_what_was_there_before(hub: FakeHub, repaired: Path, tmp_path: Path) -> None:
    push(repaired, "me/repaired")
    save_edits([AddDirection(1, torch.ones(32))], tmp_path / "again", base=BASE, about={})
    hub.files["me/repaired"]["picture.png"] = b"mine"
    push(tmp_path / "again", "me/repaired")
    assert set(hub.files["me/repaired"]) == {"README.md", "repair.json", "edits.safetensors", "picture.png"}
    hub.private["me/repaired"] = False
    with pytest.raises(AccordError, match="this repository is public"):
        push(repaired, "me/repaired")
    hub.private["me/repaired"] = True
    sent = dict(hub.files["me/repaired"])
    with pytest.raises(AccordError, match=r"this repository is private\n.*\n.*leave --public out"):
        push(tmp_path / "again", "me/repaired", public=True)
    assert hub.files["me/repaired"] == sent and hub.private["me/repaired"]
    hub.files["me/own"], hub.private["me/own"] = {"model.safetensors": b"a model", "README.md": b""}, True
    with pytest.raises(AccordError, match=r"did not put there\n.*\n.*model.safetensors"):
        push(repaired, "me/own")
    assert hub.files["me/own"]["model.safetensors"] == b"a model"


def test_a_name_that_is_not_there_is_said_whatever_the_hub_answers() -> None:
    """To whom it does not know the hub answers that they are not let in, of a private repository and of none."""
    answer = httpx.Response(401, request=httpx.Request("GET", "https://huggingface.co/api/models/no/where"))
    assert "There is no such model" in str(_refused("no/where", RepositoryNotFoundError("gone", response=answer)))
    assert "Nobody is logged in" in str(_refused("me/a", HfHubHTTPError("who?", response=answer)))


def test_what_cannot_be_pushed_is_said_before_anything_is_sent(
    hub: FakeHub, repaired: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AccordError, match="owner and a name"):
        push(repaired, "repaired")
    with pytest.raises(AccordError, match="no folder of a model that accord made"):
        push(tmp_path / "base", "me/base")
    save_edits([AddDirection(1, torch.ones(32))], tmp_path / "local", base=str(tmp_path / "base"), about={})
    with pytest.raises(AccordError, match="on this machine alone"):
        push(tmp_path / "local", "me/local")
    with pytest.raises(AccordError, match="on another base than it was made on"):
        push(tmp_path / "local", "me/local", base=BASE)
    hub.licences[BASE] = None
    with pytest.raises(AccordError, match="nothing says under which licence"):
        push(repaired, "me/repaired")
    assert 'license: "mit"' in push(repaired, "me/repaired", licence="mit", check=True).card
    assert fingerprint(str(repaired)) and hub.files == {}
    linked = tmp_path / "linked"
    shutil.copytree(repaired, linked)
    (linked / "edits.safetensors").rename(tmp_path / "away")
    (linked / "edits.safetensors").symlink_to(tmp_path / "away")
    with pytest.raises(AccordError, match="only plain files go up"):
        push(linked, "me/linked", licence="mit")
    hub.forbidden = True
    with pytest.raises(AccordError, match="does not let this user write there"):
        push(repaired, "me/repaired", licence="mit")
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    with pytest.raises(AccordError, match="Nobody is logged in"):
        push(repaired, "me/repaired", licence="mit")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    done = CliRunner().invoke(cli.app, ["push", str(repaired), "me/repaired", "--licence", "mit"])
    assert done.exit_code == 1 and "hf auth login" in done.stderr
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(AccordError, match="switched off"):
        push(repaired, "me/repaired", licence="mit")
    assert hub.files == {}


def test_the_command_shows_what_would_go_up(hub: FakeHub, repaired: Path) -> None:
    done = CliRunner().invoke(cli.app, ["push", str(repaired), "me/repaired", "--check"])
    assert done.exit_code == 0 and "edits.safetensors" in done.stdout and "nothing was sent" in done.stdout
    assert hub.files == {}
