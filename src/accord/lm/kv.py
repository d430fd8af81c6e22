"""Plain key-value caches: keys and values of every layer in full, to be cut by position, picked by row and joined."""

from collections.abc import Sequence

from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

KeysValues = Sequence[tuple[Tensor, Tensor]]


def kv_pairs(cache: Cache) -> KeysValues:
    """Keys and values of each layer of a cache, [batch, heads, position, head_dim] each."""
    return [(layer.keys, layer.values) for layer in cache.layers]


def kv_cache(pairs: KeysValues) -> DynamicCache:
    """A cache that holds these keys and values, without copying them.

    Sliding-window layers get full keys and values too: the model masks what its window hides.
    """
    cache = DynamicCache()
    for keys, values in pairs:
        layer = DynamicLayer()
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        cache.layers.append(layer)
    return cache
