"""The lower bounds that pyproject.toml claims are those that `make test-oldest` tries."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def test_every_lower_bound_is_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]
    claimed = {}
    for line in (*project["dependencies"], *extra["hub"], *extra["sentiment"], *extra["ray"]):
        need = Requirement(line)
        (bound,) = need.specifier
        assert bound.operator == ">=", line
        claimed[need.name] = Version(bound.version)
    pins = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints-oldest.txt").read_text(), re.MULTILINE)
    assert {name: Version(version) for name, version in pins} == claimed
