"""Places in a language model as other tools name them, and the layer whose states they are."""

import re

# TransformerLens' names, and module names of transformers: a block's output.
_RESIDUAL = re.compile(r"blocks\.(\d+)\.hook_resid_(pre|post)")
_BLOCK = re.compile(r"(?:[\w.]+\.)?(?:layers|h|blocks)\.(\d+)(?:\.output)?")


def residual_layer(place: str | None) -> int | None:
    """The layer whose states a place holds: l for what enters block l, l + 1 for what leaves it.

    None for any other place, such as an attention's or an MLP's output: those are no states of a layer.
    """
    if found := _RESIDUAL.fullmatch(place or ""):
        return int(found[1]) + (found[2] == "post")
    if found := _BLOCK.fullmatch(place or ""):
        return int(found[1]) + 1
    return None
