"""Checks that users run on parts of their own: networks, conditioners, processes, data sets.

Each function raises :class:`AssertionError` with what is wrong and what would be right::

    from pyg_crysdiff.testing import assert_conditioner


    def test_my_conditioner():
        assert_conditioner(MyConditioner)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
