"""Letters in texts."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Letters:
    """How often a letter is in the texts."""

    count: int

    def write(self, folder: Path) -> None:
        """Write metrics.json."""
        (folder / "metrics.json").write_text(json.dumps({"count": self.count}))

    @classmethod
    def read(cls, folder: Path) -> "Letters":
        """What `write` wrote."""
        return cls(**json.loads((folder / "metrics.json").read_text()))


RESULTS = {"toy": Letters}
OBJECTIVES = {"toy": ("count",)}
