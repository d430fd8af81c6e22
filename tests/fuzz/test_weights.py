"""Headers of files of weights, whatever they claim."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from tests.fuzz.ends_well import broken_texts, changed, ends_well, examples, torn

from accord.lm.checkpoint import read_header

HEADER = {
    "__metadata__": {"format": "pt"},
    "model.embed_tokens.weight": {"dtype": "F32", "shape": [4, 2], "data_offsets": [0, 32]},
    "model.norm.weight": {"dtype": "BF16", "shape": [2], "data_offsets": [32, 36]},
}


def safetensors(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + bytes(36)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


def read(file: Path, data: bytes) -> str | None:
    file.write_bytes(data)

    def tensors() -> None:
        """What `read_header` gives is used without a further look."""
        for tensor in read_header(file).values():
            assert isinstance(tensor["dtype"], str) and all(type(n) is int for n in tensor["shape"])

    return ends_well(tensors, file)


def test_the_header_itself_is_sound(folder: Path) -> None:
    assert read(folder / "s.safetensors", safetensors(json.dumps(HEADER).encode())) is None


@examples(40)
@example({**HEADER, "model.norm.weight": {"dtype": [], "shape": [2], "data_offsets": [32, 36]}})
@example({**HEADER, "model.norm.weight": {"dtype": "F32", "shape": [2**63], "data_offsets": [32, 36]}})
@example({**HEADER, "model.norm.weight": {"dtype": "BF16", "shape": [2], "data_offsets": [32.0, 36.0]}})
@given(content=changed(HEADER, broken_texts, none=True))
def test_a_header_of_any_tables(folder: Path, content: Any) -> None:
    read(folder / "s.safetensors", safetensors(json.dumps(content).encode()))


@examples(40)
@example(safetensors(b"[" * 100_000))
@example(bytes([255] * 7) + bytes(30))
@given(data=torn(safetensors(json.dumps(HEADER).encode())))
def test_a_header_of_any_bytes(folder: Path, data: bytes) -> None:
    read(folder / "s.safetensors", data)
