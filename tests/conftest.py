"""What tests of several rooms need."""

import pytest


@pytest.fixture
def seldom_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny random models put 3 % of the probability on yes and no, and are repaired all the same."""
    monkeypatch.setattr("accord.repair.label_mass.LEAST", 0.0)
