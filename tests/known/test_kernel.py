"""The kernel has the verdicts of pymatgen's matcher, and says where rounding decides."""

import warnings

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher

from pyg_crysdiff.data import Crystal
from pyg_crysdiff.evaluation.matching import best_rms_distances, rms_distances
from pyg_crysdiff.evaluation.uniqueness import kinds, known_matches
from pyg_crysdiff.known import kernel
from pyg_crysdiff.known.cells import Cell, matcher, matching_key
from pyg_crysdiff.known.comparing import CellGroup
from pyg_crysdiff.known.kernel import NO, OPEN, YES, PackedCells, compare_cells
from tests.known.crystals import networks, variants

FIT, RMS = (0.2, 0.3, 5.0), (0.3, 0.5, 10.0)

pytestmark = pytest.mark.skipif(kernel.load_library() is None, reason="no C compiler")


def symmetric():
    """Crystals of high symmetry, where images, assignments and reduced lattices are ties."""
    fcc = 0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    hexagonal = np.array([[1, 0, 0], [-0.5, 3**0.5 / 2, 0], [0, 0, 1.633]])
    corner, quarter, half = [0, 0, 0], [0.25] * 3, [0.5] * 3
    third = [1 / 3, 2 / 3, 0.5]
    flat = [[0, 0, 0.5], [1 / 3, 2 / 3, 0.5]]
    layers = [[0, 0, 0.1], [1 / 3, 2 / 3, 0.3], [2 / 3, 1 / 3, 0.6], [0, 0, 0.8]]
    cube = np.eye(3)
    return [
        Crystal(3.6 * fcc, [corner], [29]),
        Crystal(2.5 * hexagonal, [corner], [29]),
        Crystal(3.0 * cube, [corner], [29]),
        Crystal(3.6 * fcc, [corner, quarter], [6, 6]),
        Crystal(2.5 * hexagonal, [corner, third], [6, 6]),
        Crystal(3.0 * cube, [corner, half], [6, 6]),
        Crystal(2.46 * hexagonal * [1, 1, 6], flat, [6, 6]),
        Crystal(5.6 * fcc, [corner, half], [11, 17]),
        Crystal(5.6 * fcc, [corner, quarter], [11, 17]),
        Crystal(4.1 * cube, [corner, half], [11, 17]),
        Crystal(3.8 * hexagonal, [corner, third], [11, 17]),
        Crystal(6.1 * fcc, [corner, quarter, half, [0.75] * 3], [11, 17, 11, 17]),
        Crystal(3.1 * hexagonal * [1, 1, 3], layers, [30, 30, 16, 16]),
        Crystal(3.1 * hexagonal * [1, 1, 3], layers, [16, 30, 30, 16]),
        Crystal(3.1 * hexagonal * [1, 1, 3], layers, [30, 16, 30, 16]),
        Crystal(4.0 * cube * [1, 1, 2.5], [*layers[:3], half], [6] * 4),
        Crystal(4.0 * cube, [corner, [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], [6] * 4),
    ]


def around(crystal, rng):
    """Copies just inside and outside the tolerances: of places, of lengths and of angles."""
    n, volume = len(crystal), abs(np.linalg.det(crystal.lattice))
    step = 0.3 * (volume / n) ** (1 / 3)
    out = []
    for size in (0.9, 0.999999999999, 1.0, 1.000001, 1.1):
        direction = rng.normal(size=3)
        moved = crystal.frac_coords.copy()
        moved[-1] += size * n / max(n - 1, 1) * step * (
            direction / np.linalg.norm(direction)
        ) @ np.linalg.inv(crystal.lattice)  # fmt: skip
        out.append(Crystal(crystal.lattice, moved, crystal.atomic_numbers))
        long = np.diag([1 + 0.2 * size, 1, 1]) / (1 + 0.2 * size) ** (1 / 3)
        out.append(Crystal(crystal.lattice @ long, crystal.frac_coords, crystal.atomic_numbers))
        slant = np.eye(3)
        slant[0, 1] = np.tan(np.radians(5 * size))
        out.append(Crystal(crystal.lattice @ slant, crystal.frac_coords, crystal.atomic_numbers))
    return out


def groups(crystals):
    """Reduced cells by key, of those that have company."""
    out = {}
    for crystal in crystals:
        key, cell = matching_key(crystal)
        out.setdefault(key, []).append(Cell(cell))
    return [cells for key, cells in out.items() if key is not None and len(cells) > 1]


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(7)
    ties = symmetric()
    crystals = [*ties, *(x for c in ties[3:12] for x in variants(c, rng))]
    crystals += [x for c in (*ties[:2], *ties[4:12:2]) for x in around(c, rng)]
    some = networks(25, rng)
    crystals += [*some, *(x for c in some[:4] for x in [*variants(c, rng), *around(c, rng)])]
    return groups(crystals)


def ordered_pairs(group, rng, most):
    """Some pairs of a group, in both orders, and of cells with themselves."""
    every = [(i, j) for i in range(len(group)) for j in range(len(group))]
    return [every[k] for k in rng.permutation(len(every))[:most]]


def test_verdicts_and_distances_are_pymatgens(cells):
    """Whatever the kernel does not leave open, in both modes, has pymatgen's answer."""
    rng = np.random.default_rng(8)
    count = {(mode, verdict): 0 for mode in (FIT, RMS) for verdict in (NO, YES, OPEN)}
    for group in cells:
        for i, j in ordered_pairs(group, rng, 140):
            a, b = group[i], group[j]
            for mode in (FIT, RMS):
                compare, rms = StructureMatcher(*mode, primitive_cell=False), mode is RMS
                verdicts, distances = compare_cells(
                    a.packed, np.zeros(1, np.int64), b.packed, mode, want_rms=rms
                )
                count[mode, verdicts[0]] += 1
                if verdicts[0] == OPEN:
                    continue
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    pair = compare._preprocess(
                        a.structure, b.structure, skip_structure_reduction=True
                    )
                    found = compare._match(*pair, use_rms=rms, break_on_match=not rms)
                assert (found is not None) == (verdicts[0] == YES)
                if rms and found is not None:
                    assert distances[0] == pytest.approx(found[0], abs=2e-8)
    pairs = sum(count.values())
    assert pairs > 1200
    for mode in (FIT, RMS):
        assert count[mode, NO] > 0.2 * pairs / 2
        assert count[mode, YES] > 0.2 * pairs / 2
        assert count[mode, OPEN] < 0.1 * pairs / 2


@pytest.mark.parametrize("native", ["0", "1"])
def test_groups_and_distances_are_the_same_without_a_kernel(native, monkeypatch):
    monkeypatch.setenv("CRYSDIFF_NATIVE", native)
    rng = np.random.default_rng(9)
    crystals = [x for c in symmetric()[8:10] for x in [c, *variants(c, rng)]]
    compare = matcher()
    for group in groups(crystals):
        fit = [
            [compare.fit(a.structure, b.structure, skip_structure_reduction=True) for a in group]
            for b in group
        ]
        together = CellGroup(compare, group)
        for cell, expected in zip(group, fit, strict=True):
            assert together.matches(cell) == np.flatnonzero(expected).tolist()
            among = np.arange(len(group))[::-2]
            first = next((i for i in among if expected[i]), None)
            assert together.first_match(cell, among) == first
    some, truths = crystals[::3], crystals[1::9]
    pairs = [(a, b) for a in some for b in truths]
    own = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [own.get_rms_dist(a.to_structure(), b.to_structure()) for a, b in pairs]
    expected = np.array([np.nan if x is None else x[0] for x in found])
    ours = rms_distances(*zip(*pairs, strict=True), num_workers=0)
    np.testing.assert_allclose(ours, expected, atol=2e-8, rtol=0)
    assert 3 < np.isnan(expected).sum() < len(expected) - 3
    columns = expected.reshape(len(some), len(truths)).T
    best = np.array([min(x[~np.isnan(x)], default=np.nan) for x in columns])
    np.testing.assert_allclose(
        best_rms_distances(some, truths, num_workers=0), best, atol=2e-8, rtol=0
    )


def test_what_rounding_decides_is_asked(monkeypatch):
    """An open verdict goes to pymatgen, in its place of the order."""
    cell = matching_key(symmetric()[3])[1]
    group = CellGroup(matcher(), [Cell(cell)] * 3)
    answers = iter([(NO, OPEN, YES), (OPEN, NO, NO)])
    monkeypatch.setattr(
        "pyg_crysdiff.known.comparing.compare_cells",
        lambda *_, **__: (np.array(next(answers), np.int8), None),
    )
    assert group.first_match(Cell(cell)) == 1
    assert group.matches(Cell(cell)) == [0]


def test_a_kernel_that_disagrees_is_not_used(monkeypatch):
    kernel.kernel_agrees.cache_clear()
    monkeypatch.setattr(kernel, "_asked", lambda *_: (np.array([NO], np.int8), np.zeros(1)))
    try:
        assert not kernel.kernel_agrees()
    finally:
        kernel.kernel_agrees.cache_clear()
    monkeypatch.undo()
    assert kernel.kernel_agrees()


def test_odd_cells_are_left_open_or_refused():
    needle = PackedCells.of(np.diag([3e4, 1.0, 1e-3]), np.zeros((1, 3)), np.array([6]))
    flat = PackedCells.of(np.diag([1.0, 1.0, 0.0]), np.zeros((1, 3)), np.array([6]))
    cube = PackedCells.of(np.eye(3), np.zeros((1, 3)), np.array([6]))
    for other in (needle, flat):
        for pair in ((cube, other), (other, cube), (other, other)):
            assert compare_cells(pair[0], np.zeros(1, np.int64), pair[1], FIT)[0][0] != YES
    with pytest.raises(ValueError, match="content"):
        PackedCells.join([cube, PackedCells.of(np.eye(3), np.zeros((1, 3)), np.array([7]))])


def test_one_element_in_many_sizes_is_grouped_as_by_pymatgen_alone(monkeypatch):
    rng = np.random.default_rng(10)
    some = networks(12, rng)
    crystals = [x for c in some for x in [c, *variants(c, rng)[:4]]]
    ours = kinds(crystals, num_workers=0)
    matches = known_matches(crystals[::2], crystals[1::2], num_workers=0)
    monkeypatch.setenv("CRYSDIFF_NATIVE", "0")
    np.testing.assert_array_equal(ours, kinds(crystals, num_workers=0))
    assert matches == known_matches(crystals[::2], crystals[1::2], num_workers=0)
    assert 10 < len(set(ours.tolist())) < len(crystals)
