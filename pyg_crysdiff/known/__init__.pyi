from .database import Database, KnownCrystal
from .finding import find_known
from .indexing import index_source
from .sources import open_source

__all__ = ["Database", "KnownCrystal", "find_known", "index_source", "open_source"]
