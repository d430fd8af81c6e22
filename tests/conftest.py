"""What tests of several rooms need."""

import pytest


@pytest.fixture
def seldom_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny random models put 3 % of the probability on yes and no, and are repaired all the same."""
    monkeypatch.setattr("accord.repair.label_mass.LEAST", 0.0)


@pytest.fixture(autouse=True)
def costs_of_their_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stages of tests take tells nothing of the user's own."""
    path = tmp_path_factory.getbasetemp() / "costs.json"
    monkeypatch.setattr("accord.study.costs._file", lambda: path)


@pytest.fixture(autouse=True)
def the_same_on_every_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests compare with float32 references, whatever units the machine has."""
    monkeypatch.setattr("accord.on_cpu.multiplies_bfloat16", lambda: False)
