"""A model given back exactly as it was, whatever was put into it meanwhile and however that ended."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """While open, modules may be replaced, wrapped, hooked and frozen; at the end every one is as it was before.

    What a module is lies in its attributes: submodules, parameters, buffers, hooks, flags. They are put back one and
    all, so that nothing depends on how the change itself would be undone, nor on its having been finished. The numbers
    in parameters and buffers are not kept: nobody may write into them meanwhile.
    """
    attributes = [(module, type(module), _copied(module)) for module in model.modules()]
    learns = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        yield
    finally:
        for module, kind, before in attributes:
            module.__class__ = kind  # parametrised modules get a class of their own
            own = vars(module)
            own.clear()
            for name, (value, content) in before.items():
                if isinstance(value, dict):  # the same object as before: handles of hooks refer to it
                    value.clear()
                    value.update(content)
                own[name] = value
        for weight, learnt in learns:
            weight.requires_grad_(learnt)


def _copied(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    """Each attribute of a module and, where it is a dict, what that holds."""
    return {name: (value, dict(value) if isinstance(value, dict) else None) for name, value in vars(module).items()}
