"""Each way a folder is opened, with each of its files replaced by something hostile: one clear error, and no pickle."""

import json
import pickle
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import accord
from accord import cli, concepts
from accord.concepts import import_dictionary
from accord.errors import AccordError
from accord.heads import ConceptLM, Reader, build_head, save_concept_lm
from accord.heads.config import NewHead
from accord.lm.edited import Readout
from accord.loading import check_model, check_opens, fingerprint, shape, vocabulary_size, weights_bytes
from accord.repair import merge, save_adapter, save_edits
from accord.repair.folder import save_weights
from accord.repair.result import base_of
from accord.steering import AddDirection, EditConcepts
from accord.text import corpus
from accord.text.embeddings import extract
from accord.text.store import EmbeddingStore
from tests.tiny import tiny_hub_folder, tiny_model, tiny_texts

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
ran: list[str] = []


class Bomb:
    """A pickle that is noticed where it is opened."""

    def __reduce__(self) -> tuple[Any, ...]:
        return ran.append, ("opened",)


@pytest.fixture(autouse=True)
def no_pickle(monkeypatch: pytest.MonkeyPatch) -> Any:
    """No file reaches `torch.load`, not even where it is to take weights alone, and no pickle is opened otherwise."""
    ran.clear()
    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads")):
        monkeypatch.setattr(module, name, lambda *_, name=name, **__: ran.append(name))
    yield
    assert not ran


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of every kind that accord opens."""
    root = tmp_path_factory.mktemp("made")
    tiny_hub_folder(base := root / "model")
    lm = accord.load(base)
    assert isinstance(lm, accord.Backbone)
    names = {"base": str(base), "about": {}}
    adapted = get_peft_model(tiny_model("llama"), LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    save_adapter(adapted, root / "repaired-adapter", **names)
    shutil.copytree(root / "repaired-adapter", root / "adapter", ignore=shutil.ignore_patterns("repair.json"))
    reconfigure(root / "adapter" / "adapter_config.json", base_model_name_or_path="../model")
    save_weights(lm, root / "repaired-weights", **names)
    model = concepts.build(concepts.read_config({"kind": "topk", "size": 16, "k": 4}), d=lm.d_model, seed=0)
    concepts.save(model, root / "concepts")
    direction = torch.ones(lm.d_model)
    edits = [AddDirection(1, direction), EditConcepts(2, model, {3: concepts.Scale(4.0)}),
             Readout((2,), 2 * direction, 0.5, (7, 8), (9,))]  # fmt: skip
    save_edits(edits, root / "repaired-edits", **names)
    extract(lm, tiny_texts(4), root / "store")
    x = EmbeddingStore(root / "store").shard(0, lm.n_layers)["x"]
    reader = Reader("latents", model)
    save_concept_lm(ConceptLM(lm, lm.n_layers, reader, build_head(NewHead(), lm, reader, x)), root / "concept-lm")
    sparsify = {"activation": "topk", "expansion_factor": 32, "normalize_decoder": True, "num_latents": 4, "k": 2,
                "multi_topk": False, "skip_connection": False, "transcode": False, "d_in": 3}  # fmt: skip
    (root / "dictionary").mkdir()
    (root / "dictionary" / "cfg.json").write_text(json.dumps(sparsify))
    shapes = {"encoder.weight": (4, 3), "encoder.bias": (4,), "W_dec": (4, 3), "b_dec": (3,)}
    save_file({name: torch.ones(shape) for name, shape in shapes.items()}, root / "dictionary" / "sae.safetensors")
    (root / "arrays").mkdir()
    gemma = {"W_enc": (3, 4), "W_dec": (4, 3), "b_enc": (4,), "b_dec": (3,), "threshold": (4,)}
    np.savez(root / "arrays" / "params.npz", **{name: np.ones(shape, "f4") for name, shape in gemma.items()})
    return root


def reconfigure(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def read_store(folder: Path) -> None:
    store = EmbeddingStore(folder)
    store.verify()
    store.shard(0, store.layers[0])


def loaded(folder: Path) -> None:
    """What is asked about a model before it is loaded, then that."""
    for ask in (check_model, check_opens, fingerprint, weights_bytes):
        ask(str(folder))
    if folder.name in ("model", "adapter"):
        shape(str(folder))
        vocabulary_size(str(folder))
    accord.load(folder)


WAYS: dict[str, Callable[[Path], Any]] = {
    "model": loaded, "adapter": loaded, "repaired-adapter": loaded, "repaired-weights": loaded,
    "repaired-edits": loaded, "concept-lm": loaded, "concepts": concepts.load, "dictionary": import_dictionary,
    "arrays": import_dictionary, "store": read_store,
}  # fmt: skip
TEXTS = ("[]", '{"a":' * 20_000, f'{{"a": {"9" * 5000}}}', "")


def spoilt(table: dict[str, Any]) -> Iterator[str]:
    """A table with each of its values in turn replaced by one that it cannot be."""
    for key in table if len(table) < 12 else ():
        for value in (None, -1):
            yield json.dumps(table | {key: value})


@pytest.mark.parametrize("kind", WAYS)
def test_no_file_of_a_folder_is_opened_as_a_pickle_or_crashes(made: Path, tmp_path: Path, kind: str) -> None:
    open_folder = WAYS[kind]
    shutil.copytree(made / "model", tmp_path / "model")
    folder = tmp_path / kind
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made / kind, folder)
    open_folder(folder)
    bomb, raw = pickle.dumps(Bomb()), []
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md"]
    if kind != "model":  # files of the same name are tried there
        files = [path for path in files if path.suffix != ".json" or not (tmp_path / "model" / path.name).exists()]
    for file in files:
        whole = file.read_bytes()
        if file.name == "probe.safetensors":
            reconfigure(folder / "config.json", backbone={"name": str(tmp_path / "model"), "fingerprint": "another"})
        if weights := file.suffix in (".safetensors", ".npz"):
            contents: list[str | bytes] = [bomb, ""]
        else:
            contents = [bomb, *TEXTS, *(spoilt(json.loads(whole)) if kind != "model" else ())]
        for content in contents:
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
            try:
                open_folder(folder)
                opened = True
            except AccordError:
                opened = False
            except Exception as error:
                raw.append(f"{file.name} = {content[:20]!r}: {error!r}")
            if weights and opened:
                raw.append(f"{file.name} = {content[:20]!r} opened")
        if weights:  # gone, and pickled by the names that others give them
            file.unlink()
            for suffix in PICKLED:
                file.with_suffix(suffix).write_bytes(bomb)
            (file.parent / "pytorch_model.bin").write_bytes(bomb)
            with pytest.raises(AccordError):
                open_folder(folder)
            for path in (*(file.with_suffix(suffix) for suffix in PICKLED), file.parent / "pytorch_model.bin"):
                path.unlink()
        file.write_bytes(whole)
    open_folder(folder)
    assert not raw, "\n".join(raw)


def test_an_adapter_to_be_merged_is_no_pickle(made: Path, tmp_path: Path) -> None:
    for kind in ("adapter", "repaired-adapter"):
        shutil.copytree(made / kind, tmp_path / kind)
        reconfigure(tmp_path / kind / "adapter_config.json", base_model_name_or_path=str(made / "model"))
        (tmp_path / kind / "adapter_model.safetensors").unlink()
        (tmp_path / kind / "adapter_model.bin").write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(AccordError, match=r"pickled: refused|repaired from another base"):
            merge(tmp_path / kind, tmp_path / "merged")


def test_an_index_names_safetensors_alone(made: Path, tmp_path: Path) -> None:
    """By another name transformers would open a shard as a pickle, whatever it is."""
    shutil.copytree(made / "model", folder := tmp_path / "model")
    names = load_file(folder / "model.safetensors").keys()
    (folder / "model.safetensors").rename(folder / "weights.bin")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "weights.bin")}))
    with pytest.raises(AccordError, match="not safetensors"):
        accord.load(folder)
    for broken in ([], {}, 3, dict.fromkeys(names, 3), {name: ["weights.bin"] for name in names}):
        index.write_text(json.dumps({"weight_map": broken}))
        with pytest.raises(AccordError, match="index of the weights cannot be read"):
            accord.load(folder)


def test_an_adapter_in_a_folder_of_a_model_is_left_alone(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "model", folder := tmp_path / "model")
    for name in ("none", "None", "null"):
        shutil.copytree(made / "adapter", folder / name)
        (folder / name / "adapter_model.safetensors").rename(folder / name / "adapter_model.bin")
    lm = accord.load(folder)
    assert isinstance(lm, accord.Backbone) and not any("lora" in name for name, _ in lm.model.named_modules())


@pytest.mark.parametrize(
    "change",
    [
        {"num_attention_heads": 0}, {"num_attention_heads": -4}, {"num_hidden_layers": 0}, {"vocab_size": 0},
        {"num_labels": 10**9}, {"num_hidden_layers": 2**40}, {"quantization_config": {"quant_method": []}},
        {"text_config": 3}, {"model_type": ["llama"]}, {"hidden_act": "none"},
    ],
    ids=str,
)  # fmt: skip
def test_a_configuration_of_no_model_is_refused_before_it_is_loaded(
    made: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    shutil.copytree(made / "model", folder := tmp_path / "model")
    reconfigure(folder / "config.json", **change)
    with pytest.raises(AccordError):
        (accord.load if "hidden_act" in change else lambda path: check_opens(str(path)))(folder)


@pytest.mark.parametrize("config", ["[]", '{"model_type": "llama", "num_attention_heads": 0}'])
def test_a_check_of_a_study_finds_it(made: Path, tmp_path: Path, config: str) -> None:
    shutil.copytree(made / "model", tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(config)
    (tmp_path / "s.toml").write_text('name = "s"\n[backbone]\nmodel = "m"\n[[gap]]\ntask = "hypernymy"\n')
    done = CliRunner().invoke(cli.app, ["run", str(tmp_path / "s.toml"), "--check"])
    assert done.exit_code == 1 and "s.toml:3, [backbone], key model" in done.stderr and "Traceback" not in done.stderr


def test_tokens_that_end_a_text_are_numbers(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "model", folder := tmp_path / "model")
    for wrong in ("x", [[1]], {"a": 1}):
        reconfigure(folder / "generation_config.json", eos_token_id=wrong)
        with pytest.raises(AccordError):
            accord.load(folder)


def test_a_data_set_of_tensors_is_not_read(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "one.pth").write_bytes(pickle.dumps(Bomb()))
    with tarfile.open(tmp_path / "train.tar", "w") as archive:
        archive.add(tmp_path / "one.pth", "one.pth")
    (tmp_path / "one.pth").unlink()
    (tmp_path / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files: train.tar\n---\n")
    with pytest.raises(AccordError, match="a kind that is not read") as caught:
        corpus(str(tmp_path), column="pth")
    assert "webdataset" in str(caught.value)


@pytest.mark.parametrize("name", ["base.gguf", "task.parquet", "texts.parquet"])
def test_a_file_that_is_a_pickle_is_none_of_these(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    table = {
        "name": "t",
        "data": str(tmp_path / name),
        "generator": "{a}",
        "validator": "{b}?",
        "answer": "b",
        "gold": "g",
    }
    ways: dict[str, Callable[[], Any]] = {
        "base.gguf": lambda: accord.load(tmp_path / name),
        "task.parquet": lambda: accord.task(table),
        "texts.parquet": lambda: corpus(str(tmp_path / name)),
    }
    with pytest.raises(AccordError):
        ways[name]()


def test_the_base_of_a_repair_may_be_hostile_too(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "model", tmp_path / "model")
    shutil.copytree(made / "repaired-adapter", tmp_path / "repaired-adapter")
    assert Path(base_of(tmp_path / "repaired-adapter")) == tmp_path / "model"
    (tmp_path / "model" / "model.safetensors").rename(tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(AccordError, match="pickled: refused"):
        accord.load(tmp_path / "repaired-adapter")
