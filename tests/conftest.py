"""What tests of several rooms need."""

from collections import Counter
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# Of what is tried at random: the same in every run of the suite, without a clock; other examples in every `make fuzz`.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.register_profile("fuzz", deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones come first: other workers would wait for a minute's test that is begun last."""
    items.sort(key=lambda item: item.get_closest_marker("real") is None and item.path.name != "test_gpu.py")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    """The last line tells what was not tested. A reason to skip says what of, and how to have it tested."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    if reasons:
        reporter.write_line("not tested: " + ", ".join(f"{n} {reason}" for reason, n in reasons.items()))


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
