"""Stages in which every model of a study writes texts, and a third-party model judges them."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from accord.concepts.stage import need_texts
from accord.embeddings.result import HELD_OUT, Embeddings
from accord.embeddings.stage import embeddings
from accord.errors import AccordError, nearest
from accord.heads.rows import RANDOM, all_rows, known_rows, wanted_row
from accord.heads.stage import HeadNode, head_of
from accord.perplexity.config import PerplexitySection
from accord.perplexity.result import JudgedTexts, WrittenTexts
from accord.study.plan import Plan
from accord.study.stage import Needs, Stage
from accord.study.work import Work
from accord.unfinished import each

if TYPE_CHECKING:
    from torch import Tensor

    from accord.lm import LanguageModel
    from accord.lm.perplexity import Perplexity

TEXTS_VERSION = 2  # raise these when the same settings give other files or numbers
VERSION = 4
_PART = 32  # texts that are written or judged together: a kill can cost so many, and others may be at the next


def stages(plan: Plan) -> Iterator[Stage]:
    """The texts of every row and seed, then what the judge makes of them."""
    section = plan.the(PerplexitySection)
    if section is None:
        return
    for row in section.rows if section.rows != "all" else []:
        if row not in known_rows(plan.study):
            error = AccordError("No such row.", got=repr(row), wanted=nearest(row, known_rows(plan.study)))
            plan.problem(error, "perplexity", "rows")
    judged = False
    with plan.at("perplexity", section=section):
        plan.named(plan.model(section.judge))
        judged = True
    with plan.at("perplexity"):
        need_texts(plan, "perplexity")
        texts = list(_all_texts(plan, section))
        yield from (stage for stage, _, _ in texts)
        for stage, name, node in texts if judged else ():
            yield perplexity_stage(plan, section, stage, name, node)


def _all_texts(plan: Plan, section: PerplexitySection) -> Iterator[tuple[Stage, str, HeadNode | None]]:
    """For every row and seed the stage of its texts, the row's name, and the row's model (None for random)."""
    for seed in plan.study.seeds:
        for row in all_rows(plan.study):
            node = head_of(plan, row.label, seed)
            if wanted_row(plan.study, row) and node is not None:
                yield texts_stage(plan, section, row.label, row.name, seed, node), row.name, node
        if section.rows == "all" or RANDOM in section.rows:
            yield texts_stage(plan, section, RANDOM, RANDOM, seed, None), RANDOM, None


def texts_stage(
    plan: Plan, section: PerplexitySection, label: str, name: str, seed: int, node: HeadNode | None
) -> Stage:
    """Let the model of a row write texts from nothing; without a model, draw random tokens."""

    def make(work: Work) -> WrittenTexts:
        lm = work.backbone(plan.backbone) if node is None else node.load(work, plan, to_make=True)
        write = _by_model if node is not None else _random

        def part(first: int) -> pd.DataFrame:
            return pd.DataFrame(write(lm, section, seed, first, min(_PART, section.samples - first)))

        def there(number: int) -> None:
            work.progress(min(number * _PART, section.samples), section.samples)

        makes = {f"{first:06}.parquet": partial(part, first) for first in range(0, section.samples, _PART)}
        table = pd.concat(each(work.parts, makes, there), ignore_index=True)
        work.all_parts_made()
        return WrittenTexts(pd.concat([pd.DataFrame({"row": name, "seed": seed, "index": table.index}), table], axis=1))

    settings: dict[str, Any] = {
        "row": name,
        "samples": section.samples,
        "sampling": {"max_new_tokens": section.max_new_tokens} if node is None else section.sampling,
    }
    inputs = {} if node is None else {"model": node.stage}
    if node is None:
        settings["weights"] = plan.named(plan.backbone).identity["weights"]
    return Stage("texts", f"{label}-s{seed}", make, settings, seed, TEXTS_VERSION, inputs, spreads=True, seconds=4)


def _by_model(lm: "LanguageModel", section: PerplexitySection, seed: int, first: int, n: int) -> list[dict[str, Any]]:
    from accord.lm import generate

    samples = generate(lm, n=n, first=first, seed=seed, batch_size=_PART, **section.sampling)
    return [{"text": text.text, "tokens": len(text.ids), "finished": text.finished} for text in samples]


def _random(lm: "LanguageModel", section: PerplexitySection, seed: int, first: int, n: int) -> list[dict[str, Any]]:
    """Any token but the special ones, each as likely as the next: what no model should write like."""
    import numpy as np

    special = set(lm.tokenizer.all_special_ids)
    ordinary = np.array([token for token in range(len(lm.tokenizer)) if token not in special])
    texts = []
    for i in range(first, first + n):
        ids = np.random.default_rng([seed, i]).choice(ordinary, section.max_new_tokens).tolist()
        texts.append({"text": str(lm.tokenizer.decode(ids)), "tokens": len(ids), "finished": False})
    return texts


def perplexity_stage(plan: Plan, section: PerplexitySection, texts: Stage, name: str, node: HeadNode | None) -> Stage:
    """Have the texts of a row judged, and the row's own model read held-out texts."""
    judge = plan.named(plan.model(section.judge))
    inputs = {"texts": texts} | ({} if node is None else {"model": node.stage, "held out": embeddings(plan)})

    def make(work: Work) -> JudgedTexts:
        import numpy as np

        from accord.lm.perplexity import Perplexity, perplexity
        from accord.text import measure_diversity

        samples = list(WrittenTexts.read(work.at(texts)).table["text"])
        lm = judge.load(work)
        own_model = cache(lambda: None if node is None else node.load(work, plan))
        held_out: list[str] = []
        if node is not None:
            held_out = Embeddings.read(work.at(inputs["held out"])).texts(HELD_OUT)[: section.own_texts]
        sides: dict[str, tuple[Callable[[], Any], list[str]]] = {
            "judged": (lambda: lm, samples),
            "own": (own_model, held_out),
        }

        def part(side: str, first: int, number: int) -> "dict[str, Tensor]":
            def moved(done: int, total: int) -> None:
                work.progress(number * total + done, len(makes) * total)

            reader, texts = sides[side]
            return _as_tensors(perplexity(reader(), texts[first : first + _PART], progress=moved))

        places = [(side, first) for side, (_, texts) in sides.items() for first in range(0, len(texts), _PART)]
        makes = {
            f"{side}-{first:06}.safetensors": partial(part, side, first, number)
            for number, (side, first) in enumerate(places)
        }
        parts = list(each(work.parts, makes, lambda number: work.progress(number, len(makes))))
        work.all_parts_made()

        def whole(wanted: str) -> Perplexity:
            of = [part for (side, _), part in zip(places, parts, strict=True) if side == wanted]
            return Perplexity(*(np.concatenate([part[key].numpy() for part in of]) for key in ("nll", "tokens")))

        scores, own = whole("judged"), whole("own").token_weighted if held_out else None
        summary = scores.summary()
        return JudgedTexts(
            {
                "row": name,
                "seed": texts.seed,
                "judge": judge.identity["model"],
                "judge_mean": summary["mean"]["value"],
                "judge_mean_low": summary["mean"]["low"],
                "judge_mean_high": summary["mean"]["high"],
                "judge_weighted": summary["token_weighted"]["value"],
                "own_perplexity": own,
                **measure_diversity(samples),
                "n": len(samples),
                "unscored": scores.unscored,
            }
        )

    settings = {"row": name, "judge": judge.identity, "own_texts": section.own_texts}
    models = [judge.section, *([] if node is None else [plan.backbone])]
    needs = lambda: Needs(plan.weights(*models))  # noqa: E731
    return Stage(
        "perplexity",
        texts.label,
        make,
        settings,
        texts.seed,
        VERSION,
        inputs,
        needs,
        spreads=True,
        seconds=10,
        model=judge.section.model,
    )


def _as_tensors(scores: "Perplexity") -> "dict[str, Tensor]":
    import torch

    return {"nll": torch.from_numpy(scores.nll), "tokens": torch.from_numpy(scores.tokens)}
