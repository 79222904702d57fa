from .energies import Energies, read_energies
from .geometry import right_handed, rms_moved
from .judges import Judge, find_judge
from .potentials import Point, Potential
from .records import Relaxation, RelaxSettings
from .relaxing import relax, relax_in_turn, single_points
from .store import kept_folder
from .summary import doubts, summarise

__all__ = [
    "Energies",
    "Judge",
    "Point",
    "Potential",
    "RelaxSettings",
    "Relaxation",
    "doubts",
    "find_judge",
    "kept_folder",
    "read_energies",
    "relax",
    "relax_in_turn",
    "right_handed",
    "rms_moved",
    "single_points",
    "summarise",
]
