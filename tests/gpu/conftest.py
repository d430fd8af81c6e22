"""The tests of a GPU: what it computes beside what the CPU computes, to a stated tolerance.

`make test-gpu` runs them on a GPU. The ordinary suite runs the same bodies on the simulated device (tests/test_gpu.py),
so that none of them is first read where a GPU is.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

import accord
from accord.lm import LanguageModel
from accord.tasks import CustomTask, Task
from tests import devices
from tests.tiny import tiny_model, tiny_texts, tiny_tokenizer

ON = "ACCORD_TEST_DEVICE"  # "cuda" where it is not set
collect_ignore = ["test_kernels.py"] if os.environ.get(ON) == devices.NAME else []  # nothing stands for a kernel
WORDS = ("ant", "ape", "asp", "bat", "bee", "bug", "cat", "cod", "cow")
SHOTS = ({"one": "dog", "two": "doe", "same": "yes"}, {"one": "elk", "two": "fox", "same": "no"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("gpu")


@pytest.fixture(scope="session")
def device() -> torch.device:
    """A GPU, or the device that stands for one."""
    if os.environ.get(ON, "cuda") == devices.NAME:
        return devices.install()
    if not torch.cuda.is_available():
        pytest.skip("of the numbers on a GPU (make test-gpu, where there is one)")
    return torch.device("cuda", 0)


@pytest.fixture(scope="session", autouse=True)
def _undrawn(device: torch.device) -> Iterator[None]:
    """On the simulated device figures are left blank: drawing them is half of a tiny study's time, and on no device."""

    def blank(_: Figure, file: Any, format: str, **__: Any) -> None:
        if hasattr(file, "write"):
            file.write('<svg viewBox="0 0 1 1"></svg>')
        else:
            Path(file).write_text('<svg viewBox="0 0 1 1"></svg>')

    with pytest.MonkeyPatch.context() as patched:
        if device.type == devices.NAME:
            patched.setattr(Figure, "savefig", blank)
        yield


@pytest.fixture(autouse=True)
def _repaired_all_the_same(seldom_answers: None) -> None:
    """Tiny random models seldom answer with yes or no."""


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    tiny_model("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def open_on(device: torch.device) -> Callable[[Path], tuple[LanguageModel, LanguageModel]]:
    """The model of a folder on the CPU and on the device, both in float32."""

    def opened(folder: Path) -> tuple[LanguageModel, LanguageModel]:
        return (
            accord.load(folder, device="cpu", dtype="float32"),
            accord.load(folder, device="auto", dtype="float32"),
        )

    return opened


@pytest.fixture(scope="session")
def models(base: Path, open_on: Callable[[Path], Any]) -> tuple[LanguageModel, LanguageModel]:
    """The tiny model on the CPU and on the device."""
    here, there = open_on(base)
    assert here.device.type == "cpu" and there.device.type != "cpu"
    return here, there


@pytest.fixture(scope="session")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """36 items: do two words share their first letter?"""
    data = tmp_path_factory.mktemp("words") / "pairs.csv"
    pairs = [(a, b) for a in WORDS for b in WORDS if a < b]
    data.write_text("one,two,same\n" + "".join(f"{a},{b},{'yes' if a[0] == b[0] else 'no'}\n" for a, b in pairs))
    forms = dict(generator="{One} is like", validator="Is {one} like {two}? Answer:", negated="{One} is not like")
    custom = CustomTask(name="letters", data=data, answer="two", gold="same", shots=SHOTS, **forms)
    return accord.task(custom, split="all")


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return tiny_texts()
