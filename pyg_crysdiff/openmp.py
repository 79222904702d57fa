"""How threads of PyTorch wait for each other. Nothing here loads PyTorch."""

from __future__ import annotations

import os

_OWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # settings of the user's, which stay


def wait_briefly() -> None:
    """Let threads of GNU OpenMP, which torch's wheels for Linux have, spin only briefly.

    By default a waiting thread spins 300,000 times before it sleeps. Where other programs use the
    cores too, it then takes the time of the thread that it waits for: two trainings at once on two
    cores made 7 times fewer steps. Alone they are as fast with 2,000 turns, and slower with 200.

    It has no effect once PyTorch is loaded. Processes that are started later inherit it.
    """
    if not any(name in os.environ for name in _OWN):
        os.environ["GOMP_SPINCOUNT"] = "2000"
