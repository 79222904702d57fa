from .coordinates import (
    WrappedNormalDiffusion,
    mean_squared_score,
    wrapped_normal_score,
)
from .field import FieldDiffusion
from .joint import JointDiffusion
from .lattice import LatticeDDPM
from .noise import CrystalNoise, RowNoise, crystal_seed
from .sampler import Sampler
from .schedules import cosine_alpha_bar, geometric_sigma, sampling_times
from .species import UniformD3PM
from .state import FIELDS, CrystalState, Prediction

__all__ = [
    "FIELDS",
    "CrystalNoise",
    "CrystalState",
    "FieldDiffusion",
    "JointDiffusion",
    "LatticeDDPM",
    "Prediction",
    "RowNoise",
    "Sampler",
    "UniformD3PM",
    "WrappedNormalDiffusion",
    "cosine_alpha_bar",
    "crystal_seed",
    "geometric_sigma",
    "mean_squared_score",
    "sampling_times",
    "wrapped_normal_score",
]
