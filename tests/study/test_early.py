"""Whatever would end a run an hour in, and can be told before, is told before its first stage."""

import io
import shutil
from importlib.util import find_spec

import pytest
from rich.console import Console
from tests.names.server import ChatServer
from tests.tiny import tiny_hub_folder, tiny_texts

from accord.errors import AccordError, MissingLibrary
from accord.study import engine, load, plan_study

TOP = """\
name = "s"
[backbone]
model = "model"
device = "cpu"
[[gap]]
task = "hypernymy"
validator_shots = "zero"
limit = 24
[tasks.capitals]
data = "capitals.tsv"
generator = "The capital of {country} is"
validator = "Is {city} the capital of {country}? Answer:"
answer = "city"
gold = "correct"
yes = ["Yes, that is how it is"]
no = ["No, it is not"]
"""
TEXT = """
[text]
source = "texts.csv"
label = "mood"
max_tokens = 200
held_out_tokens = 80
[[concepts]]
kind = "topk"
size = 16
k = 4
training = { steps = 4, batch = 32 }
"""
REPAIR = '[[repair]]\nvalidator_shots = "zero"\nlimit = 24\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, judges that cannot judge, texts and a task."""
    folder = tmp_path_factory.mktemp("early")
    for name in ("model", "mute", "classifier"):
        tiny_hub_folder(folder / name)
    for file in ("tokenizer.json", "vocab.json"):
        (folder / "mute" / file).unlink(missing_ok=True)
    (folder / "classifier" / "config.json").write_text('{"model_type": "vit"}')
    rows = [f"{text},{('glad', 'sad')[i % 2]}" for i, text in enumerate(tiny_texts())]
    (folder / "texts.csv").write_text("text,mood\n" + "\n".join(rows))
    shutil.copy(folder / "texts.csv", folder / "same.csv")
    rows = [f"{a}land\t{b}burg\t{'yes' if a == b else 'no'}" for a in "ABCDEFGH" for b in "ABCDEFGH"]
    (folder / "capitals.tsv").write_text("country\tcity\tcorrect\n" + "\n".join(rows))
    return folder


@pytest.fixture
def refused(folder):
    def refused(text):
        (folder / "s.toml").write_text(TOP + text)
        with pytest.raises(AccordError) as caught:
            plan_study(load(folder / "s.toml"))
        return str(caught.value)

    return refused


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (REPAIR + 'kind = "readout"\nlayers = [1, 9]', ["key layers", "No such layer", "0 to 3"]),
        (REPAIR.replace("24", "10") + 'kind = "readout"', ["too few training items", "at least 20"]),
        (REPAIR + 'kind = "consistency"\nrounds = 9\nsteps = 8', ["each round needs a step"]),
        (REPAIR + 'kind = "sft"\ntask = "capitals"\nnegation = true', ["no negated wording"]),
        ('[[gap]]\ntask = "capitals"\nnegated = true', ["no negated wording", "leave negated off"]),
        (REPAIR + 'kind = "sft"\nform = "joint"\nchat = true', ["a chat has turns"]),
        (REPAIR + 'kind = "readout"\ntask = "capitals"', ["label words of one token each", "Yes, that is how it is"]),
        (
            '[[repair]]\nkind = "rankalign"\ntask = "capitals"\nvalidator_shots = "zero"\n[pathway]',
            ["key pathway", "a pathway needs label words of one token each"],
        ),
        (
            TEXT + '[[gap]]\ntask = "capitals"\nname = "c"\nsplit = "all"\n[explain]\ngap = "c"',
            ["key explain", "an explanation by concepts needs label words of one token each"],
        ),
        (
            TEXT + '[[gap]]\ntask = "hypernymy"\nname = "few"\nlimit = 8\n[explain]\ngap = "few"',
            ["too few items", "20"],
        ),
        (TEXT + "[steering]", ["which one should texts be steered toward", "glad, sad"]),
        (TEXT + '[steering]\nlabel = "happy"', ["No text has this label", "got:    happy", "glad, sad"]),
        (TEXT + '[perplexity]\njudge = "mute"', ["[perplexity], key judge", "no tokenizer"]),
        (TEXT + '[steering]\nwritten = 0\njudge = "classifier"', ["[steering], key judge", "no causal language model"]),
        (REPAIR + 'kind = "calibrate"\n[damage]\ntexts = "same.csv"\ncolumn = "txt"', ["txt"]),
    ],
)
def test_it_is_told_with_its_place(refused, text, words):
    message = refused(text)
    assert "s.toml:" in message
    for word in words:
        assert word in message, message


def test_epochs_that_are_too_many_updates(refused, monkeypatch):
    monkeypatch.setattr("accord.concepts.stage.STEPS", 1000)
    message = refused(TEXT.replace("steps = 4", "epochs = 5000.0"))
    assert "[[concepts]] number 1" in message and "too many updates" in message and "at most 1,000" in message


def test_all_weights_are_trained_in_full_precision_alone(folder):
    text = TOP.replace('device = "cpu"', 'device = "cpu"\ndtype = "bfloat16"') + REPAIR + 'kind = "sft"\nfull = true\n'
    (folder / "half.toml").write_text(text)
    with pytest.raises(AccordError, match=r"\[\[repair\]\] number 1, key full\n.*half precision"):
        plan_study(load(folder / "half.toml"))


def test_packages_that_are_not_installed(refused, monkeypatch):
    for module in ("accord.steering.config", "accord.text.hub"):
        monkeypatch.setattr(f"{module}.find_spec", lambda name: None)
    assert find_spec("datasets")
    assert "accord[sentiment]" in refused(TEXT + '[steering]\nlabel = "glad"')
    assert "accord[hub]" in refused(TEXT.replace("texts.csv", "org/texts"))
    assert issubclass(MissingLibrary, AccordError)


@pytest.mark.parametrize("fault", ["gone", "key"])
def test_a_server_that_does_not_answer_ends_a_run_before_its_first_stage(folder, tmp_path, monkeypatch, fault):
    monkeypatch.setenv("OTHER_KEY", "sk-no")
    with ChatServer(key="sk-yes") as server:
        url = server.url if fault == "key" else "http://127.0.0.1:9/v1"
        annotator = f'{{ kind = "openai", model = "m", base_url = "{url}", key_variable = "OTHER_KEY" }}'
        (folder / "named.toml").write_text(TOP + TEXT + f"[names]\nannotator = {annotator}\n")
        with pytest.raises(
            AccordError, match="does not take this key" if fault == "key" else "does not answer"
        ) as caught:
            engine.run(folder / "named.toml", tmp_path / "run", console=Console(file=io.StringIO()))
    assert url in str(caught.value) and "sk-no" not in str(caught.value)
    assert not (tmp_path / "run").exists()
