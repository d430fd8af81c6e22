"""A study with every section, and every command that loads a model, on a GPU."""

import io
import json
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest
import torch
import typer
from rich.console import Console
from typer.testing import CliRunner

from accord import cli
from accord.concepts.config import KINDS as CONCEPTS
from accord.heads.config import KINDS as HEADS
from accord.repair.config import KINDS as REPAIRS
from accord.study import engine
from accord.study.root import study_model
from tests.devices import NAME
from tests.tiny import tiny_hub_folder, tiny_model, tiny_texts, tiny_tokenizer

TRAINING = "training = { steps = 4, batch = 64 }"
MADE = {  # each kind's smallest table
    "concepts": {
        "topk": f"size = 16\nk = 4\n{TRAINING}",
        "batchtopk": f"size = 16\nk = 4\n{TRAINING}",
        "matryoshka": f"size = 16\nk = 4\n{TRAINING}",
        "jumprelu": f"size = 16\n{TRAINING}",
        "transcoder": f"size = 16\nlayers = [2]\n{TRAINING}",
        "supervised": f'size = 16\nlabels = ["negative", "positive"]\n{TRAINING}',
        "l1": f"size = 16\n{TRAINING}",
        "bernoulli": f"size = 16\n{TRAINING}",
        "lcblm": f"concepts = 6\nwidth = 3\n{TRAINING}",
        "lcblm-shared": f"concepts = 6\nwidth = 3\n{TRAINING}",
    },
    "heads": {
        "original": 'concepts = "topk"',
        "finetuned": f'concepts = "topk"\nreads = "embedding"\n{TRAINING}',
        "new": f'concepts = "lcblm"\n{TRAINING}',
    },
    "repair": {
        **dict.fromkeys(("rankalign", "sft", "consistency", "dpo"), "steps = 2\nbatch = 4\nr = 2"),
        "readout": "positions = 60",
        "calibrate": "positions = 20",
        "direction": "positions = 1\ntries = 1\nfactors = [0.5]\nitems = 10\ntexts = 4",
        "concepts": 'model = "topk"\ncounts = [4]\nfactors = [0.5]\nattributed = 10\nitems = 10\ntexts = 4',
    },
}
# On the simulated device, where a study takes long; test_concepts and test_repairs try each kind there by itself.
FEW = {"concepts": ("topk", "lcblm"), "heads": ("new",), "repair": ("rankalign", "calibrate")}
REPAIRED = 'validator_shots = "zero"\nlimit = 24\nallow_low_mass = true\n'


def _kinds(device: torch.device) -> dict[str, list[str]]:
    return {of: [kind for kind in kinds if device.type != NAME or kind in FEW[of]] for of, kinds in MADE.items()}


def _study(kinds: Mapping[str, Collection[str]] = MADE) -> str:
    tables = [
        f'[[{section}]]\nkind = "{kind}"\n{REPAIRED if section == "repair" else ""}{MADE[section][kind]}\n'
        for section in MADE
        for kind in kinds[section]
    ]
    return OTHERS + "\n".join(tables)


OTHERS = """\
name = "s"
[backbone]
model = "model"
dtype = "float32"
[[gap]]
task = "hypernymy"
validator_shots = "zero"
limit = 24
layers = true
[[forecast]]
task = "hypernymy"
validator_shots = "zero"
limit = 24
[text]
source = "texts.csv"
label = "mood"
max_tokens = 150
held_out_tokens = 60
[verdict]
limit = 8
phrasings = false
[damage]
texts = "texts.txt"
limit = 3
facts = 1
samples = 1
new_tokens = 3
resamples = 20
[pathway]
limit = 8
train_limit = 16
patch_items = 4
draws = 1
resamples = 20
concepts = "topk"
[perplexity]
judge = "model"
rows = ["backbone", "lcblm-latents-new"]
samples = 2
max_new_tokens = 4
own_texts = 4
[names]
limit = 4
annotator = { kind = "tokens" }
[steering]
concepts = ["topk"]
number = 2
promoted = 3
places = 6
texts = 4
factors = [0.0]
strengths = [2.0]
added = [2.0]
written = 0
[explain]
limit = 20
candidates = 4
chosen = 2
draws = 2
"""


def test_none_is_left_out() -> None:
    assert set(MADE["concepts"]) == set(CONCEPTS) - {"imported"}
    assert set(MADE["heads"]) == set(HEADS)
    assert {REPAIRS[kind][1] for kind in MADE["repair"]} == {code for _, code in REPAIRS.values()}
    frame = {"name", "seeds", "backbone", "tasks", "search", "machines"}
    assert all(f"[{key}]" in _study() for key in set(study_model().model_fields) - frame)


@pytest.fixture(scope="module")
def run(device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the study."""
    folder = tmp_path_factory.mktemp("study")
    tiny_hub_folder(folder / "model")
    tiny_model(max_position_embeddings=4096).save_pretrained(folder / "annotator")  # prompts are a token a letter
    tiny_tokenizer().save_pretrained(folder / "annotator")
    (folder / "texts.txt").write_text("\n".join(tiny_texts()))
    rows = [f"{text},{i % 7 - 3}" for i, text in enumerate(tiny_texts())]
    (folder / "texts.csv").write_text("\n".join(["text,mood", *rows]))
    # Commands open the run from elsewhere, so that its model is named in full.
    (folder / "study.toml").write_text(
        _study(_kinds(device)).replace('model = "model"', f'model = "{folder / "model"}"')
    )
    engine.run(folder / "study.toml", folder / "run", console=Console(file=io.StringIO(), width=200))
    return folder / "run"


def test_a_study_with_every_section_to_its_page(run: Path, device: torch.device) -> None:
    facts = [json.loads(path.read_text())["facts"] for path in run.glob("*/*/manifest.json")]
    assert {each["device"].partition(":")[0] for each in facts if "device" in each} == {device.type}
    page = (run / "report.html").read_text()
    assert all(kind in page for kinds in _kinds(device).values() for kind in kinds)


HERE = {"models", "cache", "report", "export", "run", "init", "check", "diff", "search", "runs", "status", "open", "rm"}
HERE |= {"tasks", "embed", "train", "push"}  # load nothing themselves, or do a part of what the study does
HERE |= {"explore"}  # serves until it is stopped; what it computes are functions that are tried elsewhere
QUESTION = "--task hypernymy --shots zero --limit 8"
COMMANDS = {
    "gap": f"gap --model MODEL {QUESTION}",
    "forecast": f"forecast --model MODEL {QUESTION}",
    "show": "show hypernymy --model MODEL -n 1 --shots zero",
    "prove": "prove MODEL",
    "repair": f"repair --model MODEL {QUESTION.replace('8', '24')} --method calibrate --out OUT/repaired "
    "--set positions=20 --set allow_low_mass=true",
    "merge": "merge RUN/repair/rankalign-s0 --out OUT/merged",
    "verdict": "verdict --repaired RUN/repair/rankalign-s0 --task hypernymy --limit 8 --no-phrasings",
    "damage": "damage --repaired RUN/repair/calibrate-s0 --task hypernymy --texts TEXTS --limit 2 --facts 1 "
    "--samples 1 --new-tokens 3 --items 4",
    "pathway": f"pathway --base MODEL --repaired RUN/repair/rankalign-s0 {QUESTION} --train-limit 16 --patch-items 4 "
    "--draws 1",
    "generate": "generate --model RUN/heads/lcblm-latents-new-s0 -n 1 --tokens 4",
    "perplexity": "perplexity --model MODEL --data TEXTS",
    "steer": "steer RUN --concepts topk --concept 1 --factor 2 --set 2=3 --added 3=2 -n 1 --tokens 4",
    "explain": "explain RUN --limit 20 --candidates 4 --chosen 2 --draws 2 --replace",
    "names": "names RUN --concepts topk --limit 2 --annotator transformers --model ANNOTATOR --replace",
}


def test_no_command_is_left_out() -> None:
    assert set(typer.main.get_command(cli.app).commands) == HERE | set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command(command: str, run: Path, tmp_path: Path) -> None:
    places = {
        "MODEL": run.parent / "model",
        "ANNOTATOR": run.parent / "annotator",
        "RUN": run,
        "OUT": tmp_path,
        "TEXTS": run.parent / "texts.txt",
    }
    words = COMMANDS[command].split()
    for name, place in places.items():
        words = [word.replace(name, str(place)) for word in words]
    result = CliRunner().invoke(cli.app, words)
    # A random model, asked on the device, writes no JSON.
    nameless = command == "names" and "No concept got a name" in result.output and "broken JSON" in result.output
    assert result.exit_code == 0 or nameless, result.output
