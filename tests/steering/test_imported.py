"""Dictionaries of other tools in a running model: the change is what their formulas say, or the use is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import accord
from accord.concepts import ConceptModel, evaluate
from accord.concepts.config import ImportedConfig, Origin
from accord.concepts.imported import Imported
from accord.errors import AccordError
from accord.explain import explain_gap
from accord.heads import ConceptLM, Reader
from accord.heads.reader import decoder_rows
from accord.heads.recovered import recovered_on_texts
from accord.lm import Backbone
from accord.steering.typical import measure_typical
from accord.text.reader import Batch
from tests.gap.test_measure import pairs

D, K = 32, 40


def imported(d_out: int | None = None, normalise: str = "none", layer: int | None = 2, **origin: Any) -> ConceptModel:
    """Random weights that fire on some states; by default on those that leave the second block."""
    g = torch.Generator().manual_seed(0)
    config = ImportedConfig(
        size=K,
        activation="relu",
        d_out=d_out,
        normalise=normalise,  # type: ignore[arg-type]
        origin=Origin(tool="SAELens", layer=layer, **{"reads": "blocks.1.hook_resid_post", **origin}),
    )
    rows = torch.nn.functional.normalize(torch.randn(K, D, generator=g), dim=1)
    weights = {"W_enc": rows, "W_dec": 0.3 * rows, "b_enc": torch.zeros(K) - 0.1, "b_dec": torch.full((D,), 0.1)}
    return Imported.of(config, weights)


def ids() -> Tensor:
    return torch.randint(3, 250, (2, 9), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_steering_a_dictionary_that_normalises_by_row(lm: Backbone) -> None:
    """x + s·(the edited strengths' part), with the row's own spread s: layer_norm's frame stays the row's."""
    model = imported(normalise="layer_norm")
    x = lm.hidden(ids(), layers=[2])[2]
    mean, std = x.mean(-1, keepdim=True), (x - x.mean(-1, keepdim=True)).std(-1, keepdim=True)
    W_enc, W_dec = model.get_parameter("W_enc"), model.get_parameter("W_dec")
    z = ((x - mean) / (std + 1e-5) @ W_enc.T - 0.1).relu()
    concept = int(z.sum((0, 1)).argmax())
    written = std * z[..., concept : concept + 1] * W_dec[concept]
    whole = std * (z @ W_dec + 0.1) + mean
    for keep, expected in ((True, x - written), (False, whole - written)):
        steered = accord.steer(lm, {concept: 0.0}, concepts=model, layer=2, keep_error=keep)
        torch.testing.assert_close(steered.hidden(ids(), layers=[2])[2][:, 1:], expected[:, 1:], atol=1e-5, rtol=1e-5)
    quality = evaluate(model, [x.flatten(0, 1)])
    rest = (x - whole).square().sum() / (x - x.mean((0, 1))).square().sum()
    assert quality.fvu == pytest.approx(float(rest), rel=1e-5)


def test_a_transcoder_is_not_taken_for_an_autoencoder(lm: Backbone, states: Callable[[int], Tensor]) -> None:
    model = imported(d_out=D, writes="blocks.2.hook_resid_post", target_layer=3)
    batch = Batch(states(2), torch.zeros(200), torch.zeros(200), torch.zeros(200), torch.zeros(200))
    for use in (
        lambda: accord.steer(lm, {0: 0.0}, concepts=model, layer=2),
        lambda: explain_gap(lm, 2, model, pairs()),
        lambda: Reader("reconstruction", model),
        lambda: decoder_rows(model),
        lambda: recovered_on_texts(lm, 2, model, ["food bird"]),
        lambda: measure_typical(model, [batch]),
    ):
        with pytest.raises(AccordError, match="it is a transcoder"):
            use()
    with pytest.raises(AccordError, match="what it reads and what it reconstructs"):
        evaluate(model, [states(2)])
    assert Reader("latents", model).latent_width == K  # what it reads is what it says


def test_what_differs_from_row_to_row_is_not_read_off_a_decoder(lm: Backbone) -> None:
    model = imported(normalise="constant_norm")
    for use in (lambda: decoder_rows(model), lambda: explain_gap(lm, 2, model, pairs())):
        with pytest.raises(AccordError, match="normalises every embedding by itself"):
            use()


def test_the_layer_must_be_the_dictionarys(lm: Backbone) -> None:
    elsewhere = imported(layer=None, reads="blocks.1.hook_mlp_out")
    for model, said in ((imported(), "reads another layer"), (elsewhere, "reads no layer's states")):
        for use in (
            lambda model=model: accord.steer(lm, {0: 0.0}, concepts=model, layer=3),
            lambda model=model: explain_gap(lm, 3, model, pairs()),
            lambda model=model: ConceptLM(lm, 3, Reader("reconstruction", model)),
            lambda model=model: recovered_on_texts(lm, 3, model, ["food bird"]),
        ):
            with pytest.raises(AccordError, match=said):
                use()
    unknown = imported(layer=None, reads=None)
    accord.steer(lm, {0: 0.0}, concepts=unknown, layer=3)  # its files say nothing: the caller knows
