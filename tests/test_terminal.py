"""Options that sections write: each has its words, type, bounds and default from the field, and sets its key."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from accord import capabilities, cli
from accord.section import Section
from accord.terminal import OptionOf, Options, as_command, options

# Options whose words are their own, as the field's speak of a study file.
OWN_WORDS = {"task", "repaired", "other", "texts", "concepts", "model"}


class ToySection(Section):
    """All sorts of keys."""

    name: str = Field(min_length=2, description="What it is called.")
    size: int = Field(default=3, ge=1, le=9, description="How large.")
    rate: float = Field(default=0.5, gt=0, description="How fast.")
    kind: Literal["a", "b"] | None = Field(default=None, description="Which kind.")
    words: list[str] = Field(default=[], description="Words.")
    table: dict[str, Any] | None = Field(default=None, description="Keys.")
    loud: bool = Field(default=False, description="Whether it is loud.")
    kept: bool = Field(default=True, description="Whether it is kept.")
    one: Literal["x", "y"] = Field(default="x", description="One.")
    two: Literal["x", "y"] | None = Field(default=None, description="Two.")
    turns: bool | None = Field(default=None, description="Turns.")


TOY = options(
    renamed={"words": "word", "table": "entry"},
    joined={"both": (("one", "two"), "One and two.")},
    flags={"straight": ("turns", False, "No turns.")},
)


def run(command: Any, *words: object) -> Any:
    app = typer.Typer(cls=cli.Commands, pretty_exceptions_enable=False)
    app.callback()(cli.accord)
    app.command("toy")(as_command(command))
    return CliRunner().invoke(app, ["toy", *(str(word) for word in words)], env={"COLUMNS": "200"})


def given(*words: object, mark: Options = TOY) -> ToySection:
    sections = []

    def toy(section: Annotated[ToySection, mark]) -> None:
        sections.append(section)

    done = run(toy, *words)
    assert done.exit_code == 0, done.output
    return sections[0]


def test_what_is_given_is_set_and_nothing_else() -> None:
    assert given("--name", "me").model_fields_set == {"name"}
    words = ["--name", "me", "--size", 4, "--word", "a", "--word", "b", "--entry", "x-y=1", "--entry", "z=w", "--loud"]
    section = given(*words, "--no-kept", "--both", "x", "--straight", "--kind", "b", "--rate", 2)
    assert section == ToySection(
        name="me", size=4, rate=2.0, kind="b", words=["a", "b"], table={"x_y": 1, "z": "w"}, loud=True, kept=False,
        one="x", two="x", turns=False,
    )  # fmt: skip
    assert section.model_fields_set == set(ToySection.model_fields)


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["--name", "m"], 1, "--name"),
        (["--name", "me", "--rate", 0], 1, "--rate"),
        (["--name", "me", "--size", 10], 2, "--size"),
        (["--name", "me", "--kind", "c"], 2, "--kind"),
        (["--name", "me", "--entry", "x"], 1, "--entry takes a key and its value"),
        ([], 2, "--name"),
    ],
)
def test_an_error_names_the_option(words: list[object], code: int, problem: str) -> None:
    def toy(section: Annotated[ToySection, TOY]) -> None: ...

    done = run(toy, *words)
    assert done.exit_code == code and problem in done.stderr


def test_a_section_that_may_be_none_and_single_options() -> None:
    calls = []

    def toy(
        section: Annotated[ToySection | None, options(only=("name", "size"))] = None,
        rate: Annotated[float | None, OptionOf(ToySection, "rate")] = None,
        *,
        kept: Annotated[bool, OptionOf(ToySection, "kept")],
    ) -> None:
        calls.append((section, rate, kept))

    assert run(toy, "--size", 2).exit_code == 0 and run(toy, "--name", "me", "--rate", 2, "--no-kept").exit_code == 0
    assert calls == [(None, None, True), (ToySection(name="me"), 2.0, False)]


def test_every_option_of_a_section_says_what_the_field_says() -> None:
    count = 0
    for package in (*cli.GROUND, *capabilities.CAPABILITIES):
        module = capabilities.part(package, "command")
        for function in () if module is None else module.COMMANDS:
            parameters, marked = as_command(function).__signature__.parameters, function.__annotations__  # type: ignore[attr-defined]
            for annotation in marked.values():
                mark = next((m for m in getattr(annotation, "__metadata__", ()) if isinstance(m, Options)), None)
                if mark is None:
                    continue
                section = next(
                    kind for kind in (annotation.__origin__, *getattr(annotation.__origin__, "__args__", ()))
                    if isinstance(kind, type) and issubclass(kind, Section)
                )  # fmt: skip
                joined = {key for keys, _ in mark.joined.values() for key in keys}
                special = joined | {key for key, _, _ in mark.flags.values()}
                for key, field in section.model_fields.items():
                    left_out = key in mark.without or (mark.only and key not in mark.only)
                    if key in special or left_out:
                        continue
                    name = mark.renamed.get(key, key).replace("-", "_")
                    option = parameters[name].annotation.__metadata__[0]
                    assert (key in mark.help and name in OWN_WORDS) or option.help.startswith(field.description)
                    if field.default not in (None, []) and not field.is_required():
                        assert parameters[name].default == field.default
                    count += 1
    assert count > 60


def test_a_capability_that_is_added_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "toycapability"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "command.py").write_text(
        'def wave(times: int = 2) -> None:\n    """Wave."""\n    print("wave " * times)\n\n\nCOMMANDS = (wave,)\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(capabilities, "CAPABILITIES", (*capabilities.CAPABILITIES, "toycapability"))
    app = cli.application()
    assert "wave" in CliRunner().invoke(app, ["--help"]).stdout
    assert CliRunner().invoke(app, ["wave", "--times", "3"]).stdout.split() == ["wave"] * 3


@pytest.mark.parametrize(
    "words",
    [
        ["--help"], ["gap", "--help"], ["show", "hypernymy"], ["check", "absent"], ["report", "absent"],
        ["diff", "absent", "gone"], ["init", "s.toml"], ["tasks"], ["models"], ["--version"],
    ],
)  # fmt: skip
def test_no_torch_where_no_model_is_needed(words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom accord.cli import app\n"
        f"try:\n    app({words!r}, standalone_mode=False)\nexcept (SystemExit, Exception):\n    pass\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
