"""A dictionary of concepts with their names and scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from accord.concepts.result import METRICS
from accord.disk import read_object
from accord.study.work import write_json

if TYPE_CHECKING:
    from accord.names.collect import Names
    from accord.names.dictionary import Dictionary

_CONCEPTS, _EXAMPLES = "concepts.parquet", "examples.parquet"
