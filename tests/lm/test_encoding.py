"""Where a prompt ends and an answer begins, for tokenizers of several habits."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from accord.errors import AccordError
from accord.lm.chat import chat_text
from accord.lm.encoding import encode_answer, encode_answers, encode_prompt, encode_prompts, single_tokens, start_id
from tests.tiny import tiny_tokenizer

TEMPLATE = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{{ '[assistant]\n' }}"


@pytest.mark.parametrize("bos", [True, False])
def test_context_and_answer_together_are_the_tokens_of_the_whole_text(bos: bool) -> None:
    tokenizer = tiny_tokenizer(bos=bos)
    context, answer = encode_answer(tokenizer, "kebabs are a kind of", "food")
    assert list(context + answer) == tokenizer("kebabs are a kind of food")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(list(answer)) == ["Ġfood"]
    assert (context[0] == tokenizer.bos_token_id) is bos
    assert context == encode_prompt(tokenizer, "kebabs are a kind of")


def test_a_token_across_the_join_belongs_to_the_answer() -> None:
    tokenizer = tiny_tokenizer()
    context, answer = encode_answer(tokenizer, "it is ", "food", special=False)
    assert tokenizer.convert_ids_to_tokens(list(answer)) == ["Ġfood"]
    assert tokenizer.decode(list(context)) == "it is"
    tokenizer.add_tokens(["\nYes"])
    context, answer = encode_answer(tokenizer, "Answer:\n", "Yes", special=False)
    assert tokenizer.decode(list(context)) == "Answer:"
    assert tokenizer.decode(list(answer)) == "\nYes"


def test_answers_of_several_tokens_and_of_several_bytes() -> None:
    tokenizer = tiny_tokenizer()
    _, answer = encode_answer(tokenizer, "a kind of", "crème")
    assert tokenizer.decode(list(answer)) == " crème"
    assert len(answer) == 7  # the space, five letters, and one more byte for è


def test_an_answer_without_tokens_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    for answer in ("", "  "):
        with pytest.raises(AccordError, match="no tokens"):
            encode_answer(tokenizer, "a kind of", answer)


def test_an_empty_prompt_needs_something_to_stand_for_it() -> None:
    assert encode_prompt(tiny_tokenizer(), "") == (1,)
    context, answer = encode_answer(tiny_tokenizer(bos=False), "", "food")
    assert context == (2,)  # EOS separates texts where no BOS exists
    assert answer
    neither = tiny_tokenizer(bos=False)
    neither.eos_token = None
    with pytest.raises(AccordError, match="no BOS"):
        start_id(neither)


def test_an_eos_that_closes_every_text_is_not_part_of_a_prompt() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    context, answer = encode_answer(tokenizer, "a kind of", "food")
    assert 2 not in context + answer
    assert encode_prompt(tokenizer, "a kind of") == context


def test_single_tokens_skips_longer_forms_and_repeats() -> None:
    tokenizer = tiny_tokenizer()
    ids = single_tokens(tokenizer, ["Yes", " Yes", "Yes", "YES"])
    assert tokenizer.convert_ids_to_tokens(list(ids)) == ["Yes", "ĠYes"]
    with pytest.raises(AccordError, match="single token"):
        single_tokens(tokenizer, ["perhaps"])


def test_chat_text_has_its_bos_once() -> None:
    tokenizer = tiny_tokenizer()
    with pytest.raises(AccordError, match="chat template"):
        chat_text(tokenizer, "Hello")
    tokenizer.chat_template = TEMPLATE
    text = chat_text(tokenizer, "Hello")
    assert text == "<s>[user] Hello\n[assistant]\n"
    ids = encode_prompt(tokenizer, text, special=False)
    assert ids.count(1) == 1
    context, answer = encode_answer(tokenizer, text, "Yes", special=False)
    assert context == ids
    assert tokenizer.decode(list(answer)) == "Yes"


def _closing() -> PreTrainedTokenizerFast:
    """A tokenizer that opens and closes every text, and whose file asks for padding and for short texts."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer.backend_tokenizer.enable_padding(length=40)
    tokenizer.backend_tokenizer.enable_truncation(8)
    return tokenizer


_TOKENIZERS = [tiny_tokenizer(), tiny_tokenizer(bos=False), _closing()]
_PIECES = ["", " ", "\n", "food", " Yes", "kind of", "crème", "<s>", "</s>", "[user] ", "🐦", "A bird"]
_texts = st.lists(st.sampled_from(_PIECES), max_size=4).map("".join)


def _singly(tokenizer: PreTrainedTokenizerFast, prompt: str, join: str, answer: str, special: bool) -> object:
    """Context and answer of one text as the tokenizer gives them, and the prompt alone; None where it has no answer."""
    if not prompt or prompt[-1].isspace():
        join = join.lstrip()
    before, space = prompt + join.rstrip(" "), join[len(join.rstrip(" ")) :]
    encoded = tokenizer(before + space + answer, add_special_tokens=special, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    own = [i for i, (_, end) in enumerate(offsets) if end > len(before)]
    alone = tokenizer(before, add_special_tokens=special)["input_ids"]
    if special and alone[-1:] == [2] != [tokenizer.bos_token_id]:
        alone = alone[:-1]
    start = tokenizer.bos_token_id or tokenizer.eos_token_id
    if not own or not answer.strip():
        return None
    context, rest = ids[: own[0]] or [start], ids[own[0] : own[-1] + 1]
    return tuple(context), tuple(rest), tuple(alone or [start])


@given(
    st.lists(st.tuples(_texts, st.sampled_from([" ", "", ": ", "\n"]), _texts), max_size=7),
    st.sampled_from(_TOKENIZERS),
    st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_texts_together_have_the_tokens_of_each_by_itself(
    texts: list[tuple[str, str, str]], tokenizer: PreTrainedTokenizerFast, special: bool
) -> None:
    wanted = {text: _singly(tokenizer, *text, special) for text in texts}
    whole = [text for text in texts if wanted[text]]
    prompts = encode_prompts(tokenizer, [(prompt, join) for prompt, join, _ in whole], special=special)
    both = encode_answers(tokenizer, whole, special=special)
    assert [(*pair, prompt) for pair, prompt in zip(both, prompts, strict=True)] == [wanted[text] for text in whole]
    if len(whole) < len(texts):
        with pytest.raises(AccordError, match="no tokens"):
            encode_answers(tokenizer, texts, special=special)


def test_many_texts_are_tokenised_in_few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, sizes, call = tiny_tokenizer(), [], PreTrainedTokenizerFast.__call__
    monkeypatch.setattr(
        PreTrainedTokenizerFast,
        "__call__",
        lambda self, texts, **k: sizes.append(len(texts)) or call(self, texts, **k),  # type: ignore[func-returns-value]
    )
    assert len(encode_prompts(tokenizer, [(f"a kind of {i}", " ") for i in range(600)])) == 600
    assert sum(sizes) == 600 and len(sizes) <= 3
