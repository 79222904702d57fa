"""The suite.

Triton reads this when it is imported, which torch does as well: the kernels for GPUs are tested by
its interpreter.
"""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")
