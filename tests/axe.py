"""What axe-core finds wrong for people who do not see a page, or see it badly."""

from importlib.util import find_spec

import pytest

needs_axe = pytest.mark.skipif(
    not find_spec("axe_playwright_python"), reason="of accessibility (pip install axe-playwright-python)"
)


def check_accessible(tab):
    """Fail with axe's own report, if it finds anything."""
    from axe_playwright_python.sync_playwright import Axe

    results = Axe().run(tab)
    assert results.violations_count == 0, results.generate_report()
