"""Diffusion processes of lattices, fractional coordinates and species. No networks here."""

from pyg_crysdiff.diffusion.coordinates import (
    WrappedNormalDiffusion,
    mean_squared_score,
    wrapped_normal_score,
)
from pyg_crysdiff.diffusion.field import FieldDiffusion
from pyg_crysdiff.diffusion.joint import JointDiffusion
from pyg_crysdiff.diffusion.lattice import LatticeDDPM
from pyg_crysdiff.diffusion.noise import CrystalNoise, crystal_seed
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.diffusion.schedules import cosine_alpha_bar, geometric_sigma, sampling_times
from pyg_crysdiff.diffusion.species import UniformD3PM
from pyg_crysdiff.diffusion.state import FIELDS, CrystalState, Prediction

__all__ = [
    "FIELDS",
    "CrystalNoise",
    "CrystalState",
    "FieldDiffusion",
    "JointDiffusion",
    "LatticeDDPM",
    "Prediction",
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
