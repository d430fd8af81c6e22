"""Label words, joins and conversations: what is scored is what plain transformers gives for the same text."""

import copy
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers
from transformers import PreTrainedTokenizerFast

import accord
from accord.errors import AccordError
from accord.gap import measure_gap
from accord.gap.questions import LabelWords, contexts_of
from accord.lm import Backbone
from accord.tasks import Task
from accord.tasks.as_read import read_by
from tests.tiny import tiny_model, tiny_tokenizer

GERMAN = "s,c,ok\nBienen,Insekten,yes\nBienen,Holz,no\nKatzen,Tiere,yes\n"
ASKED = {"generator": "{s} sind", "validator": "Sind {s} {c}? Antwort:", "answer": "c", "gold": "ok"}
JA = {**ASKED, "yes": ["Ja"], "no": ["Nein"]}
SINGLE = ("ĠJa", "Ja", "ĠNein", "Nein")
MOODS = "text,mood\nfine,good\nbad,poor\nso so,middling\ngrand,good\n"
CHOICE = {"generator": "{text} is", "validator": "Is {text} good, poor or middling?", "answer": "mood", "gold": "mood"}
LABELS = {**CHOICE, "labels": ["good", "poor", "middling"]}

Make = Callable[..., Task]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(table: dict[str, Any], rows: str = GERMAN, **choices: Any) -> Task:
        (tmp_path / "rows.csv").write_text(rows, encoding="utf-8")
        return accord.task({"name": "mine", "data": tmp_path / "rows.csv", **table}, **{"split": "all", **choices})

    return made


def tiny(*more: str, template: str | None = None, seed: int = 0) -> Backbone:
    lm = Backbone(tiny_model(vocab_size=420, seed=seed), tiny_tokenizer(more=more))
    lm.tokenizer.chat_template = template
    return lm


@cache
def in_float64(lm: Backbone) -> torch.nn.Module:
    return copy.deepcopy(lm.model).double()


@torch.no_grad()
def plain(lm: Any, before: str, answer: str, *, special: bool = True) -> float:
    """log p of `answer` after `before`, both tokenised as one text, a tiny model in float64."""
    ids = lm.tokenizer(before + answer, add_special_tokens=special)["input_ids"]
    start = len(lm.tokenizer(before.rstrip(" "), add_special_tokens=special)["input_ids"])
    model = in_float64(lm) if lm.d_model < 100 else lm.model
    logp = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(float(logp[i - 1, ids[i]]) for i in range(start, len(ids)))


def logodds(lm: Any, prompt: str, plus: list[str], minus: list[str], *, special: bool = True) -> float:
    sides = ([plain(lm, prompt, form, special=special) for form in side] for side in (plus, minus))
    yes, no = (np.logaddexp.reduce(side) for side in sides)
    return float(yes - no)


@pytest.mark.parametrize(
    ("words", "more", "yes", "no"),
    [
        (("Ja", "Nein"), SINGLE, ["Ja", " Ja"], ["Nein", " Nein"]),
        (("Ja", "Nein"), ("ĠJa", "Ja"), ["Ja", " Ja"], [" Nein"]),  # one token, and five
        # The five forms of the source, where each is one token.
        (("Yes", "No"), ("YES", "NO"), ["Yes", " Yes", "YES", "yes", " yes"], ["No", " No", "NO", "no", " no"]),
        (("True", "False"), (), [" True"], [" False"]),
        (("A", "B"), ("ĠA", "ĠB"), [" A", "A"], [" B", "B"]),
        (("ja wohl", "ja nicht"), (), [" ja wohl"], [" ja nicht"]),  # they begin alike
    ],
)
def test_validator_logodds_are_those_of_the_words_of_the_task(
    make: Make, words: tuple[str, str], more: tuple[str, ...], yes: list[str], no: list[str]
) -> None:
    lm, task = tiny(*more), make({**ASKED, "yes": [words[0]], "no": [words[1]]})
    scores = measure_gap(lm, task, resamples=0).scores
    for row in scores.to_dict("records"):
        assert row["validator_logodds"] == pytest.approx(logodds(lm, row["validator_prompt"], yes, no), abs=1e-4)
        mass = sum(math.exp(plain(lm, row["validator_prompt"], form)) for form in (*yes, *no))
        assert row["yes_no_mass"] == pytest.approx(mass, rel=1e-3)


def test_several_words_of_a_label_are_summed_and_none_twice(make: Make) -> None:
    lm = tiny()
    task = make({**ASKED, "yes": ["Ja", "Ja gern", "Doch"], "no": ["Nein"]})
    row = measure_gap(lm, task, resamples=0).scores.iloc[0]
    wanted = logodds(lm, row["validator_prompt"], [" Ja", " Doch"], [" Nein"])  # "Ja gern" begins with "Ja"
    assert row["validator_logodds"] == pytest.approx(wanted, abs=1e-4)


def test_labels_that_cannot_be_told_apart_are_refused(make: Make) -> None:
    with pytest.raises(AccordError, match="two labels"):
        make({**ASKED, "yes": ["Ja", "So"], "no": ["Nein", "So"]})
    with pytest.raises(AccordError, match=r"N' \(yes\), ' Nein' \(no\)"):
        measure_gap(tiny(), make({**ASKED, "yes": ["N"], "no": ["Nein"]}))
    for keys, said in (
        ({"yes": ["Ja"]}, "none for no"),
        ({"no": ["Nein"]}, "none for yes"),
        ({"yes": [" "], "no": ["Nein"]}, "blank"),
        ({"yes": [], "no": ["Nein"]}, "no word"),
        ({"labels": ["a", "b"], "yes": ["Ja"], "no": ["Nein"]}, "chooses from labels, or says yes or no"),
        ({"labels": ["a"]}, "needs labels"),
        ({"labels": ["a", "A"]}, "twice"),
    ):
        with pytest.raises(AccordError, match=said):
            make({**ASKED, **keys})


def test_a_word_that_the_tokenizer_does_not_know_is_refused(make: Make) -> None:
    lm = tiny()
    lm.tokenizer.unk_token = "J"  # as if that stood for all that it does not know
    with pytest.raises(AccordError, match="no tokens for a label word"):
        measure_gap(lm, make(JA))


def test_a_vocabulary_that_puts_a_space_before_every_text(make: Make) -> None:
    """As Llama 2's: by itself " Ja" is two tokens, and after a prompt one."""
    vocab = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>", "▁", *map(chr, range(33, 127))])}
    merges = []
    for word in ("▁Ja", "▁Nein", "▁Yes", "▁No"):
        for end in range(2, len(word) + 1):
            if word[:end] not in vocab:
                merges.append((word[: end - 1], word[end - 1]))
                vocab[word[:end]] = len(vocab)
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    assert len(tokenizer(" Ja")["input_ids"]) == 2 and len(tokenizer("Ja")["input_ids"]) == 1
    lm = Backbone(tiny_model(), tokenizer)
    for task, words in ((make(JA), ("▁Ja", "▁Nein")), (make(ASKED), ("▁Yes", "▁No"))):
        tokens = LabelWords.of(lm, task).tokens(task, "a test")
        assert tokens == tuple(((vocab[word],)) for word in words)
    task = make({**ASKED, "yes": ["Jawohl"], "no": ["Nicht"]})
    row = measure_gap(lm, task, resamples=0).scores.iloc[0]
    wanted = logodds(lm, row["validator_prompt"], [" Jawohl"], [" Nicht"])
    assert row["validator_logodds"] == pytest.approx(wanted, abs=1e-4)


def test_worked_examples_show_the_words_and_the_join(make: Make) -> None:
    shots = [{"s": "Hunde", "c": "Tiere", "ok": "ja"}, {"s": "Eulen", "c": "Holz", "ok": "nein"}]
    task = make({**JA, "shots": shots, "join": " → "}, generator_shots="few")
    generator, validator = task.prompts(task.items[0])
    assert generator.startswith("Hunde sind → Tiere\n\n")
    assert validator.startswith("Sind Hunde Tiere? Antwort: → Ja\n\nSind Eulen Holz? Antwort: → Nein\n\n")
    assert task.settings["labels"] == {"yes": ["Ja"], "no": ["Nein"]} and task.settings["join"] == " → "


@pytest.mark.parametrize("join", [" ", "", " → ", "\n", ": "])
def test_an_answer_and_label_words_stand_after_the_join(make: Make, join: str) -> None:
    lm, task = tiny(*SINGLE, "ĠHolz", "ĠInsekten", "ĠTiere"), make({**JA, "join": join})
    gap = measure_gap(lm, task, resamples=0)
    for row in gap.scores.to_dict("records"):
        assert row["generator_logprob"] == pytest.approx(
            plain(lm, row["generator_prompt"] + join, row["answer"]), abs=1e-4
        )
        wanted = logodds(lm, row["validator_prompt"] + join.rstrip(" "), ["Ja", " Ja"], ["Nein", " Nein"])
        assert row["validator_logodds"] == pytest.approx(wanted, abs=1e-4)
        assert row["answer_token"] == (f" {row['answer']}" if join.endswith(" ") else row["answer"][0])


def test_a_language_without_spaces(make: Make) -> None:
    rows = "s,c,ok\n蜜蜂,昆虫,yes\n蜜蜂,家具,no\n猫,动物,yes\n猫,家具,no\n"
    keys = {"generator": "{s}是一种", "validator": "{s}是一种{c}吗？回答：", "answer": "c", "gold": "ok"}
    lm = tiny("æĺ¯", "åĲ¦")
    chinese = {**keys, "yes": ["是"], "no": ["否"], "join": ""}
    for row in measure_gap(lm, make(chinese, rows), resamples=0).scores.to_dict("records"):
        assert row["generator_logprob"] == pytest.approx(plain(lm, row["generator_prompt"], row["answer"]), abs=1e-4)
        assert row["validator_logodds"] == pytest.approx(logodds(lm, row["validator_prompt"], ["是"], ["否"]), abs=1e-4)
    spaced = measure_gap(lm, make({**chinese, "join": " "}, rows), resamples=0)
    assert spaced.metrics["blank_first_tokens"]["value"] == 4  # the space is a token of its own
    assert measure_gap(lm, make(chinese, rows), resamples=0).metrics["blank_first_tokens"]["value"] == 0


def test_a_validator_that_chooses(make: Make) -> None:
    lm, task = tiny(), make(LABELS, MOODS)
    assert [(i.gold, i.label) for i in task.items if i.fields["text"] == "bad"] == [(True, "poor")]
    gap = measure_gap(lm, task, resamples=20)
    names = LABELS["labels"]
    right = []
    for row in gap.scores.to_dict("records"):
        each = {label: plain(lm, row["validator_prompt"], f" {label}") for label in names}
        others = np.logaddexp.reduce([each[label] for label in names if label != row["label"]])
        assert row["validator_logodds"] == pytest.approx(each[row["label"]] - others, abs=1e-4)
        assert row["validator_choice"] == max(each, key=each.__getitem__)
        right.append(row["validator_choice"] == row["label"])
    assert gap.metrics["validator_accuracy"]["value"] == pytest.approx(np.mean(right))
    for undefined in ("pearson_no", "validator_auc", "generator_auc", "mrr_no"):
        assert gap.metrics[undefined]["value"] is None
    assert make(LABELS, MOODS + "odd,other\n").settings["skipped"]["column 'mood' holds an unknown word"] == 1


def test_the_chosen_label_is_the_most_probable_one_not_the_one_above_all_others_together() -> None:
    words = LabelWords({"a": ((1,),), "b": ((2,), (3,)), "c": ((4,),)})
    logprobs = np.log([0.4, 0.1, 0.25, 0.2])
    assert words.choice(logprobs) == "a"
    assert words.logodds(logprobs, "a") == pytest.approx(math.log(0.4 / 0.55)) and words.logodds(logprobs, "a") < 0


def test_by_layer_a_choice_ends_in_the_scores_words_of_several_tokens_too(make: Make) -> None:
    for lm in (tiny("Ġgood", "good", "Ġpoor", "poor", "Ġmiddling", "middling"), tiny()):
        task = make(LABELS, MOODS)
        gap = measure_gap(lm, task, layers=True, resamples=0)
        assert gap.layers is not None and gap.layer_metrics is not None
        by_layer = gap.layers.sort_values(["layer", "item"])
        top = by_layer[by_layer["layer"] == lm.n_layers]
        assert list(top["validator_choice"]) == list(gap.scores["validator_choice"])
        accuracy = gap.layer_metrics.set_index(["layer", "metric"])["value"][(lm.n_layers, "validator_accuracy")]
        assert accuracy == gap.metrics["validator_accuracy"]["value"]
        words, row = LabelWords.of(lm, task), gap.scores.iloc[0]
        context = contexts_of(lm, task, "validator")[0]
        logprobs = [lens_logprob(lm, context, ids, 1) for ids in words.all]
        value = by_layer[by_layer["layer"] == 1]["validator_logodds"].iloc[0]
        assert value == pytest.approx(float(words.logodds(np.array(logprobs), row["label"])), abs=1e-4)


@torch.no_grad()
def lens_logprob(lm: Backbone, context: tuple[int, ...], answer: tuple[int, ...], layer: int) -> float:
    """log p of a whole answer by the lens of a layer, in one pass over the text."""
    states = lm.hidden(torch.tensor([context + answer[:-1]]), layers=[layer])[layer][0, len(context) - 1 :]
    return float(lm.lens(states).double().log_softmax(-1)[range(len(answer)), list(answer)].sum())


TURN = "{% for m in messages %}<s>{{ m.role }}:{{ m.content }}</s>{% endfor %}"
SPECIAL = TURN + "{% if add_generation_prompt %}<s>{% endif %}"
LLAMA2 = (
    "<s>{% for m in messages %}{% if m.role == 'assistant' %}{{ ' ' + m.content + ' </s>' }}"
    "{% else %}[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "space"),
    [
        (SPECIAL, ""),  # ends in a special token
        (TURN + "<s>assistant\n", ""),
        (TURN + "assistant:", ""),
        (LLAMA2, " "),  # writes a space before a reply itself
    ],
)
def test_after_a_chat_template_an_answer_is_tokenised_as_the_reply_would_be(
    make: Make, template: str, space: str
) -> None:
    lm, task = tiny(*SINGLE, "ĠHolz", "ĠInsekten", "ĠTiere", template=template), make(JA, chat=True)
    for row in measure_gap(lm, task, resamples=0).scores.to_dict("records"):
        prompts = [
            lm.tokenizer.apply_chat_template(
                [{"role": "user", "content": row[f"{form}_prompt"]}], tokenize=False, add_generation_prompt=True
            )
            for form in ("generator", "validator")
        ]
        wanted = plain(lm, prompts[0], space + row["answer"], special=False)
        assert row["generator_logprob"] == pytest.approx(wanted, abs=1e-4)
        assert row["answer_token"] == (f" {row['answer']}" if space else row["answer"][0])
        wanted = logodds(lm, prompts[1], ["Ja", " Ja"], ["Nein", " Nein"], special=False)
        assert row["validator_logodds"] == pytest.approx(wanted, abs=1e-4)


OPTIONS = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[{{ mode | default('slow') }}]"


def test_a_conversation_has_a_system_message_options_and_a_turn_for_each_example(make: Make) -> None:
    shots = [{"s": "Hunde", "c": "Tiere", "ok": "ja"}, {"s": "Eulen", "c": "Holz", "ok": "nein"}]
    lm, keys = tiny(*SINGLE, template=OPTIONS), {"chat": True, "system": "Kurz!", "chat_options": {"mode": "fast"}}
    task = make({**JA, "shots": shots}, **keys)
    text = (
        "[system]Kurz![user]Sind Hunde Tiere? Antwort:[assistant]Ja[user]Sind Eulen Holz? Antwort:[assistant]Nein"
        "[user]Sind Bienen Holz? Antwort:[fast]"
    )
    [item] = [item for item in task.items if item.answer == "Holz"]
    query = LabelWords.of(lm, task).queries(lm, task, [item])[0][1]
    assert lm.tokenizer.decode(list(query.context)) == text
    flat = make({**JA, "shots": shots}, **keys, chat_turns=False)
    query = LabelWords.of(lm, flat).queries(lm, flat, [item])[0][1]
    assert lm.tokenizer.decode(list(query.context)) == f"[system]Kurz![user]{flat.prompts(item)[1]}[fast]"
    own = make({**JA, "shots": shots, "system": "Kurz!", "chat_options": {"mode": "fast"}}, chat=True)
    assert own.settings == {**task.settings, "data_sha256": own.settings["data_sha256"]}


@pytest.mark.parametrize(
    ("template", "keys", "said"),
    [
        ("{% if messages[0].role != 'system' %}{{ raise_exception('system please') }}{% endif %}", {}, "system please"),
        (
            "{% if messages|length > 1 %}{{ raise_exception('roles must alternate') }}{% endif %}",
            {"system": "x"},
            "leave",
        ),
        ("{% for m in messages %}{{ m.content }", {}, "TemplateSyntaxError"),
        ("{{ messages[7].content.upper() }}", {}, "UndefinedError"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", {}, "Recursion"),
        ("{% for i in range(10 ** 9) %}{{ messages }}{% endfor %}", {}, "OverflowError"),
        ("{{ messages[0].content + 1 }}", {}, "TypeError"),
        ("{{ messages[-1].content }}", {"system": "Be kind."}, "leaves out the system message"),
        ("{{ messages[0].role }}", {}, "leaves out the user message"),
        (OPTIONS, {"chat_options": {"moode": 1}}, "reads no option 'moode'"),
        (OPTIONS, {"chat_options": {"tokenize": True}}, "reads no option 'tokenize'"),
    ],
)
def test_a_template_that_fails_gives_one_clear_error(
    make: Make, template: str, keys: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, task = tiny(template=template), make(JA, chat=True, **keys)
    monkeypatch.setattr(lm.tokenizer, "name_or_path", "the-model")
    with pytest.raises(AccordError, match=said) as caught:
        measure_gap(lm, task)
    assert "the-model" in str(caught.value)


def test_chat_keys_without_a_chat_are_refused(make: Make) -> None:
    with pytest.raises(AccordError, match="Only a chat"):
        make(JA, system="Kurz!")


def test_what_a_template_renders_is_in_the_settings(make: Make) -> None:
    date = "{{ strftime_now('%Y') if day is not defined else day }}{% for m in messages %}{{ m.content }}{% endfor %}"
    lm, task = tiny(template=date), make(JA, chat=True)
    first = read_by(lm.tokenizer, task)
    assert first.settings == read_by(lm.tokenizer, first).settings
    for changed in (date.replace("%Y", "%Y %m"), "x" + date):
        lm.tokenizer.chat_template = changed
        assert read_by(lm.tokenizer, task).settings["chat"]["rendered"] != first.settings["chat"]["rendered"]
    plain_task = make(JA)
    assert read_by(lm.tokenizer, plain_task) is plain_task


@pytest.mark.real
def test_the_small_real_model_in_chinese_and_german(make: Make) -> None:
    real = accord.load("gemma3-270m", device="cpu")
    rows = "s,c,ok\n猫,动物,yes\n猫,家具,no\n"
    keys = {"generator": "{s}是一种", "validator": "{s}是一种{c}吗？回答：", "answer": "c", "gold": "ok"}
    scores: pd.DataFrame = measure_gap(real, make({**keys, "join": ""}, rows), resamples=0).scores
    for row in scores.to_dict("records"):
        assert row["generator_logprob"] == pytest.approx(plain(real, row["generator_prompt"], row["answer"]), abs=1e-3)
        assert row["answer_token"].strip()
    for row in measure_gap(real, make(JA), resamples=0).scores.to_dict("records"):
        wanted = logodds(
            real, row["validator_prompt"], ["Ja", " Ja"], [" Nein"]
        )  # "Nein" without a space is two tokens
        assert row["validator_logodds"] == pytest.approx(wanted, abs=1e-3)
