from .geometry import right_handed, rms_moved
from .judges import Judge, find_judge
from .potentials import Point, Potential
from .records import Relaxation, RelaxSettings
from .relaxing import relax, single_points

__all__ = [
    "Judge",
    "Point",
    "Potential",
    "RelaxSettings",
    "Relaxation",
    "find_judge",
    "relax",
    "right_handed",
    "rms_moved",
    "single_points",
]
