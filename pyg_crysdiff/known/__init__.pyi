from .database import Database, KnownCrystal
from .finding import find_known
from .indexing import index_source
from .prototypes import new_prototypes, prototype_kinds
from .sources import open_source

__all__ = [
    "Database",
    "KnownCrystal",
    "find_known",
    "index_source",
    "new_prototypes",
    "open_source",
    "prototype_kinds",
]
