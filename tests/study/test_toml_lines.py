"""The line of a value, and another in its place, in every way that TOML can spell it."""

import tomllib

import pytest
import tomlkit

from accord.study.toml_lines import line_of, put

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


ODD = """# c
name = "s"  # the name
backbone.model = 'm' # model
text = { source = '''
a''', max = {low = 1, high=2} } # text

[[gap]]
task = "a"
[gap.deep]
x = {low=1, high = 2}   # x

[tasks."your's"]
data = "d.csv"

[[gap]]
"task" = "b" # task
"limit" = { 'choices' = [ # }
  1, 2,
] } # limit
list = [ # first
  {one = {low=1, high=2}}, # one
  {low = 3, high = 4}, # two
  "last", # three
]
[tasks.b]
data = "e.csv" # data
"""


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("name",), 'é"x'),
        (("backbone", "model"), "../m"),
        (("text", "source"), "z"),
        (("text", "max"), 1.5e-7),
        (("gap", 0, "deep", "x"), True),
        (("gap", 1, "task"), "c"),
        (("gap", 1, "limit"), ["a", 1]),
        (("gap", 1, "list", 0, "one"), 3),
        (("gap", 1, "list", 1), 4),
        (("gap", 1, "list", 2), "end"),
        (("tasks", "your's", "data"), "f.csv"),
        (("tasks", "b", "data"), "f.csv"),
    ],
)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_another_value_in_its_place_changes_nothing_else(path, value, ends):
    text = ODD.replace("\n", ends)
    document, content = tomlkit.parse(text), tomllib.loads(text)
    put(document, path, value)
    put(content, path, value)
    changed = tomlkit.dumps(document)
    assert tomllib.loads(changed) == content
    words = ("the name", "model", "text", "x", "task", "limit", "first", "one", "two", "three", "data")
    assert all(f"# {word}" in changed for word in words)
    assert changed.count("\r\n") == (changed.count("\n") if ends == "\r\n" else 0)
