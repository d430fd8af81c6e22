"""Configurations of adapters, of any content: refused in a moment, or sound; nothing that they claim is made."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.ends_well import broken_texts, changed, ends_well, examples, torn
from tests.tiny import tiny_hub_folder, tiny_model

from accord.errors import AccordError
from accord.lm.adapters import check_adapter
from accord.lm.catalog import resolve
from accord.lm.fingerprint import ADAPTER_CONFIG


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that plain peft saved, beside its base."""
    from peft import LoraConfig, get_peft_model

    made = tmp_path_factory.mktemp("adapters")
    tiny_hub_folder(made / "base")
    config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    get_peft_model(tiny_model(), config).save_pretrained(made / "adapter")
    file = made / "adapter" / ADAPTER_CONFIG
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": "../base"}))
    return made / "adapter"


@pytest.fixture(scope="module")
def settings(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / ADAPTER_CONFIG).read_text())
    return content


def read(folder: Path, data: bytes) -> str | None:
    """What opening the folder asks of the file before anything is loaded."""
    file = folder / ADAPTER_CONFIG
    before = file.read_bytes()
    file.write_bytes(data)

    def opened() -> None:
        resolve(str(folder))
        check_adapter(folder)

    try:
        return ends_well(opened)
    finally:
        file.write_bytes(before)


def test_the_configuration_itself_is_sound(folder: Path, settings: dict[str, Any]) -> None:
    assert read(folder, json.dumps(settings).encode()) is None
    assert "claims more" in str(read(folder, json.dumps({**settings, "r": 10**9}).encode()))
    with pytest.raises(AccordError):
        resolve(str(folder / "absent"))


@examples(40)
@given(data=st.data())
def test_a_configuration_of_any_tables(folder: Path, settings: dict[str, Any], data: st.DataObject) -> None:
    read(folder, json.dumps(data.draw(changed(settings, broken_texts, none=True))).encode())


@examples(40)
@given(data=st.data())
def test_a_configuration_of_any_bytes(folder: Path, settings: dict[str, Any], data: st.DataObject) -> None:
    read(folder, data.draw(torn(json.dumps(settings).encode())))
