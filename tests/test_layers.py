"""Who may import whom: sections, results, pages and commands no torch, the ground no capability, nobody in a circle."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

import accord
from accord.capabilities import CAPABILITIES

_ALONE = [
    "accord.capabilities",
    "accord.section",
    "accord.kinds",
    "accord.study.root",
    "accord.study.template",
    "accord.study.run_folder",
    "accord.study.shown_difference",
    "accord.study.search_result",
    *(f"accord.report.{path.stem}" for path in Path(accord.__file__).parent.glob("report/[!_]*.py")),
]
_LIGHT = ("config", "result", "page", "command", "stage")  # of a capability: what is read before anything is computed
_FRAMES = {"study", "cluster", "report", "sharing", "capabilities", "terminal", "cli", "__main__"}


def test_what_only_reads_needs_no_torch():
    modules = _ALONE + [f"{capability}.{name}" for capability in CAPABILITIES for name in _LIGHT]
    modules = [module for module in modules if find_spec(module)]
    measure = [capability for capability in CAPABILITIES if find_spec(f"{capability}.stage")]
    assert {f"{capability}.{name}" for capability in measure for name in ("config", "result")} <= set(modules)
    code = f"""
import importlib, sys
for module in {modules!r}:
    importlib.import_module(module)
    for heavy in ("torch", "transformers"):
        assert heavy not in sys.modules, (module, heavy)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize("everywhere", [False, True], ids=["as-modules-load", "within-functions-too"])
def test_no_modules_import_each_other_in_a_circle(everywhere):
    """Imports by string, as registers of kinds, `capabilities.part` and `loading.FOLDERS` have them, are the seams."""
    try:
        TopologicalSorter(_graph(everywhere)).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_the_ground_imports_no_capability():
    graph = _graph(everywhere=True)
    ground = {module for module in graph if _is_ground(module)}
    assert {"accord.lm.scoring", "accord.tasks.base", "accord.text", "accord.disk", "accord.loading"} <= ground
    assert [f"{module} → {other}" for module in sorted(ground) for other in graph[module] - ground] == []


def test_frames_find_capabilities_by_the_list_alone():
    graph, capabilities = _graph(everywhere=True), {f"{capability}." for capability in CAPABILITIES}
    frames = {module for module in graph if module.split(".")[1:2] and module.split(".")[1] in _FRAMES}
    assert {"accord.study.plan", "accord.report.html", "accord.terminal", "accord.cli"} <= frames
    imports = [(module, other) for module in sorted(frames) for other in graph[module]]
    assert [f"{m} → {other}" for m, other in imports if f"{other}.".startswith(tuple(capabilities))] == []


def test_every_public_class_has_a_name_of_its_own():
    places = defaultdict(list)
    for module, tree in _modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(module)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


@cache
def _modules() -> dict[str, ast.Module]:
    """Every module of the package, by its full name."""
    root, modules = Path(accord.__file__).parent, {}
    for path in sorted(root.rglob("*.py")):
        words = ("accord", *path.relative_to(root).with_suffix("").parts)
        name = ".".join(words[:-1] if words[-1] == "__init__" else words)
        modules[name] = ast.parse(path.read_text(encoding="utf-8"))
    return modules


@cache
def _graph(everywhere: bool) -> dict[str, set[str]]:
    """Module -> the modules of the package that it imports as it is loaded, or `everywhere`, within functions too."""
    return {module: set(_imports(module, tree, everywhere)) for module, tree in _modules().items()}


def _imports(module: str, tree: ast.Module, everywhere: bool) -> Iterator[str]:
    for statement in _statements(tree, everywhere, types=False):
        for name in _imported(statement):
            # Importing a.b.c runs a and a.b before it; those that hold the importer itself have begun already.
            packages = [name] + [name.rsplit(".", i)[0] for i in range(1, name.count(".") + 1)]
            yield from (other for other in packages if not f"{module}.".startswith(f"{other}."))


def _statements(node: ast.AST, everywhere: bool, types: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements in a tree; those for type checkers only with `types`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING") and not types:
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not everywhere:
            continue
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        yield from _statements(child, everywhere, types)


def _imported(statement: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """The modules of the package that a statement imports."""
    names = [alias.name for alias in statement.names]
    if isinstance(statement, ast.ImportFrom):
        names = [_home(str(statement.module), name) for name in names]
    yield from (name for name in names if name in _modules() and name != "accord")


def _home(module: str, name: str) -> str:
    """Where `from module import name` finds it in the end: names of a package are imported when first used."""
    if f"{module}.{name}" in _modules():
        return f"{module}.{name}"
    if module in _modules():
        for statement in _statements(_modules()[module], everywhere=False, types=True):
            if isinstance(statement, ast.ImportFrom) and any(alias.name == name for alias in statement.names):
                return _home(str(statement.module), name)
    return module


def _is_ground(module: str) -> bool:
    """Whether it is of models, questions or texts, or a module that serves all rooms."""
    room = module.split(".")[1] if "." in module else ""
    capabilities = {capability.rpartition(".")[2] for capability in CAPABILITIES}
    return room not in capabilities | _FRAMES and not module.endswith(".command")  # commands stand above all rooms
