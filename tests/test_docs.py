"""The manual: every page is in its contents, what is generated is complete, what pages say of commands and names is so.

The site itself is built by `make docs`, which follows its links.
"""

import ast
import doctest
import json
import re
import shlex
import sys
import tomllib
from collections import Counter
from html import unescape
from importlib import import_module
from inspect import getdoc, isclass, ismodule, isroutine, signature
from pathlib import Path
from types import SimpleNamespace

import pytest
from scripts import make_docs

from accord.study.root import study_model
from accord.study.template import study_sections

ROOT = Path(__file__).parents[1]
PAGES = make_docs.pages()
BY_HAND = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def text_of(path):
    """A page by hand, or the words of a notebook."""
    if path.suffix == ".md":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "markdown")


CODE = [
    (path, language, code)
    for path in [*BY_HAND, *NOTEBOOKS]
    for language, code in re.findall(r"^```(\w+)\n(.*?)^```$", text_of(path), flags=re.MULTILINE | re.DOTALL)
]


def in_contents(nav):
    if isinstance(nav, str):
        yield nav
    else:
        for inner in nav.values() if isinstance(nav, dict) else nav:
            yield from in_contents(inner)


def test_every_page_is_in_the_contents():
    nav = list(in_contents(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]))
    notebooks = [f"tutorials/{path.stem}.md" for path in NOTEBOOKS]
    assert sorted(nav) == sorted([*PAGES, *notebooks])


def test_every_command_and_option_is_told():
    page = PAGES["commands.md"]
    for name, command in make_docs.command_line().items():
        assert f"\n## accord {name}\n" in page
        told = page.partition(f"\n## accord {name}\n")[2].partition("\n## ")[0]
        assert all(f"`{spelling}`" in told for option in command.params for spelling in option.opts if "-" in spelling)


def test_every_key_of_a_study_is_told():
    page = PAGES["study.md"]
    assert {"study.name", "study.seeds", "backbone.model"} <= set(re.findall(r'<a id="([\w.-]+)">', page))
    for key, field in study_sections():
        for kind in make_docs.models_in(field.annotation):
            for name in {name for name, _ in make_docs.fields_of(kind)} - {"kind"}:
                assert re.search(rf'<a id="{key}\.([\w-]+\.)?{name}">', page), f"{key}.{name}"
    assert len(list(study_sections())) == len(study_model().model_fields) - 3  # without name, seeds, backbone


def test_every_measure_is_told():
    """With its formula: those of the page's tables (see tests/report/test_glossary.py), and no other."""
    page = PAGES["measures.md"]
    terms = {f"{of}-{name}": term for of, each in make_docs.GLOSSARIES.items() for name, term in each.items()}
    assert re.findall(r'<a id="([\w-]+)">', page) == [*terms]
    assert all(make_docs.escaped(term.formula) in page for term in terms.values())


def test_every_public_face_has_a_page():
    packages = ["accord", *(f"accord.{path.parent.name}" for path in (ROOT / "src" / "accord").glob("*/__init__.py"))]
    assert {name for name in packages if hasattr(import_module(name), "__all__")} <= set(make_docs.PACKAGES)
    for package in make_docs.PACKAGES:
        page = PAGES[f"api/{package.rpartition('.')[2]}.md"]
        assert re.findall(r"^::: (.+)$", page, re.MULTILINE) == [
            f"{package}.{n}" for n in import_module(package).__all__
        ]


def without_example():
    """The public names whose docstring, or that of a method of theirs, has no example; those of constants need none."""
    for package in make_docs.PACKAGES:
        module = import_module(package)
        for name in module.__all__:
            each = getattr(module, name)
            docs = [getdoc(each), *(map(getdoc, vars(each).values()) if isclass(each) else ())]
            if (isclass(each) or isroutine(each)) and not any(">>>" in (doc or "") for doc in docs):
                yield f"{package}.{name}"


LACKING = {
    "accord": 1,
    "accord.lm": 2,
    "accord.relations": 1,
    "accord.text": 3,
    "accord.gap": 1,
    "accord.concepts": 14,
    "accord.names": 14,
    "accord.steering": 19,
    "accord.explain": 2,
    "accord.heads": 27,
    "accord.forecasting": 7,
    "accord.repair": 11,
    "accord.damage": 4,
    "accord.pathway": 3,
    "accord.study": 11,
    "accord.report": 2,
    "accord.sharing": 1,
    "accord.explore": 6,
    "accord.lm.catalog": 5,
    "accord.cached": 6,
    "accord.study.check": 2,
    "accord.study.search": 1,
}
"""How many public names of a face have no example yet: each may only fall. A face that is not here has them all."""


def test_public_names_have_an_example():
    """Which runs: tests/test_doctests.py."""
    lacking = Counter(name.rpartition(".")[0] for name in without_example())
    assert lacking == LACKING, "\n".join(without_example())  # lower a number that fell


def test_no_mark_is_left():
    assert not [name for name, text in PAGES.items() if re.search(r"^<!-- generated", text, re.MULTILINE)]


def test_every_command_has_its_python():
    table = (ROOT / "docs" / "both-ways.md").read_text()
    assert set(re.findall(r"^\| `accord (\w+)", table, re.MULTILINE)) == set(make_docs.command_line())


@pytest.mark.parametrize("path", BY_HAND, ids=lambda path: path.stem)
def test_links_lead_to_pages(path):
    """In the repository, where pages are read as they are; `make docs` follows those of the site."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target = link.partition("#")[0]
        if not re.match(r"\w+:", target) and target:
            made = (path.parent / target).resolve()
            relative = made.relative_to(ROOT / "docs").as_posix() if made.is_relative_to(ROOT / "docs") else ""
            assert made.exists() or relative in PAGES or relative.startswith("tutorials/"), link


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_of_notebooks_lead_to_files(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(path)):
        assert (path.parent / link.partition("#")[0]).exists(), link


@pytest.mark.parametrize("code", [code for _, language, code in CODE if language == "bash"])
def test_commands_in_pages_exist(code):
    commands = make_docs.command_line()
    for line in code.replace("\\\n", " ").splitlines():
        program, *words = shlex.split(line, comments=True) or [""]
        if program == "accord" and not words[0].startswith("-"):
            options = commands[words[0]].params
            spellings = {spelling for option in options for spelling in (*option.opts, *option.secondary_opts)}
            assert {word for word in words[1:] if re.match(r"--?[a-z]", word)} <= {*spellings, "--help"}, line


def python_of_pages():
    """Python of the pages, and of the table of commands."""
    yield from ((path.stem, code) for path, language, code in CODE if language == "python")
    for row in re.findall(r"^\| `accord .*", (ROOT / "docs" / "both-ways.md").read_text(), re.MULTILINE):
        yield row.split("`")[1], "\n".join(re.findall(r"`([^`]+)`", row.split(" | ", 1)[1]))


@pytest.mark.parametrize(("where", "code"), list(python_of_pages()))
def test_names_in_pages_exist(where, code):
    """What is imported from accord is there, and so is what is taken from it; what is called takes these arguments."""
    known = {"accord": import_module("accord")}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("accord"):
            for each in node.names:
                module = import_module(str(node.module))
                if not hasattr(module, each.name):
                    import_module(f"{node.module}.{each.name}")  # raises where it is no module either
                known[each.asname or each.name] = getattr(module, each.name)

    def meant(node):
        """What a name or `module.name` is, None for what is not accord's."""
        if isinstance(node, ast.Name):
            return known.get(node.id)
        if isinstance(node, ast.Attribute) and ismodule(owner := meant(node.value)):
            assert hasattr(owner, node.attr), f"{where}: {ast.unparse(node)}"
            return getattr(owner, node.attr)
        return None

    for node in ast.walk(ast.parse(code)):
        meant(node)
        if isinstance(node, ast.Call) and (called := meant(node.func)) is not None:
            signature(called).bind(*node.args, **{each.arg: each.value for each in node.keywords})


def python_of_notebooks():
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text())["cells"]
        lines = "".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code").splitlines()
        yield path.stem, "\n".join(line for line in lines if not line.startswith(("%", "!")))


def test_pages_and_notebooks_use_public_names():
    """What a page shows can be looked up in the manual, and stays when the inside of accord changes."""
    faces = {name: set(import_module(name).__all__) for name in make_docs.PACKAGES}
    private = [
        f"{where}: {node.module}.{each.name}"
        for where, code in [*python_of_pages(), *python_of_notebooks()]
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("accord")
        for each in node.names
        if each.name not in faces.get(str(node.module), ()) and f"{node.module}.{each.name}" not in faces
    ]
    assert private == []


def test_broken_links_of_a_site_are_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<p id="here">x</p><a href="#here">ok</a><a href="b.html#there">ok</a><a href="b.html#gone">1</a>'
        '<a href="c.html">2</a><a href="https://elsewhere.org">ok</a><script src="https://elsewhere.org/x.js"></script>'
    )
    (tmp_path / "b.html").write_text('<p id="there">x</p>')
    assert [problem.partition(": ")[2] for problem in make_docs.problems_of(tmp_path)] == [
        "b.html has no place #gone",
        "nothing is at c.html",
        "script src is fetched from elsewhere: https://elsewhere.org/x.js",
    ]


@pytest.mark.parametrize("module", ["make_docs", "griffe_docstrings"])
def test_examples_of_the_scripts(module, monkeypatch):
    monkeypatch.setitem(sys.modules, "griffe", SimpleNamespace(Extension=object))  # comes with the extra `docs`
    assert doctest.testmod(import_module(f"scripts.{module}")).failed == 0


def test_what_is_escaped_is_read_as_it_was_written():
    told = make_docs.escaped("a [b] | c_d_e *f* <g> & `h*i`")
    assert unescape(told) == "a [b] | c_d_e *f* <g> & `h*i`"
    assert not set("*|_[<") & set(told.partition("`")[0])
