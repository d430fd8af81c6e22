"""Free texts of a model: teacher-forced scores flatter edits (arXiv 2502.11177), so let it write, too."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from accord.damage.questions import Questions
from accord.lm.model import LanguageModel
from accord.lm.perplexity import perplexity
from accord.lm.sampling import generate
from accord.progress import Progress
from accord.unfinished import each, once

_PART = 32  # texts that a kill can cost
# As usual, but without a repetition penalty, which would hide what is looked for.
_DRAW = {"temperature": 0.7, "top_k": 100, "top_p": 0.9, "repetition_penalty": 1.0}
_COLUMNS = ("prompt", "text", "tokens", "finished")


def write_free(
    lm: LanguageModel, questions: Questions, judge: LanguageModel | None, parts: Path | None, progress: Progress | None
) -> pd.DataFrame:
    """A row a sample: prompt, text, tokens, finished, judge_nll, judge_tokens (nan without a judge)."""
    openings = questions.openings
    makes = {
        f"free-{start:06}.parquet": partial(_part, lm, questions, openings[start : start + _PART], start)
        for start in range(0, len(openings), _PART)
    }

    def there(number: int) -> None:
        if progress:
            progress(min(number * _PART, len(openings)), len(openings))

    tables = list(each(parts, makes, there)) or [pd.DataFrame({name: [] for name in _COLUMNS})]
    table = pd.concat(tables, ignore_index=True)
    if judge is None or table.empty:
        return table.assign(judge_nll=np.nan, judge_tokens=np.nan)
    judged = once(parts, "judged.safetensors", partial(_judged, judge, table))
    return table.assign(judge_nll=judged["nll"].numpy(), judge_tokens=judged["tokens"].numpy())


def _part(lm: LanguageModel, questions: Questions, openings: list[str], start: int) -> pd.DataFrame:
    # A seed of its own for every part: `generate` numbers its prompts from 0.
    seed = int(np.random.SeedSequence([questions.seed, start]).generate_state(1)[0])
    samples = generate(
        lm,
        prompts=openings,
        max_new_tokens=questions.new_tokens,
        seed=seed,
        batch_size=_PART,
        **_DRAW,  # type: ignore[arg-type]
    )
    rows = [(sample.prompt, sample.text, len(sample.ids), sample.finished) for sample in samples]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _judged(judge: LanguageModel, table: pd.DataFrame) -> dict[str, Tensor]:
    """nll and tokens [text] of what follows each prompt: those of both together, less those of the prompt alone."""
    whole = perplexity(judge, list(table["prompt"] + table["text"]))
    alone = perplexity(judge, list(table["prompt"]))
    return {
        "nll": torch.from_numpy(whole.nll - alone.nll),
        "tokens": torch.from_numpy((whole.tokens - alone.tokens).astype(np.float64)),
    }
