"""Where a prompt ends and an answer begins, for tokenizers of several habits."""

import pytest

from accord.errors import AccordError
from accord.lm.chat import chat_text
from accord.lm.encoding import encode_answer, encode_prompt, single_tokens, start_id
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
    from tokenizers import processors

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
