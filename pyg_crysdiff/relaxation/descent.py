"""One relaxation as a sequence of questions to a potential: L-BFGS over atoms and cell.

Limited-memory BFGS: Nocedal, Mathematics of Computation 35, 773 (1980). Atoms and cell move
together, as in ASE's ``FrechetCellFilter``; the strain of the cell is scaled so that both are
about equally stiff. A step that climbs is taken back and shortened, so that the energy falls.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.relaxation.geometry import stepped
from pyg_crysdiff.relaxation.potentials import GPA, Point
from pyg_crysdiff.relaxation.records import RelaxSettings

Vector = NDArray[np.float64]
_MEMORY = 30  # pairs of steps and changes of the gradient
_SOFTNESS = 1 / 70  # A^2/eV, of the first step
_LONGEST, _LARGEST = 0.2, 0.08  # step of an atom in A, and the strain's Frobenius norm
_NOISE = 2e-5  # eV/atom, by which the energy may rise: potentials compute in single precision
_SHORTER = 0.1, 0.5  # least and largest factor of a step that climbed
_TRIES = 8


class Descent:
    """The relaxation of one crystal.

    Attributes:
        trial: The crystal that the potential is asked for next.
        best: The last crystal that was accepted, and ``point`` what the potential said of it.
        first_energy: Energy of the crystal as it was, eV; None before it is known.
        evaluations: Number of answers so far.
        ended: Whether it converged or ran out of steps.

    Args:
        crystal: A right-handed crystal.
        settings: When it ends.
    """

    def __init__(self, crystal: Crystal, settings: RelaxSettings) -> None:
        self.settings = settings
        self.trial = self.best = crystal
        self.point: Point | None = None
        self.first_energy: float | None = None
        self.evaluations = 0
        self.ended = False
        self._memory: deque[tuple[Vector, Vector]] = deque(maxlen=_MEMORY)
        self._gradient = self._step = np.zeros(0)
        self._refused = 0
        self._scale = float(np.sqrt(len(crystal)))  # A per unit of strain

    @property
    def converged(self) -> bool:
        """Whether forces and stress of the best crystal are within the settings."""
        return self.point is not None and is_relaxed(self.point, self.settings)

    def tell(self, point: Point) -> None:
        """Take the potential's answer for ``trial``, and choose the next trial or end."""
        if self.first_energy is None:
            self.first_energy = point.energy
        self.evaluations += 1
        if self.point is not None and self._climbed(point):
            self._shorten(point)
        else:
            self._accept(point)
        self.ended = self.converged or self.evaluations > self.settings.steps

    def _climbed(self, point: Point) -> bool:
        assert self.point is not None  # for the type checker
        limit = self.point.energy + _NOISE * len(self.best)
        better = is_relaxed(point, self.settings)
        return point.energy > limit and not better and self._refused < _TRIES

    def _shorten(self, point: Point) -> None:
        """Try a part of the step: where a parabola through both energies is lowest."""
        assert self.point is not None
        self._refused += 1
        slope = float(self._gradient @ self._step)
        rise = max(point.energy - self.point.energy - slope, 1e-12)
        self._step = self._step * np.clip(-slope / (2 * rise), *_SHORTER)
        if self._refused > 1 and self._memory:
            self._memory.clear()
            self._step = self._limited(-self._gradient * _SOFTNESS * 0.5**self._refused)
        self.trial = self._moved(self._step)

    def _accept(self, point: Point) -> None:
        gradient = self._gradient_of(self.trial, point)
        if self.point is not None:
            change = gradient - self._gradient
            least = 1e-8 * np.linalg.norm(self._step) * np.linalg.norm(change)
            if self._step @ change > least:
                self._memory.append((self._step, change))
        self.best, self.point, self._gradient, self._refused = self.trial, point, gradient, 0
        direction = -self._inverse_times(gradient)
        if not direction @ gradient < 0:
            self._memory.clear()
            direction = -gradient * _SOFTNESS
        self._step = self._limited(direction)
        self.trial = self._moved(self._step)

    def _inverse_times(self, gradient: Vector) -> Vector:
        """Multiply by the approximate inverse Hessian: Nocedal's two loops."""
        out = gradient.copy()
        parts = []
        for step, change in reversed(self._memory):
            part = (step @ out) / (step @ change)
            parts.append(part)
            out -= part * change
        if self._memory:
            step, change = self._memory[-1]
            out *= (step @ change) / (change @ change)
        else:
            out *= _SOFTNESS
        for (step, change), part in zip(self._memory, reversed(parts), strict=True):
            out += step * (part - (change @ out) / (step @ change))
        return out

    def _gradient_of(self, crystal: Crystal, point: Point) -> Vector:
        """Derivative by the positions (N, 3) and, with the cell, the scaled strain (3, 3)."""
        gradient = -point.forces.ravel()
        if not self.settings.cell:
            return gradient
        virial = crystal.volume * (point.stress + point.stress.T) / 2
        return np.concatenate([gradient, virial.ravel() / self._scale])

    def _split(self, step: Vector) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        move = step[: 3 * len(self.best)].reshape(-1, 3)
        rest = step[3 * len(self.best) :]
        return move, rest.reshape(3, 3) / self._scale if len(rest) else None

    def _limited(self, step: Vector) -> Vector:
        move, strain = self._split(step)
        over = np.linalg.norm(move, axis=1).max() / _LONGEST
        if strain is not None:
            over = max(over, float(np.linalg.norm(strain)) / _LARGEST)
        return step / max(over, 1.0)

    def _moved(self, step: Vector) -> Crystal:
        return stepped(self.best, *self._split(step))


def is_relaxed(point: Point, settings: RelaxSettings) -> bool:
    """Whether forces, and with the cell the stress, are within the settings."""
    forces = bool(max_force(point) <= settings.fmax)
    return forces and (not settings.cell or max_stress(point) <= settings.smax)


def max_force(point: Point) -> float:
    """Return the largest force on an atom, eV/A."""
    return float(np.linalg.norm(point.forces, axis=1).max())


def max_stress(point: Point) -> float:
    """Return the largest absolute component of the stress, GPa."""
    return float(np.abs(point.stress).max() / GPA)
