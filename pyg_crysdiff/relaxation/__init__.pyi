from .energies import Energies, read_energies
from .geometry import right_handed, rms_moved
from .judges import Judge, find_judge
from .potentials import Point, Potential
from .records import Relaxation, RelaxSettings
from .relaxing import relax, single_points

__all__ = [
    "Energies",
    "Judge",
    "Point",
    "Potential",
    "RelaxSettings",
    "Relaxation",
    "find_judge",
    "read_energies",
    "relax",
    "right_handed",
    "rms_moved",
    "single_points",
]
