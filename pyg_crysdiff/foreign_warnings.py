"""Warnings of other libraries that say nothing to the user of a command, by name."""

from __future__ import annotations

import os
import sys
import warnings

# Start of the message (a regular expression) and its kind.
_NAMED: tuple[tuple[str, type[Warning]], ...] = (
    # PyG scripts a few functions at import, and passes on what torch says to that.
    ("`torch.jit.script` is deprecated", DeprecationWarning),
    ("`torch.jit.script` is deprecated", FutureWarning),  # from torch 2.14 on
    # pymatgen calls spglib the old way.
    ("Set OLD_ERROR_HANDLING to false", DeprecationWarning),
    # Older pymatgen calls its own function, which goes.
    ("gcd is deprecated", FutureWarning),
    # pymatgen has no such value for some elements, and goes on with a default.
    ("No Pauling electronegativity for", UserWarning),
    ("No electronegativity for", UserWarning),
    ("CrystalNN: cannot locate an appropriate radius", UserWarning),
    ("No oxidation states specified on sites", UserWarning),
    # pymatgen on the cells of generated crystals, which are judged by the checks of this package.
    ("Issues encountered while parsing CIF", UserWarning),
)


def silence_foreign_warnings() -> None:
    """Ignore the named warnings from now on, in this process.

    The command line does so, and so do worker processes; importing the package changes no filter.
    Where the user asks for warnings (``python -W``, ``PYTHONWARNINGS``) they all stay. spglib
    writes its failed attempts to the standard error stream; its own variable ``SPGLIB_WARNING``
    silences it, and a value that is there already stays.
    """
    if sys.warnoptions:
        return
    os.environ.setdefault("SPGLIB_WARNING", "OFF")
    for message, category in _NAMED:
        warnings.filterwarnings("ignore", message, category)
