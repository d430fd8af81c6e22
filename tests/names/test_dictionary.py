"""The dictionary against a plain loop over all tokens that keeps everything."""

import sys
from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import accord
from accord.concepts import build, read_config
from accord.concepts.synthetic import ablation_effects
from accord.errors import AccordError
from accord.lm import Backbone
from accord.names import Dictionary, Shown, build_dictionary
from accord.names.collect import AFTER, BEFORE, Sizes, collect
from accord.names.context import contexts, token_types
from accord.names.effects import moved_tokens, nearest, through_lens, written
from accord.names.entries import Best, Bins, chance
from accord.names.labels import TextLabels
from accord.text import in_order
from tests.names.conftest import LAYER, make
from tests.tiny import tiny_model, tiny_tokenizer

KINDS = ["topk", "l1", "lcblm"]


@pytest.fixture(params=KINDS)
def model(request, sides):
    return make(request.param, sides)


@torch.no_grad()
def plain(model, side):
    """Everything that fires, token by token: concept -> list of (strength, text, position, token, contribution)."""
    fired, rows = defaultdict(list), []
    for batch in in_order(side.store, LAYER, 1):
        encoded = model.encode(batch.x.to(model.mean))
        hard, soft = model.harden(encoded).strength[0], encoded.strength[0]
        text, position, token = int(batch.text), int(batch.position), int(batch.token)
        rows.append((text, position, token))
        for k in range(model.K):
            if hard[k] != 0:
                content = None if encoded.content is None else (soft[k] * encoded.content[0, k]).double().numpy()
                fired[k].append((float(soft[k]), text, position, token, content))
    return fired, rows


@pytest.mark.parametrize("rows", [1, 7, 64, 10_000])
def test_one_pass_is_the_plain_loop(model, sides, lm, rows):
    side = sides["train"]
    types, _ = token_types(lm.tokenizer, lm.vocab_size)
    sizes = Sizes(top=6, each=2, sample=9, texts=3, pool=12)
    labels = TextLabels(model.K, list(side.texts["label"]))
    collected = collect(model, side.store, LAYER, types, sizes, labels=labels, seed=5, rows=rows)
    fired, all_rows = plain(model, side)
    lengths = Counter(text for text, _, _ in all_rows)
    assert collected.tokens == len(all_rows) == side.store.tokens
    frequency = np.bincount([types[t] for _, _, t in all_rows], minlength=types.max() + 1)
    assert collected.frequency.tolist() == frequency.tolist()

    on_texts = {k: {text for _, text, *_ in own} for k, own in fired.items()}
    check_labels(labels.table(), side.texts["label"], on_texts, set(lengths))
    drawn = sorted(np.random.default_rng(5).choice(len(all_rows), 12, replace=False))
    assert collected.pool == [all_rows[i][:2] for i in drawn]
    for k in range(model.K):
        own = fired[k]
        strengths = np.array([entry[0] for entry in own])
        assert collected.count[k] == len(own)
        assert collected.total[k] == pytest.approx(strengths.sum(), rel=1e-5)
        assert collected.largest[k] == pytest.approx(max(strengths, default=0.0))
        expected, _ = np.histogram(strengths, [-np.inf, *Bins(model.gated).edges[1:-1], np.inf])
        assert abs(collected.histogram[k] - expected).sum() <= 2  # a strength may fall on an edge
        if collected.content is not None and own:
            np.testing.assert_allclose(collected.content[k], np.sum([entry[4] for entry in own], axis=0), rtol=1e-4)
        # The strongest, at most two of a type.
        draw = chance(5, *(np.array([e[i] for e in own], dtype=np.int64) for i in (1, 2)), np.full(len(own), k))
        kept, seen = [], Counter()
        for i in sorted(range(len(own)), key=lambda i: (-strengths[i], -draw[i])):
            if seen[types[own[i][3]]] < 2 and len(kept) < 6:
                seen[types[own[i][3]]] += 1
                kept.append(own[i][1:3])
        assert places(collected.top, k) == kept
        sampled = sorted(range(len(own)), key=lambda i: -draw[i])[:9]
        assert places(collected.sample, k) == [own[i][1:3] for i in sampled]
        check_beside(collected.sample, k, {entry[1:3] for entry in own}, lengths)
        # Texts by mean strength.
        sums = Counter()
        for strength, text, *_ in own:
            sums[text] += strength
        means = {text: total / lengths[text] for text, total in sums.items() if lengths[text] >= 5}
        ranks = zip(*columns(collected.texts, "concept", "rank"), strict=True)
        best = [float(rank) for concept, rank in ranks if concept == k]
        assert best == pytest.approx(sorted(means.values(), reverse=True)[:3], rel=1e-5)
        for (text, position), quiet in zip(collected.pool, collected.quiet[:, k], strict=True):
            near = [(text, p) for p in range(position - BEFORE, position + AFTER + 1)]
            assert quiet == (not set(near) & {entry[1:3] for entry in own})


def columns(best, *names):
    return [best.columns[name].tolist() for name in names]


def places(best, k):
    return [(t, p) for c, t, p in zip(*columns(best, "concept", "text", "position"), strict=True) if c == k]


def check_beside(sample, k, on, lengths):
    """A place beside each entry where the concept is off; none only where there is no such place."""
    for concept, text, position, step in zip(*columns(sample, "concept", "text", "position", "beside"), strict=True):
        if concept == k:
            near = range(max(0, position - BEFORE), min(lengths[text], position + AFTER + 1))
            off = [p for p in near if (text, p) not in on]
            assert (step != 0 and position + step in off) or (step == 0 and not off)


def check_labels(table, labels, on_texts, seen):
    labels = labels.to_numpy()
    for k, row in enumerate(table.itertuples()):
        on = [labels[t] for t in sorted(seen) if t in on_texts.get(k, ()) and np.isfinite(labels[t])]
        off = [labels[t] for t in sorted(seen) if t not in on_texts.get(k, ()) and np.isfinite(labels[t])]
        assert row.label_texts == len(on)
        if len(on) > 1 and len(off) > 1:
            assert row.label_on == pytest.approx(np.mean(on)) and row.label_off == pytest.approx(np.mean(off))
            assert row.label_t == pytest.approx(stats.ttest_ind(on, off, equal_var=False).statistic)
        else:
            assert np.isnan(row.label_t)


def test_labels_that_are_words():
    labels = ["a", "b", "b", None, "c", "b", "a"]
    sums = TextLabels(2, labels)
    sums.see(np.arange(7))
    sums.add(np.array([1, 2, 3, 5]), np.array([0, 0, 0, 0]))
    row = sums.table().iloc[0]
    n, N, p = 3, 6, 3 / 6
    spread = stats.hypergeom(N, 3, n).std()
    assert (row.label, row.label_texts) == ("b", 3)
    assert (row.label_on, row.label_off) == (1.0, pytest.approx(p))
    assert row.label_t == pytest.approx((3 - n * p) / spread)
    assert pd.isna(sums.table().iloc[1].label)
    many = TextLabels(1, [str(i) for i in range(60)])  # nothing to compare
    many.see(np.arange(60))
    assert pd.isna(many.table().iloc[0].label)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 4)), max_size=40), st.data())
@settings(max_examples=60, deadline=None)
def test_the_best_do_not_depend_on_the_cuts(entries, data):
    """Ties everywhere: only `chance`, which is different for each, decides."""
    table = np.array(entries, dtype=np.int64).reshape(-1, 3)
    draw = np.random.default_rng(len(entries)).permutation(len(table)).astype(float)
    rows = {"concept": table[:, 0], "type": table[:, 1], "rank": table[:, 2].astype(float), "chance": draw}
    cuts = sorted(data.draw(st.lists(st.integers(0, len(table)), max_size=4)))
    best = Best(3, size=3, each=2)
    for begin, end in zip([0, *cuts], [*cuts, len(table)], strict=True):
        best.add({name: column[begin:end] for name, column in rows.items()})
    for concept in range(3):
        kept, seen = [], Counter()
        for i in sorted(range(len(table)), key=lambda i: (-rows["rank"][i], -draw[i])):
            if rows["concept"][i] == concept and seen[rows["type"][i]] < 2 and len(kept) < 3:
                seen[rows["type"][i]] += 1
                kept.append(draw[i])
        assert [c for k, c in zip(*columns(best, "concept", "chance"), strict=True) if k == concept] == kept


def test_keeping_the_best_sorts_no_more_than_comes_in(monkeypatch):
    """However many batches there are: not all that is kept, for each of them."""
    draw, sizes, lexsort = np.random.default_rng(0), [], np.lexsort
    monkeypatch.setattr(np, "lexsort", lambda keys: sizes.append(len(keys[0])) or lexsort(keys))
    best, batches, entries = Best(100, size=50), 200, 60
    for _ in range(batches):
        concept, rank = draw.integers(0, 100, entries), draw.random(entries)
        best.add({"concept": concept, "type": concept, "rank": rank, "chance": rank})
    assert len(best.columns["rank"]) == 100 * 50
    assert sum(sizes) < 3 * batches * entries


@pytest.mark.parametrize("kind", [*KINDS, "lcblm-shared"])
def test_what_a_concept_writes_is_its_mean_ablation_effect(kind, sides, lm):
    model, side = make(kind, sides), sides["train"]
    types, _ = token_types(lm.tokenizer, lm.vocab_size)
    collected = collect(model, side.store, LAYER, types, Sizes(sample=0), seed=0)
    directions = written(model, collected)
    (everything,) = in_order(side.store, LAYER, side.store.tokens)
    for k in range(model.K):
        effects = ablation_effects(model, everything.x.to(model.mean), k).float()
        if len(effects):
            torch.testing.assert_close(directions[k], effects.mean(0), rtol=1e-3, atol=1e-3)
        else:
            assert not directions[k].any()


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "opt", "cohere"])
def test_moved_tokens_are_the_slope_of_the_lens(family):
    """Against small steps in both directions through the whole lens, averaged over the states."""
    lm = Backbone(tiny_model(family, final_logit_softcapping=None) if family == "gemma2" else tiny_model(family),
                  tiny_tokenizer(), name=family)  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    states, directions = (
        torch.randn(5, lm.d_model, generator=generator),
        torch.randn(3, lm.d_model, generator=generator),
    )
    moved = through_lens(lm, states, directions)
    (up, up_ids), (down, down_ids) = moved_tokens(lm, moved, 7)
    lm.model.double()
    step = 1e-4
    slopes = torch.zeros(3, lm.vocab_size, dtype=torch.float64)
    with torch.no_grad():
        for state in states.double():
            ahead, behind = lens(lm, state + step * directions.double()), lens(lm, state - step * directions.double())
            slopes += (ahead - behind) / (2 * step) / len(states)
    slopes -= slopes.mean(1, keepdim=True)
    torch.testing.assert_close(up.double(), slopes.topk(7).values, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(down.double(), -(-slopes).topk(7).values, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(slopes.gather(1, up_ids), up.double(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(slopes.gather(1, down_ids), down.double(), rtol=1e-3, atol=1e-4)


def lens(lm, states):
    norm, head, finish = lm.lens_parts()
    for module in norm:
        states = module(states)
    return finish(head(states))


def test_nearest_by_cosine():
    directions = torch.tensor([[1.0, 0], [2, 0.2], [0, 3], [-1, 0], [0, 0]])
    cosine, which = nearest(directions, 2)
    assert which[0].tolist()[0] == 1 and cosine[0, 0] == pytest.approx(2 / 4.04**0.5)
    assert cosine[0, 1] == pytest.approx(0.0) and cosine[4].tolist() == [0, 0]
    assert nearest(directions, 50)[0].shape == (5, 4)


def test_contexts_are_what_stands_in_the_text(lm):
    texts = ["no birds are food of any kind " * 3, "é, naïve"]
    ids = lm.tokenizer(texts[0], add_special_tokens=False)["input_ids"]
    around = contexts(lm.tokenizer, texts, [(0, 0), (0, 25), (0, len(ids) - 1), (1, 3)])
    for (text, position), (before, token, after) in around.items():
        assert before + token + after in texts[text]
        assert token.strip() == lm.tokenizer.decode([ids[position]]).strip() or text == 1
    whole = around[0, 25]
    assert lm.tokenizer.decode(ids[25 - BEFORE : 25 + AFTER + 1]).strip() == "".join(whole).strip()
    assert around[0, 0].before == "" and around[0, len(ids) - 1].after == ""
    with pytest.raises(AccordError, match="another tokenizer"):
        contexts(lm.tokenizer, texts, [(1, 99)])


def test_forms_of_a_word_are_one_type(lm):
    types, names = token_types(lm.tokenizer, lm.vocab_size)
    ids = {word: lm.tokenizer.convert_tokens_to_ids(word) for word in ("Yes", "yes", "ĠYes", "Ġyes", "No")}
    assert len({types[ids[word]] for word in ("Yes", "yes", "ĠYes", "Ġyes")}) == 1
    assert types[ids["No"]] != types[ids["yes"]] and names[types[ids["Yes"]]] == "yes"
    assert len(types) == lm.vocab_size


def test_the_tables(model, sides, lm, tmp_path):
    shown = Shown(top=5, each=2, band=2, texts=2, held_out=4, tokens=3, neighbours=2)
    made = build_dictionary(model, lm, LAYER, sides["train"], sides["held_out"], shown=shown, seed=1)
    made.write(tmp_path)
    again = Dictionary.read(tmp_path)
    assert len(again.concepts) == len(made.concepts) and again.examples.equals(made.examples)
    both = {name: plain(model, side) for name, side in sides.items()}
    tokens = sum(len(rows) for _, rows in both.values())
    live = [k for k in range(model.K) if len(both["train"][0][k]) and
            sum(len(fired[k]) for fired, _ in both.values()) / tokens >= 1e-3]  # fmt: skip
    assert made.concepts["concept"].tolist() == live
    for row in again.concepts.itertuples():
        counts = {name: len(fired[row.concept]) for name, (fired, _) in both.items()}
        assert row.count == sum(row.histogram) == sum(counts.values())
        assert row.rate == pytest.approx(row.count / tokens)
        assert row.rate_held_out == pytest.approx(counts["held_out"] / len(both["held_out"][1]))
        assert len(row.edges) == len(row.histogram) + 1 and row.histogram[0] and row.histogram[-1]
        assert len(row.promoted) == len(row.suppressed) == 3 and len(row.neighbours) == 2
        assert row.promoted[0]["change"] >= row.promoted[-1]["change"] >= row.suppressed[-1]["change"]
        assert all(kind["share"] > 0 and 0 < kind["usual"] <= 1 for kind in row.types)
        check_examples(row.concept, made.examples[made.examples["concept"] == row.concept], both, shown)
    again = build_dictionary(model, lm, LAYER, sides["train"], sides["held_out"], shown=shown, seed=1)
    pd.testing.assert_frame_equal(again.examples, made.examples)


def check_examples(k, own, both, shown):
    on = {name: {entry[1:3]: entry[0] for entry in fired[k]} for name, (fired, _) in both.items()}
    kinds = own["kind"].value_counts()
    assert set(own.loc[own["side"] == "train", "kind"]) <= {"top", "quantile", "text"}
    assert kinds.get("on", 0) == min(4, len(on["held_out"])) and kinds.get("off", 0) <= kinds.get("on", 0)
    for row in own.itertuples():
        place = (row.text, row.position)
        if row.kind in ("top", "quantile", "on"):
            assert row.strength == pytest.approx(on[row.side][place], rel=1e-5)
        elif row.kind in ("off", "negative"):
            assert place not in on["held_out"] and row.side == "held_out"
    strengths = np.sort(list(on["train"].values()))
    if len(strengths) <= 100:  # the sample is all: the quarters are those of the strengths
        for row in own[own["kind"] == "quantile"].itertuples():
            below = (strengths < row.strength * (1 - 1e-6)).sum() / len(strengths)
            assert below < row.band / 4 + 1e-9
            assert (strengths <= row.strength * (1 + 1e-6)).sum() / len(strengths) > (row.band - 1) / 4 - 1e-9


def test_no_concept_is_live(sides, lm):
    model = make("l1", sides)
    model.b_enc.data.fill_(-1e6)
    with pytest.raises(AccordError, match="no concept is live"):
        build_dictionary(model, lm, LAYER, sides["train"], sides["held_out"])


@pytest.mark.real
def test_contexts_of_the_real_tokenizer():
    tokenizer = accord.load("smollm2-135m", device="cpu").tokenizer
    text = "An unbelievably naïve film — café noir, at its best."
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    around = contexts(tokenizer, [text], [(0, i) for i in range(len(ids))])
    for i, token_id in enumerate(ids):
        before, token, after = around[0, i]
        if "\ufffd" not in tokenizer.decode([token_id]):  # not a part of a letter
            assert token.strip() == tokenizer.decode([token_id]).strip()
        assert (before + token + after) in text


def test_the_work_for_a_concept_does_not_grow_with_their_number(sides, lm):
    """Counted in calls, so that a busy machine fails nothing: four times the concepts are four times the calls."""
    calls = []
    for size in (100, 400):
        model = build(read_config({"kind": "topk", "size": size, "k": size // 5}), sides["train"].store.d_model, seed=3)
        model.fit_scale([sides["train"].store.shard(0, LAYER)["x"]])
        counts = Counter()
        sys.setprofile(lambda frame, event, arg, counts=counts: counts.update([event]))
        try:
            table = build_dictionary(model.double().eval(), lm, LAYER, sides["train"], sides["held_out"]).concepts
        finally:
            sys.setprofile(None)
        assert len(table) > size / 2  # most are live
        calls.append(counts["call"] + counts["c_call"])
    assert calls[1] < 5 * calls[0], calls
