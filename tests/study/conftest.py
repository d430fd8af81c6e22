"""What tests of studies share."""

import pytest

UNDRAWN = True  # pages are not made of results yet: when they are, drop this, and `undrawn` with it


@pytest.fixture(autouse=True)
def undrawn():
    """No page and no figure is drawn, whatever a test undoes."""
    with pytest.MonkeyPatch.context() as patch:
        if UNDRAWN:
            for name in ("write_report", "write_figures"):
                patch.setattr(f"accord.report.{name}", lambda folder: (folder / "report.html").write_text("undrawn"))
        yield
