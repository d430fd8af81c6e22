"""Measures without an interval say why on the page."""

import json
from pathlib import Path

from accord.gap import summarize
from accord.report.data import read_gap
from accord.report.gap_page import gap_section
from tests.report.conftest import write_gap
