"""Local structure order parameters for many sites at once.

The formulas are those of pymatgen's ``LocalStructOrderParams`` (Zimmermann et al., Front. Mater.
4, 34 (2017)), which computes one site at a time with loops over triples of neighbours. Here all
sites of one coordination number n are computed together, for arrays of unit vectors (S, n, 3).
Index j is the neighbour at the north pole, k the one on the prime meridian, m a third one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import lpmv

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Params = Mapping[str, float]
_SMALL = 1e-12


class Geometry:
    """Angles between the neighbours of S sites with n neighbours each.

    Args:
        vectors: Vectors from the site to its neighbours, (S, n, 3).

    Attributes:
        theta: Angle between j and k over pi, (S, n, n).
        phi: Angle between the planes (j, k) and (j, m), (S, n, n, n), axes j, k, m.
        pair: j != k, (n, n).
        meridian: Pairs (j, k) that define a prime meridian, (S, n, n).
        third: m differs from j and k and the meridian exists, (S, n, n, n).
        both: ``third``, and m is not on the axis of j either.
    """

    def __init__(self, vectors: Array) -> None:
        n = vectors.shape[1]
        self.unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
        cosine = np.clip(self.unit @ self.unit.transpose(0, 2, 1), -1.0, 1.0)
        self.theta = np.arccos(cosine) / math.pi
        across = self.unit[:, None] - cosine[..., None] * self.unit[:, :, None]
        size = np.linalg.norm(across, axis=-1)
        self.pair = ~np.eye(n, dtype=bool)
        self.meridian = (size >= _SMALL) & self.pair
        across /= np.where(size < _SMALL, 1.0, size)[..., None]
        self.phi = np.arccos(np.clip(across @ across.transpose(0, 1, 3, 2), -1.0, 1.0))
        distinct = self.pair[:, :, None] & self.pair[:, None, :] & self.pair[None]
        self.third = self.meridian[..., None] & distinct
        self.both = self.third & self.meridian[:, :, None, :]

    @property
    def theta_k(self) -> Array:
        """Angle j-k over pi, broadcast over m."""
        return self.theta[..., None]

    @property
    def theta_m(self) -> Array:
        """Angle j-m over pi, broadcast over k."""
        return self.theta[:, :, None, :]


def order_parameter(kind: str, params: Params | None, geometry: Geometry) -> Array:
    """Return one order parameter of S sites, (S,); 0 where it is not defined.

    Args:
        kind: Type in pymatgen's naming.
        params: Its parameters.
        geometry: Angles.

    Raises:
        ValueError: If the type is not known.
    """
    if kind not in _KINDS:
        raise ValueError(f"unknown order parameter {kind!r}")
    return _KINDS[kind](params or {}, geometry)


def _gauss(x: Array) -> Array:
    return np.exp(-0.5 * x * x)


def _plane(p: Params, g: Geometry) -> Array:
    return np.cos(p["fac_AA"] * g.phi) ** p["exp_cos_AA"]


def _largest(pair: Array, pair_norm: Array | Mask, third: Array, third_norm: Array) -> Array:
    """Return the largest normalised contribution over the pairs (j, k)."""
    total = pair + third
    norm = pair_norm + third_norm
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(norm > _SMALL, total / norm, 0.0)
    n = value.shape[-1]
    value = np.where(np.eye(n, dtype=bool), -np.inf, value)
    return value.max((1, 2)) if n > 1 else np.zeros(len(value))


def _single_bond(p: Params, g: Geometry) -> Array:
    del p
    return np.ones(len(g.theta))


def _bent(p: Params, g: Geometry) -> Array:
    values = _gauss(p["IGW_TA"] * (g.theta - p["TA"]))
    return values[:, g.pair].mean(1)


def _angle_and_plane(g: Geometry, score: Array, plane: Array) -> Array:
    """Pairs scored by their angle, thirds by angle times orientation of the plane."""
    third = np.where(g.both, score[:, :, None, :] * plane, 0.0)
    pair = np.where(g.pair, score, 0.0)
    return _largest(pair, g.pair, third.sum(-1), g.both.sum(-1).astype(float))


def _tetrahedral(p: Params, g: Geometry) -> Array:
    return _angle_and_plane(g, _gauss(p["IGW_TA"] * (g.theta - p["TA"])), _plane(p, g))


def _pyramidal(p: Params, g: Geometry) -> Array:
    return _angle_and_plane(g, _gauss(p["IGW_EP"] * (g.theta - 0.5)), _plane(p, g))


def _pentagonal(p: Params, g: Geometry) -> Array:
    ideal = np.where(g.theta * math.pi <= p["TA"] * math.pi, 0.4, 0.8)
    score = _gauss(p["IGW_TA"] * (g.theta - ideal))
    return _angle_and_plane(g, score, np.cos(g.phi) ** 2)


def _poles(p: Params, g: Geometry, equator: Array, limit: float = math.inf) -> Array:
    """Equatorial pairs, a south pole, and thirds on the equator in the right planes."""
    north = g.theta * math.pi < p["min_SPP"]
    pair = g.pair & north
    south = g.third & ~north[:, :, None, :]
    third = g.both & north[:, :, None, :] & north[..., None] & (g.phi < limit)
    pole = _gauss(p["IGW_SPP"] * (g.theta - 1.0))
    value = np.where(south, pole[:, :, None, :], 0.0).sum(-1)
    value = value + np.where(third, equator[:, :, None, :] * _plane(p, g), 0.0).sum(-1)
    count = south.sum(-1) + third.sum(-1)
    return _largest(np.where(pair, equator, 0.0), pair, value, count.astype(float))


def _bipyramidal(p: Params, g: Geometry) -> Array:
    return _poles(p, g, _gauss(p["IGW_EP"] * (g.theta - 0.5)))


def _see_saw(p: Params, g: Geometry) -> Array:
    return _poles(p, g, _gauss(p["IGW_EP"] * (g.theta - 0.5)), limit=0.75 * math.pi)


def _hexagonal(p: Params, g: Geometry) -> Array:
    return _poles(p, g, _gauss(p["IGW_TA"] * (np.abs(g.theta - 0.5) - p["TA"])))


def _bcc(p: Params, g: Geometry) -> Array:
    n = g.theta.shape[-1]
    if n <= 3:
        return np.zeros(len(g.theta))
    upper = np.triu(np.ones((n, n), dtype=bool), 1)
    angle = g.theta * math.pi
    south = angle >= p["min_SPP"]
    pair = np.where(upper & south, p["w_SPP"] * _gauss(p["IGW_SPP"] * (g.theta - 1.0)), 0.0)
    side = np.where(angle > math.pi / 2, 1.0, -1.0)
    x = (angle - math.pi / 2) / math.asin(1 / 3)
    wave = x * _gauss(x) / math.exp(-0.5)
    chosen = g.both & (upper & ~south)[..., None]
    third = np.where(chosen, side[..., None] * np.cos(3 * g.phi) * wave[:, :, None, :], 0.0)
    return (pair.sum((1, 2)) + third.sum((1, 2, 3))) / (0.5 * n * (6 + (n - 2) * (n - 3)))


def _cuboctahedral(p: Params, g: Geometry) -> Array:
    angle = g.theta * math.pi
    south = angle >= p["min_SPP"]
    pole = p["w_SPP"] * _gauss(p["IGW_SPP"] * (g.theta - 1.0))
    low, high = p["4"], p["2"]
    middle = (angle > low) & (angle < high)
    k_middle = g.both & middle[..., None]
    on_equator = k_middle & (middle & ~south)[:, :, None, :]
    above = k_middle & ((angle < low) & ~south)[:, :, None, :]
    below = k_middle & ((angle > high) & ~south)[:, :, None, :]
    equator = np.cos(g.phi) ** 2 * _gauss(p["5"] * (g.theta - 0.5))[:, :, None, :]
    tilt = _gauss(0.0556 * (np.cos(g.phi - 0.5 * math.pi) - 0.81649658))
    cap = tilt * _gauss(p["6"] * (g.theta - 1 / 3))[:, :, None, :]
    base = tilt * _gauss(p["6"] * (g.theta - 2 / 3))[:, :, None, :]
    third = np.where(on_equator, equator, np.where(above, cap, np.where(below, base, 0.0)))
    count = (on_equator | above | below).sum(-1).astype(float)
    pair = g.pair & south
    return _largest(np.where(pair, pole, 0.0), p["w_SPP"] * pair, third.sum(-1), count)


def _steinhardt(degree: int) -> Callable[[Params, Geometry], Array]:
    """Bond-orientational order q_l (Steinhardt et al., Phys. Rev. B 28, 784 (1983))."""

    def q(p: Params, g: Geometry) -> Array:
        del p
        z = np.clip(g.unit[..., 2], -1.0, 1.0)
        azimuth = np.arctan2(g.unit[..., 1], g.unit[..., 0])
        total = np.zeros(len(z))
        for m in range(degree + 1):
            norm = (
                (2 * degree + 1) / (4 * math.pi)
                * math.factorial(degree - m) / math.factorial(degree + m)
            )  # fmt: skip
            wave = (lpmv(m, degree, z) * np.exp(1j * m * azimuth)).sum(-1)
            total += (1 if m == 0 else 2) * norm * np.abs(wave) ** 2
        return np.sqrt(4 * math.pi * total / ((2 * degree + 1) * z.shape[1] ** 2))

    return q


_KINDS: dict[str, Callable[[Params, Geometry], Array]] = {
    "sgl_bd": _single_bond,
    "bent": _bent,
    "tri_plan_max": _tetrahedral,
    "tet_max": _tetrahedral,
    "pent_plan_max": _pentagonal,
    "bcc": _bcc,
    "cuboct_max": _cuboctahedral,
    "see_saw_rect": _see_saw,
    "hex_plan_max": _hexagonal,
    **dict.fromkeys(("T", "tri_pyr", "sq_pyr", "pent_pyr", "hex_pyr"), _pyramidal),
    **dict.fromkeys(
        ("tri_bipyr", "pent_bipyr", "hex_bipyr", "oct_max", "sq_plan_max"), _bipyramidal
    ),
    "q2": _steinhardt(2),
    "q4": _steinhardt(4),
    "q6": _steinhardt(6),
}
