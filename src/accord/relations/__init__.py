"""Relations between words, for measuring what a repair does to questions that it has no business with."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.relations.relation import FACTS, RELATIONS, Relation, relation_tasks

__all__ = ["FACTS", "RELATIONS", "Relation", "relation_tasks"]

__getattr__, __dir__ = exports(__name__)
