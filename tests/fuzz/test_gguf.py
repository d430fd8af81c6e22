"""Headers of GGUF files, whatever they claim."""

from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.ends_well import ends_well, examples, torn

from accord.lm.gguf import convert


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf")


def gguf_file(file: Path) -> bytes:
    """A small one, whose architecture transformers does not know: what is tried is what comes before it."""
    writer = gguf.GGUFWriter(file, "unknown")
    writer.add_context_length(16)
    writer.add_token_list([f"t{i}" for i in range(8)])
    writer.add_token_scores([0.5] * 8)
    writer.add_chat_template("{{ messages }}")
    writer.add_tensor("token_embd.weight", np.zeros((8, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file.read_bytes()


@pytest.fixture(scope="module")
def gguf_bytes(folder: Path) -> bytes:
    return gguf_file(folder / "sound.gguf")


def converted(file: Path, data: bytes) -> str | None:
    file.write_bytes(data)
    (file.parent / "into").mkdir(exist_ok=True)
    return ends_well(lambda: convert(file, file.parent / "into"), file)


def test_the_file_itself_is_read(folder: Path, gguf_bytes: bytes) -> None:
    assert "unknown" in str(converted(folder / "model.gguf", gguf_bytes))


@examples(40)
@given(data=st.data())
def test_a_gguf_of_any_bytes(folder: Path, gguf_bytes: bytes, data: st.DataObject) -> None:
    converted(folder / "model.gguf", data.draw(torn(gguf_bytes)))


@examples(40)
@given(at=st.integers(0, 600), number=st.sampled_from([0, 1, 2**8, 2**20, 2**31 - 1, 2**31, 2**40, 2**63, 2**64 - 1]))
def test_a_gguf_with_any_numbers(folder: Path, gguf_bytes: bytes, at: int, number: int) -> None:
    """In each place of 8 bytes, or of 4: counts, lengths, types, shapes, places of tensors."""
    for size in (8, 4):
        changed = gguf_bytes[:at] + (number % 256**size).to_bytes(size, "little") + gguf_bytes[at + size :]
        converted(folder / "model.gguf", changed)
