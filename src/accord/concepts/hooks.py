"""Places in a language model as other tools name them, and the layer whose states they are."""

import re

# TransformerLens' names, and module names of transformers: a block's output.
_RESIDUAL = re.compile(r"blocks\.(\d+)\.hook_resid_(pre|post)")
_BLOCK = re.compile(r"(?:[\w.]+\.)?(?:layers|h|blocks)\.(\d+)(?:\.output)?")


def residual_layer(place: str | None) -> int | None:
    """The layer whose states a place holds: l for what enters block l, l + 1 for what leaves it.

    None for any other place, such as an attention's or an MLP's output: those are no states of a layer.

    >>> residual_layer("blocks.3.hook_resid_pre"), residual_layer("blocks.3.hook_resid_post"), residual_layer("lm_head")
    (3, 4, None)
    """
    if block := _RESIDUAL.fullmatch(place or ""):
        return int(block[1]) + (block[2] == "post")
    if block := _BLOCK.fullmatch(place or ""):
        return int(block[1]) + 1
    return None
