"""What evaluates a crystal: a table, a model, a potential, or code of the user's.

The names in ``__init__.pyi`` are loaded when they are first used.

- ``find``: an oracle by what a user writes.
- ``lookup``, ``model``, ``potential``, ``function``, ``command``, ``folder``: the kinds.
- ``combined``: several, one after the other.
- ``answering``: the numbers in what somebody's code gave.
- ``processes``, ``guard``, ``server``: code of others in processes that can be ended.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
