"""The manual as a site that needs no network: pages written by hand, and what the program tells of itself.

    make docs        pages into build/docs, the site into site/; a warning or a broken link is an error

Pages by hand are those of docs/. In them `<!-- generated: NAME -->` stands for what `GENERATED` makes: every command
from the command line itself, every key of a study file from the sections' fields, every measure from the glossaries.
Pages of public names, from their docstrings, and the executed notebooks of examples/ are added.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

import typer
from lxml import html
from pydantic import BaseModel

from accord.cli import app
from accord.concepts.page import TERMS as CONCEPT_TERMS
from accord.damage.terms import DAMAGE_TERMS
from accord.gap.glossary import TERMS
from accord.lm.config import BackboneSection
from accord.perplexity.page import HEAD_TERMS
from accord.perplexity.page import TERMS as TEXT_TERMS
from accord.report.glossary import Term
from accord.study.config import models_in
from accord.study.root import Study
from accord.study.template import as_toml, described, fields_of, header_of, study_sections
from accord.verdict.tables import TERMS as VERDICT_TERMS

ROOT = Path(__file__).resolve().parents[1]
PAGES, SITE = ROOT / "build" / "docs", ROOT / "site"
PACKAGES = (
    *("accord", "accord.lm", "accord.tasks", "accord.relations", "accord.text", "accord.gap", "accord.concepts"),
    *("accord.names", "accord.steering", "accord.explain", "accord.heads", "accord.forecasting"),
    *("accord.repair", "accord.damage", "accord.harness", "accord.pathway", "accord.intervals", "accord.study"),
    *("accord.report", "accord.sharing", "accord.explore"),
    *("accord.lm.perplexity", "accord.lm.catalog", "accord.cached", "accord.study.check", "accord.study.search"),
)
"""Packages with a public face, `__all__`, in the order of the manual; and modules that must be named themselves."""
_MARK = re.compile(r"^<!-- generated: ([\w-]+) -->$", re.MULTILINE)


def main() -> None:
    """Write the pages, build the site, and follow its links."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for name, text in pages().items():
        (PAGES / name).parent.mkdir(parents=True, exist_ok=True)
        (PAGES / name).write_text(text, encoding="utf-8")
    for path in (ROOT / "docs").rglob("*"):
        if path.suffix in {".png", ".js", ".css"}:
            (PAGES / path.relative_to(ROOT / "docs")).parent.mkdir(exist_ok=True)
            shutil.copy(path, PAGES / path.relative_to(ROOT / "docs"))
    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        write_notebook(path, PAGES / "tutorials")
    shutil.rmtree(SITE, ignore_errors=True)
    # Beside this interpreter, whatever the PATH says.
    command = [str(Path(sys.executable).parent / "zensical"), "build", "--clean", "--strict"]
    built = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    # Griffe's warnings, of docstrings, do not end a strict build.
    if built.returncode or re.search(r"^griffe: |Warning", built.stdout, re.MULTILINE):
        sys.exit(built.stdout)
    if problems := list(problems_of(SITE)):
        sys.exit("\n".join(problems))
    print(f"{SITE / 'index.html'}: {sum(1 for _ in SITE.rglob('*.html'))} pages, every link of theirs leads somewhere")


def pages() -> dict[str, str]:
    """Name -> text of each page, but for the notebooks'."""
    texts = {
        path.relative_to(ROOT / "docs").as_posix(): path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "docs").rglob("*.md"))
    }
    filled = {name: _MARK.sub(lambda found: GENERATED[found[1]](), text) for name, text in texts.items()}
    return filled | {f"api/{package.rpartition('.')[2]}.md": api_page(package) for package in PACKAGES}


# Commands


def command_line() -> Mapping[str, Any]:
    """Name -> command, as typer has it."""
    group: Any = typer.main.get_command(app)
    return dict(group.commands)


def all_commands() -> str:
    """Every command: what it does, its arguments and options with their defaults, examples."""
    return "\n".join(line for name, command in command_line().items() for line in _command(name, command))


def _command(name: str, command: Any) -> Iterator[str]:
    about, _, examples = command.help.partition("Examples:\n")
    about, _, example = about.partition("Example:")
    arguments = [option for option in command.params if option.param_type_name == "argument"]
    usage = " ".join(["accord", name, *(_metavar(each) for each in arguments), "[OPTIONS]"])
    yield from (f"## accord {name}", "", f"`{usage}`", "", about.strip(), "")
    lines = re.findall(r"`([^`]+)`", examples or example)
    yield from ("```bash", *lines, "```", "") if lines else ()
    options = [option for option in command.params if not getattr(option, "hidden", False)]
    yield from _table(("option", "default", "what it is"), map(_option, options))


def _option(option: Any) -> tuple[str, str, str]:
    if option.param_type_name == "argument":
        written = f"`{_metavar(option)}`"
    else:
        written = "<br>".join(f"`{spelling}`" for spelling in (*option.opts, *option.secondary_opts))
    default = option.default
    if option.required:
        told = "required"
    else:
        told = "" if default is None or default is False or callable(default) else f"`{default}`"
    return written, told, escaped(option.help or "")


def _metavar(option: Any) -> str:
    name = (option.metavar or option.name.upper()).strip("[]")
    return name if option.required else f"[{name}]"


# Keys of a study file


def study_keys() -> str:
    """Every section of a study file with every key: what it may be, its default, what it means."""
    lines = ["## Above all tables", *_keys(Study, "study", "", set(), only=("name", "seeds"))]
    lines += ["## [backbone]", "", escaped(described(BackboneSection)), ""]
    lines += _keys(BackboneSection, "backbone", "backbone", set())
    return "\n".join([*lines, *(line for key, field in study_sections() for line in _section(key, field))])


def _section(key: str, field: Any) -> Iterator[str]:
    kinds, shown = list(models_in(field.annotation)), set[str]()
    yield from (f"## {header_of(key, field)}", "")
    if len(kinds) > 1:
        yield from (f"{escaped(field.description or '')} Each is of one of the kinds below.", "")
    for kind in kinds:
        name = kind.model_fields["kind"].default if len(kinds) > 1 else ""
        yield from (f"### kind = {as_toml(name)}", "") if name else ()
        yield from (escaped(described(kind)), "")
        yield from _keys(kind, f"{key}.{name}" if name else key, header_of(key, field).strip("[]"), shown)


def _keys(
    section: type[BaseModel], anchor: str, table: str, shown: set[str], only: Sequence[str] = ()
) -> Iterator[str]:
    """The keys of a table, then those of the tables in it, each of these once a section.

    Args:
        shown: the tables in it that have been told, which grows.
        only: some of the keys.
    """
    schema = section.model_json_schema()
    # Which kind it is stands above the keys.
    fields = {name: of for name, of in fields_of(section) if name != "kind" and (not only or name in only)}
    tables = {name: list(models_in(of.annotation)) for name, of in fields.items()}
    rows = []
    for name, field in fields.items():
        kind = "a table, below" if tables[name] else _values(schema["properties"][name])
        default = field.get_default(call_default_factory=True)
        told = "required" if field.is_required() else "" if default is None or tables[name] else f"`{as_toml(default)}`"
        key = f'<a id="{anchor}.{name}"></a>`{name}`'
        rows.append((key, kind, told, escaped(field.description or "")))
    yield from _table(("key", "value", "default", "what it is"), rows)
    for name, inner in tables.items():
        for each in inner:
            lines = list(_keys(each, f"{anchor}.{name}", f"{table}.{name}", shown))
            if (same := "\n".join(lines[1:]).replace(anchor, "")) not in shown:
                shown.add(same)
                kind = f", kind = {as_toml(each.model_fields['kind'].default)}" if len(inner) > 1 else ""
                yield from (f"#### [{table}.{name}]{kind}", "", escaped(described(each)), "", *lines)


def _values(schema: Mapping[str, Any]) -> str:
    """What a key may be, from its JSON schema.

    >>> _values({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}), _values({"enum": ["a", "b"]})
    ('integer, ≥ 1', '`"a"`, `"b"`')
    """
    if "anyOf" in schema or "oneOf" in schema:
        each = schema.get("anyOf") or schema["oneOf"]
        return " or ".join(dict.fromkeys(_values(one) for one in each if one.get("type") != "null"))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{as_toml(value)}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "array":
        inner = _values(schema.get("items", {}))
        return f"list of {inner}" if inner else "list"
    bounds = {"minimum": "≥", "exclusiveMinimum": "&gt;", "maximum": "≤", "exclusiveMaximum": "&lt;"}
    limits = [f"{sign} {schema[bound]:,}" for bound, sign in bounds.items() if bound in schema]
    words = {
        "string": "text",
        "boolean": "`true`, `false`",
        "object": "table",
        "integer": "integer",
        "number": "number",
    }
    return ", ".join([words.get(str(kind), ""), *limits]).strip(", ")


# Measures


def measures(of: str) -> str:
    """The entries of a glossary: the names of a measure in tables and on the page, what it is, formula and place."""
    rows = [
        (
            f'<a id="{of}-{key}"></a>`{key}`<br>{escaped(term.label)}',
            escaped(term.meaning)
            + (f"<br>= {escaped(term.formula)}" if term.formula else "")
            + f"<br><small>{escaped(term.defined)}</small>",
        )
        for key, term in GLOSSARIES[of].items()
    ]
    return "\n".join(_table(("name, and name on the page", "what it is, its formula, its source"), rows))


# Public names


def api_page(package: str) -> str:
    """The page of a package: a directive for each public name, which mkdocstrings fills from its docstring."""
    module = import_module(package)
    # The first paragraph: examples of the package follow it.
    about = (module.__doc__ or "").split("\n\n")[0]
    names = (f"::: {package}.{name}\n" for name in module.__all__)
    return "\n".join([f"# {package}\n", f"{escaped(about)}\n", *names])


# Notebooks


def write_notebook(path: Path, folder: Path) -> None:
    """A page of an executed notebook, its pictures beside it."""
    from nbconvert import MarkdownExporter

    exporter = MarkdownExporter(preprocessors=["nbconvert.preprocessors.CoalesceStreamsPreprocessor"])
    text, found = exporter.from_filename(str(path), {"unique_key": path.stem, "output_files_dir": path.stem})
    # In the repository notebooks link to each other and to docs/; on the site their pages stand side by side.
    text = re.sub(r"\]\(([\w-]+)\.ipynb", r"](\1.md", text).replace("](../docs/", "](../")
    # Tables look as the theme has them, not as pandas has them.
    text = re.sub(r"<style scoped>.*?</style>", "", text, flags=re.DOTALL).replace(' border="1" class="dataframe"', "")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{path.stem}.md").write_text(text, encoding="utf-8")
    for name, content in found["outputs"].items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


# Text and links


def escaped(text: str) -> str:
    """Plain text as Markdown, on one line; what stands in backticks stays code.

    >>> escaped("a [table] of `[[gap]]` | x_1")
    'a &#91;table] of `[[gap]]` &#124; x&#95;1'
    """
    pieces = re.split(r"(`[^`]+`)", " ".join(text.split()))
    for i in range(0, len(pieces), 2):
        pieces[i] = re.sub(r"[&<*_\[|]", lambda found: f"&#{ord(found[0])};", pieces[i])
    return "".join(pieces)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    rows = list(rows)
    if rows:
        yield from ("", f"| {' | '.join(head)} |", "|" + " --- |" * len(head))
        yield from (f"| {' | '.join(row)} |" for row in rows)
        yield ""


def problems_of(site: Path) -> Iterator[str]:
    """What is wrong with the links of a site: they lead nowhere, or fetch scripts and pictures from other hosts."""
    trees = {path: html.parse(path) for path in sorted(site.rglob("*.html"))}
    places = {path: set(tree.xpath("//@id | //a/@name")) for path, tree in trees.items()}
    for path, tree in trees.items():
        for element, attribute, link, _ in tree.getroot().iterlinks():
            target, place = urldefrag(link)
            if urlsplit(target).scheme or target.startswith("//"):
                if element.tag != "a" and not target.startswith("data:") and element.get("rel") != "canonical":
                    yield f"{path.relative_to(site)}: {element.tag} {attribute} is fetched from elsewhere: {link}"
                continue
            if path.name == "404.html":  # its links are from the root of a server
                continue
            file = (path.parent / unquote(target)).resolve() if target else path
            file = file / "index.html" if file.is_dir() else file
            if not file.exists():
                yield f"{path.relative_to(site)}: nothing is at {link}"
            elif place and file in places and unquote(place) not in places[file] and not place.startswith("__"):
                yield f"{path.relative_to(site)}: {target or 'this page'} has no place #{place}"


GLOSSARIES: Mapping[str, Mapping[str, Term]] = {
    "gap": TERMS,
    "verdict": VERDICT_TERMS,
    "damage": DAMAGE_TERMS,
    "concepts": CONCEPT_TERMS,
    "heads": HEAD_TERMS,
    "texts": TEXT_TERMS,
}
"""The measures that tables of the page name, by the chapter of the manual that tells of them."""
GENERATED: Mapping[str, Callable[[], str]] = {
    "commands": all_commands,
    "study": study_keys,
    **{f"{of}-measures": partial(measures, of) for of in GLOSSARIES},
}

if __name__ == "__main__":
    main()
