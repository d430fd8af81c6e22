"""Extraction against the model's own hidden states; kills, damage, other settings, memory, progress."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord import cache
from accord.errors import AccordError
from accord.lm import Backbone, load
from accord.text.embeddings import extract
from accord.text.reader import batches, in_order
from accord.text.store import EmbeddingStore
from tests.tiny import tiny_model, tiny_tokenizer

TEXTS = ["A bee is a kind of food.", "", "no", "x", "The birds are kind. " * 3, "Yes, yes.", "naïve café 🙂"] * 3


def backbone(family: str = "llama", *, bos: bool = True) -> Backbone:
    return Backbone(tiny_model(family), tiny_tokenizer(bos=bos))


LM = backbone()


def rows_of(store: EmbeddingStore, layer: int) -> dict[str, Tensor]:
    (batch,) = in_order(store, layer, store.tokens)
    return vars(batch)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@torch.no_grad()
def plain(lm: Backbone, texts: list[str], layer: int) -> dict[str, list[Any]]:
    """One text at a time through transformers itself, its start token left out afterwards."""
    rows: dict[str, list[Any]] = {"x": [], "token": [], "next": [], "text": [], "position": []}
    start = [token for token in (lm.tokenizer.bos_token_id, lm.tokenizer.eos_token_id) if token is not None][:1]
    for number, text in enumerate(texts):
        ids = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
        if ids:
            states = lm.model(torch.tensor([start + ids]), output_hidden_states=True).hidden_states[layer]
            rows["x"] += states[0, len(start) :]
        rows["token"] += ids
        rows["next"] += [*ids[1:], -1][: len(ids)]
        rows["text"] += [number] * len(ids)
        rows["position"] += range(len(ids))
    return rows


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_equal_to_transformers(family: str, bos: bool, tmp_path: Path) -> None:
    lm = backbone(family, bos=bos)
    store = extract(lm, TEXTS, tmp_path, layers=[2, 0, 1], shard_tokens=100, batch_tokens=64)
    assert store.layers == (0, 1, 2)
    assert len(store.layout.shards) > 2
    for layer in store.layers:
        expected, got = plain(lm, TEXTS, layer), rows_of(store, layer)
        torch.testing.assert_close(got["x"], torch.stack(expected.pop("x")), atol=1e-4, rtol=1e-4)
        for name, values in expected.items():
            assert got[name].tolist() == values


def test_the_top_layer_gives_the_models_logits(tmp_path: Path) -> None:
    store = extract(LM, TEXTS[:1], tmp_path)
    assert store.layers == (LM.n_layers,)
    ids = torch.tensor([LM.tokenizer(TEXTS[0])["input_ids"]])  # this tokenizer adds BOS by itself
    with torch.no_grad():
        torch.testing.assert_close(LM.lens(rows_of(store, 3)["x"]), LM.model(ids).logits[0, 1:], atol=1e-4, rtol=1e-4)


def test_nothing_is_left_out_unsaid(tmp_path: Path) -> None:
    lengths = [len(LM.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in TEXTS]
    store = extract(LM, TEXTS, tmp_path / "whole")
    assert store.tokens == sum(lengths)
    assert store.layout.left_out == {"empty": 3, "beyond": 0, "cut": 0}
    assert store.layout.texts == 18
    budget = sum(lengths[:7]) + 3  # the eighth text is cut
    part = extract(LM, TEXTS, tmp_path / "part", max_tokens=budget)
    assert part.tokens == budget
    assert part.layout.texts == 7
    assert part.layout.left_out == {"empty": 3, "beyond": 11, "cut": lengths[7] - 3}
    whole, some = rows_of(store, 3), rows_of(part, 3)
    torch.testing.assert_close(some["x"], whole["x"][:budget], atol=1e-5, rtol=1e-4)
    assert some["next"].tolist() == whole["next"][:budget].tolist()  # also where the budget cut a text


@given(st.integers(2, 30), st.one_of(st.none(), st.integers(1, 40)), st.integers(1, 60), st.integers(1, 90))
@settings(max_examples=15, deadline=None)
def test_windows(max_length: int, stride: int | None, shard: int, budget: int) -> None:
    import tempfile

    texts = ["Yes, a bee is food. " * 2, "no", "birds are kind of food"]
    with tempfile.TemporaryDirectory() as folder:
        store = extract(
            LM, texts, Path(folder), max_length=max_length, stride=stride, shard_tokens=shard, max_tokens=budget
        )
        got = rows_of(store, 3)
    expected = []
    for number, text in enumerate(texts):
        ids = LM.tokenizer(text, add_special_tokens=False)["input_ids"]
        kept = len(ids) if stride else min(len(ids), max_length - 1)
        expected += [(number, place, ids[place], [*ids, -1][place + 1]) for place in range(kept)]
    columns = (got[name].tolist() for name in ("text", "position", "token", "next"))
    assert list(zip(*columns, strict=True)) == expected[:budget]
    assert torch.isfinite(got["x"]).all()


def test_a_window_has_the_context_before_it(tmp_path: Path) -> None:
    text = "The birds are kind. " * 4
    ids = LM.tokenizer(text, add_special_tokens=False)["input_ids"]
    got = rows_of(extract(LM, [text], tmp_path, max_length=21, stride=8), 3)
    with torch.no_grad():  # the third window: tokens 16 to 36, of which 28 on are new
        states = LM.hidden(torch.tensor([[1, *ids[16:36]]]))[3][0]
    torch.testing.assert_close(got["x"][28:36], states[13:21], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_stored_in_less(dtype: str, tmp_path: Path) -> None:
    full = extract(LM, TEXTS, tmp_path / "full")
    half = extract(LM, TEXTS, tmp_path / "half", dtype=dtype)
    kind = getattr(torch, dtype)
    assert half.shard(0, 3)["x"].dtype == kind
    assert half.row_bytes * 2 == full.row_bytes
    torch.testing.assert_close(rows_of(half, 3)["x"], rows_of(full, 3)["x"].to(kind).float(), rtol=2e-2, atol=1e-3)


def test_states_too_large_for_float16(tmp_path: Path) -> None:
    class Large(Backbone):
        factor = 1.0

        def hidden(self, ids: Tensor, **options: Any) -> dict[int, Tensor]:
            return {layer: state * self.factor for layer, state in super().hidden(ids, **options).items()}

    lm = Large(tiny_model("cohere"), tiny_tokenizer())
    lm.factor = 1e6
    with pytest.raises(AccordError, match="not finite"):
        extract(lm, TEXTS, tmp_path / "a", dtype="float16")
    extract(lm, TEXTS, tmp_path / "b", dtype="bfloat16")


# Interrupted, damaged, other settings

CHILD = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.text.test_embeddings import KILLED, LM
from accord.text.embeddings import extract
real = LM.hidden
def slow(ids, **options):
    time.sleep(0.02)
    return real(ids, **options)
LM.hidden = slow
extract(LM, KILLED, Path(sys.argv[1]), layers=[1, 3], shard_tokens=60)
"""
KILLED = [f"{i} birds are a kind of food, " * (1 + i % 4) for i in range(60)]


def test_kill_9_ends_with_the_same_bytes(tmp_path: Path) -> None:
    folder, threads = tmp_path / "killed", torch.get_num_threads()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", ".", *sys.path])}
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], env=environment)
    while len(list(folder.glob("shard-*.safetensors"))) < 3:
        assert child.poll() is None
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    with pytest.raises(AccordError, match="not whole"):
        EmbeddingStore(folder)
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*.safetensors")}
    torch.set_num_threads(1)  # as the child did
    resumed = extract(LM, KILLED, folder, layers=[1, 3], shard_tokens=60)
    whole = extract(LM, KILLED, tmp_path / "whole", layers=[1, 3], shard_tokens=60)
    torch.set_num_threads(threads)
    assert 3 <= len(before) < len(resumed.layout.shards)
    assert {name: (folder / name).stat().st_mtime_ns for name in before} == before
    assert files_of(folder) == files_of(whole.folder)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "harm",
    [
        flip,
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.unlink(),
        lambda path: path.with_suffix(".json").unlink(),
        lambda path: path.with_suffix(".json").write_text("{"),
        lambda path: path.with_suffix(".json").write_text("[]"),
    ],
)
def test_a_damaged_shard_is_made_again(harm: Any, tmp_path: Path) -> None:
    store = extract(LM, TEXTS, tmp_path, shard_tokens=100)
    store.verify()
    before = files_of(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("shard-*.safetensors")}
    harm(tmp_path / "shard-00001.safetensors")
    with pytest.raises(AccordError):
        EmbeddingStore(tmp_path).verify()
    extract(LM, TEXTS, tmp_path, shard_tokens=100).verify()
    assert files_of(tmp_path) == before
    changed = [path.name for path, seen in times.items() if path.stat().st_mtime_ns != seen]
    assert changed == ["shard-00001.safetensors"]


def test_no_changed_bit_is_ever_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shard is hashed once on a machine, by whoever reads it first."""
    monkeypatch.setenv("ACCORD_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_SETTLED", 0)
    hashed: list[str] = []
    real = cache.hash_file
    monkeypatch.setattr(cache, "hash_file", lambda path: hashed.append(path.name) or real(path))
    folder = tmp_path / "store"
    shards = len(extract(LM, TEXTS, folder, layers=[2, 3], shard_tokens=100).layout.shards)
    for _ in range(2):
        store = EmbeddingStore(folder)
        rows_of(store, 3)
        rows_of(store, 2)
    assert len(hashed) == len(set(hashed)) == shards
    second = folder / "shard-00001.safetensors"
    flip(second)
    store = EmbeddingStore(folder)
    store.shard(0, 3)
    for read in (lambda: store.shard(1, 3), lambda: rows_of(store, 3), lambda: next(batches(store, 3, store.tokens))):
        with pytest.raises(AccordError, match="damaged") as caught:
            read()
        assert caught.value.where == second and "changed since" in str(caught.value)
    second.unlink()
    with pytest.raises(AccordError, match="damaged"):
        store.shard(1, 3)


@pytest.mark.parametrize("other", [{"layers": [1]}, {"max_tokens": 9}, {"dtype": "float16"}, {"max_length": 9}])
def test_a_folder_of_other_settings_is_left_alone(other: dict[str, Any], tmp_path: Path) -> None:
    extract(LM, TEXTS, tmp_path)
    before = files_of(tmp_path)
    with pytest.raises(AccordError, match="other settings or texts"):
        extract(LM, TEXTS, tmp_path, **other)
    with pytest.raises(AccordError, match="other settings or texts"):
        extract(LM, TEXTS[1:], tmp_path)
    assert files_of(tmp_path) == before


def test_memory_that_runs_out(tmp_path: Path) -> None:
    class Small(Backbone):
        def hidden(self, ids: Tensor, **options: Any) -> dict[int, Tensor]:
            if len(ids) > 2:
                raise torch.OutOfMemoryError("no room")
            return super().hidden(ids, **options)

    small = extract(Small(tiny_model(), tiny_tokenizer()), TEXTS, tmp_path / "small")
    torch.testing.assert_close(
        rows_of(small, 3)["x"], rows_of(extract(LM, TEXTS, tmp_path / "whole"), 3)["x"], atol=1e-5, rtol=1e-4
    )


def test_shards_whose_layout_is_damaged_are_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    extract(LM, TEXTS, tmp_path, shard_tokens=100)
    before, whole = files_of(tmp_path), (tmp_path / "store.json").read_text()
    for content in (whole[:-9], whole.replace("100", "101", 1), whole.replace('"texts": ', '"text": '), "[]"):
        assert content != whole
        (tmp_path / "store.json").write_text(content)
        with pytest.raises(AccordError, match="no embeddings that this version can read"):
            EmbeddingStore(tmp_path)
        extract(LM, TEXTS, tmp_path, shard_tokens=100).verify()
        assert files_of(tmp_path) == before and "store.json is not as it was written" in caplog.text
        caplog.clear()


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors import SafetensorError

    from accord.text import store

    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(store, "save_file", full)
    with pytest.raises(OSError, match="No space left") as caught:
        extract(LM, TEXTS, tmp_path)
    assert caught.value.errno == 28


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    first: list[tuple[int, int]] = []
    again: list[tuple[int, int]] = []
    store = extract(LM, TEXTS, tmp_path, shard_tokens=50, progress=lambda *counts: first.append(counts))
    extract(LM, TEXTS, tmp_path, shard_tokens=50, progress=lambda *counts: again.append(counts))
    for seen in (first, again):
        assert seen == sorted(seen)
        assert seen[-1] == (store.tokens, store.tokens)
    assert len(again) == len(store.layout.shards)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"layers": [4]}, "no such layer"),
        ({"layers": []}, "no layer"),
        ({"dtype": "int8"}, "unknown dtype"),
        ({"shard_tokens": 0}, "shard_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stride": 0}, "stride"),
        ({"max_length": 1}, "leaves no room"),
    ],
)
def test_senseless_settings(wrong: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(AccordError, match=words):
        extract(LM, TEXTS, tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()


def test_no_tokens(tmp_path: Path) -> None:
    with pytest.raises(AccordError, match="No text has a token"):
        extract(LM, ["", ""], tmp_path)


@pytest.mark.real
def test_a_real_model(tmp_path: Path) -> None:
    lm = load("smollm2-135m", device="cpu")
    texts = ["The capital of France is Paris.", "A bee is an insect.", "Yes."]
    store = extract(lm, texts, tmp_path, layers=[12, 30], dtype="bfloat16")
    for layer in (12, 30):
        got = rows_of(store, layer)
        with torch.no_grad():
            ids = torch.tensor([[lm.tokenizer.bos_token_id, *got["token"][got["text"] == 1].tolist()]])
            states = lm.hidden(ids, layers=[layer])[layer][0, 1:]
        torch.testing.assert_close(got["x"][got["text"] == 1], states, rtol=2e-2, atol=2e-2)
        # the start token's own state dwarfs the others: why it is not stored
        with torch.no_grad():
            first = lm.hidden(ids, layers=[12])[12][0, 0]
    assert first.norm() > 5 * rows_of(store, 12)["x"].norm(dim=1).max()
