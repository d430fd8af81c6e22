"""The line of a value, in every way that TOML can spell it."""

import pytest

from accord.study.toml_lines import line_of

TEXT = '''# comment
name = "x"   # line 2
notes = """
gap = "not a key"
"""

[backbone]
"model" = "m"
other.dotted.key = 1

[[gap]]
task = "a"

[[gap]]
task = "b"
list = [
  1,
  2,
]
deep = [
  {one = 1},
  {two = 2},
]

[tasks.mine]
answer = "a"
[tasks."your's"]
answer = "b"
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("name",), 2),
        (("notes",), 3),
        (("backbone",), 7),
        (("backbone", "model"), 8),
        (("backbone", "other", "dotted", "key"), 9),
        (("gap",), 11),
        (("gap", 0), 11),
        (("gap", 0, "task"), 12),
        (("gap", 1), 14),
        (("gap", 1, "task"), 15),
        (("gap", 1, "absent"), 14),
        (("gap", 1, "list", 1), 16),
        (("gap", 1, "deep", 1, "two"), 22),
        (("tasks", "mine", "answer"), 26),
        (("tasks", "your's", "answer"), 28),
        (("absent", "key"), 1),
        ((), 1),
    ],
)
def test_line(path, line):
    assert line_of(TEXT, path) == line
    assert line_of(TEXT.replace("\n", "\r\n"), path) == line
