"""accord's models in lm-evaluation-harness: its own `hf` model's numbers, of backbones; and of what is no backbone."""

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accord.errors import AccordError
from accord.lm import Backbone, generate, score
from accord.lm.encoding import encode_answer
from accord.lm.scoring import Query
from accord.repair import save_edits
from accord.repair.folder import with_edits
from accord.steering import AddDirection
from tests.tiny import tiny_model, tiny_tokenizer

pytest.importorskip("lm_eval", reason="of lm-evaluation-harness (pip install 'accord[harness]')")

from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.models.huggingface import HFLM

from accord.harness import AccordLM
from accord.harness import __main__ as command_line

PAIRS = [
    ("A bee is a kind of", " food"),
    ("A bee is a kind of ", "bird"),
    ("", "Yes, of kind birds"),
    ("naïve café", "\n"),
    ("A bee is a kind of", " bird of food"),
    ("<s>Yes", " no"),
    ("of food " * 9, "Yes"),  # longer than what the models are told that they can read
]
LENGTH = 24


def both(family: str = "llama", bos: bool = True) -> tuple[AccordLM, Any, Backbone]:
    lm = Backbone(tiny_model(family), tiny_tokenizer(bos=bos))
    theirs = HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, batch_size=3, device="cpu", max_length=LENGTH)
    return AccordLM(lm, max_length=LENGTH), theirs, lm


def asked(kind: str, *arguments: tuple[Any, ...]) -> list[Instance]:
    return [Instance(request_type=kind, doc={}, arguments=each, idx=i) for i, each in enumerate(arguments)]


@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize(("family", "bos"), [("llama", True), ("gemma3", True), ("gpt2", False)])
def test_numbers_are_those_of_its_own_model(family: str, bos: bool) -> None:
    ours, theirs, lm = both(family, bos)
    greedy = generate(lm, prompts=[PAIRS[0][0]], max_new_tokens=1, temperature=0, repetition_penalty=1.0)
    requests = asked("loglikelihood", *PAIRS, (PAIRS[0][0], greedy[0].text))
    got, expected = ours.loglikelihood(requests, disable_tqdm=True), theirs.loglikelihood(requests, disable_tqdm=True)
    np.testing.assert_allclose([each[0] for each in got], [each[0] for each in expected], atol=2e-4)
    assert [each[1] for each in got] == [each[1] for each in expected] and not all(each[1] for each in got)
    texts = asked("loglikelihood_rolling", *[("A bee is a naïve bird. " * n,) for n in (1, 2, 5)], ("",))
    rolled = ours.loglikelihood_rolling(texts), theirs.loglikelihood_rolling(texts, disable_tqdm=True)
    np.testing.assert_allclose(*rolled, atol=5e-4)
    assert rolled[0][2] < 3 * rolled[0][0] < 0
    settings = [{"until": ["e", "Yes"], "max_gen_toks": 8}, {"max_gen_toks": 5, "do_sample": False, "until": "kind"}]
    # It looks at a batch's first text alone to see whether a BOS is there already.
    contexts = [text for text, _ in PAIRS if text and not text.startswith("<s>")]
    goes_on = asked("generate_until", *((text, settings[i % 2]) for i, text in enumerate(contexts)))
    assert ours.generate_until(goes_on) == theirs.generate_until(goes_on, disable_tqdm=True)


def test_a_repaired_folder_is_opened_by_its_registered_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    tiny_model().save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    vector = 2 * torch.randn(32, generator=torch.Generator().manual_seed(0))
    save_edits([AddDirection(2, vector)], tmp_path / "repaired", base=str(tmp_path / "base"), about={})
    # Its command line names a card where the user names no device.
    model = get_model("accord").create_from_arg_string(f"path={tmp_path / 'repaired'}", {"device": "cuda:0"})
    plain = Backbone(tiny_model(), tiny_tokenizer())
    changed = with_edits(plain, [AddDirection(2, vector)])
    context, answer = encode_answer(plain.tokenizer, "A bee is a kind of", "food")
    [expected], [unchanged] = (score(lm, [Query(context, (answer,))]) for lm in (changed, plain))
    [(got, _)] = model.loglikelihood(asked("loglikelihood", PAIRS[0]), disable_tqdm=True)
    assert got == pytest.approx(expected.total[0], abs=1e-4) and abs(got - unchanged.total[0]) > 0.01


def test_sampled_texts_are_the_same_each_time_and_cut(capsys: pytest.CaptureFixture[str]) -> None:
    model, *_ = both()
    wanted = {"do_sample": True, "temperature": 0.9, "top_p": 0.95, "max_gen_toks": 6, "until": ["\n"]}
    requests = asked("generate_until", *(("A bee is", wanted),) * 3)
    texts = model.generate_until(requests)
    assert texts == model.generate_until(requests) and len(set(texts)) > 1


def test_what_accord_cannot_do_is_said() -> None:
    model, *_ = both()
    with pytest.raises(AccordError, match=r"without these settings of a task\n.*num_beams=4"):
        model.generate_until(asked("generate_until", ("A bee", {"num_beams": 4, "until": ["x"], "max_gen_toks": 2})))
    with pytest.raises(AccordError, match="more tokens than the model reads"):
        model.loglikelihood(asked("loglikelihood", ("A", " bird" * 40)), disable_tqdm=True)
    with pytest.raises(AccordError, match="more tokens than the model reads"):
        model.generate_until(asked("generate_until", ("A bee", {"until": ["x"]})))


def test_the_entry_point_that_later_versions_read_leads_to_the_model() -> None:
    """A version that reads entry points puts them into its registry as they are."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [(name, value)] = project["entry-points"]["lm_eval.models"].items()
    assert name == "accord" and EntryPoint(name, value, "lm_eval.models").load() is AccordLM


def test_its_command_line_knows_accord(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", lambda: seen.append(get_model("accord")))
    assert command_line.main() == 0 and seen == [AccordLM]
    monkeypatch.setattr("accord.harness.installed.find_spec", lambda name: None)
    assert command_line.main() == 2
