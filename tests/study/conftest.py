"""What tests of studies share."""

from collections.abc import Callable
from typing import Any

import pytest

UNDRAWN = True  # pages are not made of results yet: when they are, drop this, and what asks for it


def no_pages(replace: Callable[[Any, str, Any], None]) -> None:
    """Replace what draws pages and figures."""
    import accord.report

    if UNDRAWN:
        for name in ("write_report", "write_figures"):
            replace(accord.report, name, lambda folder: (folder / "report.html").write_text("undrawn"))


@pytest.fixture(autouse=True)
def undrawn():
    """No page and no figure is drawn, whatever a test undoes."""
    with pytest.MonkeyPatch.context() as patch:
        no_pages(patch.setattr)
        yield
