"""Checks that users run on parts of their own: networks, conditioners, processes, data sets.

Each function raises :class:`AssertionError` with what is wrong and what would be right::

    from pyg_crysdiff.testing import assert_conditioner


    def test_my_conditioner():
        assert_conditioner(MyConditioner)
"""

from pyg_crysdiff.testing.data import assert_dataset
from pyg_crysdiff.testing.networks import assert_conditioner, assert_denoiser
from pyg_crysdiff.testing.processes import assert_process

__all__ = ["assert_conditioner", "assert_dataset", "assert_denoiser", "assert_process"]
