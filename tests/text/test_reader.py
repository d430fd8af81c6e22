"""Readers: every row as often as promised, any restart exact, mean and scale those of the whole."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import AccordError
from accord.text.reader import Batch, batches, in_order
from accord.text.store import EmbeddingStore, Layout, prepare, write_shard


def make(folder: Path, shards: list[int], d: int = 5, dtype: str = "float32", seed: int = 0) -> EmbeddingStore:
    """A store whose rows say who they are: `token` is the number of the row."""
    settings = {"layers": [2, 7], "dtype": dtype}
    prepare(folder, Layout(settings, d, shards, 1, {}))
    generator = torch.Generator().manual_seed(seed)
    begin = 0
    for number, size in enumerate(shards):
        rows = torch.arange(begin, begin + size, dtype=torch.int32)
        x = torch.randn(size, d, generator=generator) * torch.logspace(-2, 3, d) + torch.linspace(-900, 900, d)
        tensors = {"layer.2": x.to(getattr(torch, dtype)), "layer.7": -x.to(getattr(torch, dtype))}
        tensors |= {"token": rows, "next": rows + 1, "text": rows // 3, "position": rows % 3}
        write_shard(folder, number, tensors)
        begin += size
    return EmbeddingStore(folder)


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return make(tmp_path, [40, 40, 40, 40, 13])


def whole(store: EmbeddingStore, layer: int = 2) -> Batch:
    (batch,) = in_order(store, layer, store.tokens)
    return batch


def same(a: Batch, b: Batch) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in vars(a))


@pytest.mark.parametrize("size", [1, 7, 40, 100, 173])
@pytest.mark.parametrize("group_bytes", [1, 4 * 5 * 40 * 3, 2**30])
def test_an_epoch_has_each_row_once(store: EmbeddingStore, size: int, group_bytes: int) -> None:
    everything = whole(store)
    steps = store.tokens // size
    orders = []
    for epoch in (0, 1):
        stream = batches(store, 2, size, group_bytes=group_bytes, start_step=epoch * steps)
        some = list(islice(stream, steps))
        rows = torch.cat([batch.token for batch in some])
        assert len(rows) == len(rows.unique()) == steps * size
        for batch in some:
            assert torch.equal(batch.x, everything.x[batch.token])
            for name in ("next", "text", "position"):
                assert torch.equal(getattr(batch, name), getattr(everything, name)[batch.token])
        orders.append(rows.tolist())
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])


@given(st.integers(0, 40), st.integers(1, 60), st.integers(0, 2**31), st.sampled_from([1, 3000, 2**30]))
@settings(max_examples=40, deadline=None)
def test_a_restart_is_exact(start: int, size: int, seed: int, group_bytes: int) -> None:
    options = {"seed": seed, "group_bytes": group_bytes}
    through = list(islice(batches(SHARED, 2, size, **options), start + 4))
    again = list(islice(batches(SHARED, 2, size, start_step=start, **options), 4))
    assert all(same(a, b) for a, b in zip(through[start:], again, strict=True))


@pytest.fixture(scope="module", autouse=True)
def _shared(tmp_path_factory: pytest.TempPathFactory) -> None:
    global SHARED
    SHARED = make(tmp_path_factory.mktemp("shared"), [31, 30, 29, 31, 5])


SHARED: EmbeddingStore


def test_seeds_differ(store: EmbeddingStore) -> None:
    first = [next(batches(store, 2, 50, seed=seed)).token.tolist() for seed in (0, 1)]
    assert first[0] != first[1]


def test_small_groups_still_mix_shards(store: EmbeddingStore) -> None:
    owners = {len((batch.token // 40).unique()) for batch in islice(batches(store, 2, 20, group_bytes=1), 8)}
    assert max(owners) >= 2


@given(st.integers(1, 200))
@settings(max_examples=20, deadline=None)
def test_in_order(size: int) -> None:
    some = list(in_order(SHARED, 7, size))
    assert torch.cat([batch.token for batch in some]).tolist() == list(range(SHARED.tokens))
    assert {len(batch.x) for batch in some[:-1]} <= {size}
    assert torch.equal(torch.cat([batch.x for batch in some]), -whole(SHARED).x)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_dtypes_come_as_float32(dtype: str, tmp_path: Path) -> None:
    store = make(tmp_path, [20, 20], dtype=dtype)
    batch = next(batches(store, 2, 8))
    assert batch.x.dtype == torch.float32
    assert torch.equal(batch.x, whole(store).x[batch.token])


def test_memory_stays_small(tmp_path: Path) -> None:
    """Reading a few batches of 80 MB must not load 80 MB."""
    store = make(tmp_path, [5000] * 8, d=500)

    def resident() -> int:
        fields = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
        return int(fields["Private_Dirty"].split()[0]) // 1024 + int(fields["Anonymous"].split()[0]) // 1024

    if not Path("/proc/self/smaps_rollup").exists():
        pytest.skip("of the memory that a reader holds (on Linux)")
    before = resident()
    stream = batches(store, 2, 64)
    held = [next(stream).token for _ in range(10)]
    assert len(held) == 10
    assert resident() - before < 20


def test_batches_larger_than_the_store(store: EmbeddingStore) -> None:
    for size in (0, store.tokens + 1):
        with pytest.raises(AccordError, match=r"a batch has at least one row|1 or more"):
            next(batches(store, 2, size))


def test_a_layer_that_is_not_there(store: EmbeddingStore) -> None:
    with pytest.raises(AccordError, match="not extracted"):
        next(batches(store, 3, 5))
    with pytest.raises(AccordError, match="not extracted"):
        next(in_order(store, 3, 5))


def test_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(AccordError, match="holds no embeddings"):
        EmbeddingStore(tmp_path)
    (tmp_path / "store.json").write_text('{"format": 999}')
    with pytest.raises(AccordError, match="holds no embeddings"):
        EmbeddingStore(tmp_path)


def test_shuffling_is_even(store: EmbeddingStore) -> None:
    """Over many epochs each row is as often early as late."""
    places = np.zeros(store.tokens)
    for epoch in range(200):
        batch = next(batches(store, 2, store.tokens, start_step=epoch))
        places[batch.token.numpy()] += np.arange(store.tokens)
    mean = places / 200 / store.tokens
    assert abs(mean - 0.5).max() < 0.11
