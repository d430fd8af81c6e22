"""accord's models as models of lm-evaluation-harness: its requests, answered by accord's own scoring and sampling.

The numbers are those of its `hf` model (to float error): texts are tokenised, and too long ones are cut, as there.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import (
    handle_stop_sequences,
    has_bos_prefix,
    normalize_gen_kwargs,
    postprocess_generated_text,
    resolve_max_length,
)
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from accord.errors import AccordError
from accord.lm.batching import in_batches
from accord.lm.edited import backbone_of
from accord.lm.encoding import find_start
from accord.lm.model import LanguageModel
from accord.lm.perplexity import token_losses
from accord.lm.sampling import generate
from accord.lm.scoring import Query, score
from accord.loading import load
from accord.progress import Progress

_ITS_DEFAULT = "cuda:0"  # the device that its command line names where the user names none
_NEW_TOKENS = 256  # as of its `hf` model, where a task names none
# What transformers takes where a task that samples does not say.
_SAMPLING = {"temperature": 1.0, "top_k": 50, "top_p": 1.0, "repetition_penalty": 1.0}

_Encoded = tuple[tuple[str, str] | None, Sequence[int], Sequence[int]]
"""(the texts, ids of the context, ids of the continuation)."""


@register_model("accord")
class AccordLM(TemplateLM):  # type: ignore[misc]  # the library has no types
    """Any model that `accord.load` opens, or that is open, as a model of lm-evaluation-harness.

    >>> lm_eval.simple_evaluate(harness.AccordLM("runs/demo/repair/rankalign-s0"), tasks=["arc_easy"])  # doctest: +SKIP

    Args:
        path: what `accord.load` takes: a name, a hub id, a folder of a backbone, of a repaired or of a concept language
            model. Or the model itself, such as a steered one.
        revision: of a hub id.
        device, dtype: as for `accord.load`.
        max_length: tokens of the longest sequence; by default what its configuration says.
        seed: of texts that a task has sampled.
        progress: called with (work done, work in all) of each kind of request.
        batch_size, max_batch_size: not used: batches are of as many tokens as suit the device.

    Raises:
        AccordError: there is no such model, or it cannot be loaded.
    """

    def __init__(
        self,
        path: str | LanguageModel,
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        max_length: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
        batch_size: Any = None,
        max_batch_size: Any = None,
    ) -> None:
        super().__init__()
        if device == _ITS_DEFAULT and not torch.cuda.is_available():  # as its `hf` model takes it
            device = "auto"
        self.lm: LanguageModel = (
            load(path, revision=revision, device=device, dtype=dtype) if isinstance(path, str) else path
        )
        self.tokenizer = self.lm.tokenizer
        self._device = self.lm.device
        self.max_length = max_length or _max_length(self.lm)
        self.seed, self.progress = seed, progress

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The token that a text without context is read from."""
        start = find_start(self.tokenizer)
        if start is None:
            raise AccordError("this model has no token to begin a text with", got=self.lm.name)
        return start

    @property
    def tokenizer_name(self) -> str:
        """Of the tokenizer, for the cache of requests."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as the text that the model was trained on."""
        return str(
            self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Ids of a text; special tokens as its tokenizer adds them, but no second BOS."""
        if add_special_tokens is None and has_bos_prefix(string, self.tokenizer.decode([self.prefix_token_id])):
            add_special_tokens = False
        special = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return list(self.tokenizer.encode(string, **special))

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """log p of each continuation after its context, and whether each of its tokens is the most probable."""
        answers: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm or self.progress is not None)
        return answers

    def _loglikelihood_tokens(self, requests: list[_Encoded], **_: Any) -> list[tuple[float, bool]]:
        queries = []
        for _texts, context, continuation in requests:
            self._check_room(len(continuation))
            whole = (*context, *continuation)[-(self.max_length + 1) :]
            queries.append(Query(whole[: -len(continuation)], (tuple(continuation),)))
        scored = score(self.lm, queries, progress=self.progress)
        answers = [(float(each.total[0]), bool(each.greedy[0])) for each in scored]
        for (texts, *_rest), answer in zip(requests, answers, strict=True):
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, answer)
        return answers

    @torch.no_grad()
    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """log p of each text, in windows that do not overlap but for a token: each is predicted once."""
        owners: list[int] = []
        windows: list[tuple[list[int], list[int]]] = []  # of each: context, and what is predicted after it
        for owner, request in enumerate(requests):
            ids = self.tok_encode(request.args[0])
            pieces = get_rolling_token_windows(ids, self.prefix_token_id, self.max_length, context_len=1)
            for piece in map(make_disjoint_window, pieces):
                windows.append(piece)
                owners.append(owner)
        rows = [(context + predicted)[:-1] for context, predicted in windows]
        totals = np.zeros(len(requests))

        def read(batch: list[int]) -> None:
            width = max(len(rows[i]) for i in batch)
            ids = torch.tensor([rows[i] + [rows[i][-1]] * (width - len(rows[i])) for i in batch])
            states = self.lm.hidden(ids)[self.lm.n_layers]
            where = [(row, place) for row, i in enumerate(batch) for place in self._predicting(windows[i])]
            at, places = map(list, zip(*where, strict=True))
            targets = torch.tensor([token for i in batch for token in windows[i][1]])
            losses = token_losses(self.lm, states[at, places], targets)
            np.add.at(totals, [owners[batch[row]] for row in at], -losses)

        in_batches(self.lm, [len(row) for row in rows], read, progress=self.progress)
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, float(total))
        return [float(total) for total in totals]

    @staticmethod
    def _predicting(window: tuple[list[int], list[int]]) -> range:
        """The positions that predict what is scored of a window."""
        context, predicted = window
        return range(len(context) - 1, len(context) - 1 + len(predicted))

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """What the model goes on with after each context, up to a text that the task ends it at."""
        groups: dict[str, list[int]] = defaultdict(list)
        for i, request in enumerate(requests):
            groups[repr(request.args[1])].append(i)
        texts = [""] * len(requests)
        for group in groups.values():
            written = self._write([requests[i].args[0] for i in group], dict(requests[group[0]].args[1]))
            for i, text in zip(group, written, strict=True):
                texts[i] = text
                self.cache_hook.add_partial("generate_until", requests[i].args, text)
        return texts

    def _write(self, contexts: list[str], asked: dict[str, Any]) -> list[str]:
        """The texts of all contexts that are to be gone on from in the same way."""
        settings = dict(normalize_gen_kwargs(asked, _NEW_TOKENS))
        ending = self.tokenizer.decode([self.eot_token_id]) if self.tokenizer.eos_token_id is not None else None
        until = [text for text in handle_stop_sequences(settings.pop("until", None), eos=ending) if text]
        new, sampled = int(settings.pop("max_gen_toks")), bool(settings.pop("do_sample", False))
        sampling = {**_SAMPLING, **{name: settings.pop(name) for name in _SAMPLING if name in settings}}
        if settings:
            raise AccordError(
                "accord writes texts without these settings of a task",
                got=", ".join(f"{name}={value}" for name, value in settings.items()),
                wanted=", ".join(("until", "max_gen_toks", "do_sample", *_SAMPLING)),
            )
        self._check_room(new + 1)
        prompts = [
            self.tok_encode(context)[-(self.max_length - new) :] or [self.prefix_token_id] for context in contexts
        ]
        written = generate(
            self.lm,
            prompts=prompts,
            max_new_tokens=new,
            seed=self.seed,
            stop=until,
            progress=self.progress,
            **(sampling if sampled else {**sampling, "temperature": 0.0}),
        )
        # Its own way to cut them: at each of the texts in turn.
        texts = [self.tokenizer.decode(sample.ids, skip_special_tokens=True) for sample in written]
        return [str(postprocess_generated_text(text, until, None)) for text in texts]

    def _check_room(self, tokens: int) -> None:
        if tokens > self.max_length:
            raise AccordError(
                "a task wants more tokens than the model reads",
                where=self.lm.name,
                got=f"{tokens} tokens",
                wanted=f"at most {self.max_length}",
                fix="limit the task (max_gen_toks), or say max_length=N if the model can read more",
            )


def _max_length(lm: LanguageModel) -> int:
    """As its `hf` model has it, but never more than the model can read."""
    try:
        config = backbone_of(lm).model.config
    except AccordError:  # it stands on none
        config = None
    found = int(resolve_max_length(config, lm.tokenizer))
    return min(found, lm.limits.length or found)
