import warnings

import numpy as np
import pytest
from matminer.featurizers.composition import ElementProperty
from matminer.featurizers.site import CrystalNNFingerprint
from pymatgen.core import Lattice, Structure
from scipy.spatial.distance import cdist
from scipy.stats import norm

from pyg_crysdiff.data import BrokenEntry, Crystal
from pyg_crysdiff.evaluation import coverage
from pyg_crysdiff.evaluation.coverage import coverage_metrics, nearest_distances
from pyg_crysdiff.evaluation.distances import Distances
from pyg_crysdiff.evaluation.fingerprints import (
    MAGPIE_PROPERTIES,
    Fingerprints,
    composition_fingerprint,
    fingerprint_crystals,
)
from pyg_crysdiff.evaluation.fingerprints.crystalnn import (
    _layout,
    structure_fingerprints,
)
from pyg_crysdiff.evaluation.fingerprints.magpie import _scaling
from pyg_crysdiff.evaluation.fingerprints.voronoi import voronoi_faces
from tests.conftest import make_crystal

warnings.filterwarnings("ignore", category=UserWarning)


def one_by_one(crystal: Crystal) -> np.ndarray:
    featurizer = CrystalNNFingerprint.from_preset("ops")
    structure = crystal.to_structure()
    return np.mean([featurizer.featurize(structure, i) for i in range(len(structure))], axis=0)


def noisy(structure: Structure, rng, size=0.03) -> Crystal:
    """Break the symmetry, so that no two neighbours tie."""
    structure = structure.copy()
    structure.perturb(size)
    crystal = Crystal.from_structure(structure)
    return Crystal(
        crystal.lattice * (1 + rng.normal(0, 0.01, (3, 3))),
        crystal.frac_coords,
        crystal.atomic_numbers,
    )


def zoo(rng):
    """Structures of all kinds: dense, layered, open, alloys, oxides, one-atom cells."""
    np.random.seed(0)  # noqa: NPY002 - Structure.perturb draws from it
    cubic = Lattice.cubic
    prototypes = [
        Structure.from_spacegroup("Fm-3m", cubic(3.6), ["Cu"], [[0, 0, 0]]),
        Structure.from_spacegroup("Im-3m", cubic(2.9), ["Fe"], [[0, 0, 0]]),
        Structure.from_spacegroup("Fd-3m", cubic(3.57), ["C"], [[0, 0, 0]]),
        Structure.from_spacegroup("Pm-3m", cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5] * 3]),
        Structure.from_spacegroup(
            "Pm-3m", cubic(3.9), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0]]
        ),
        Structure(
            Lattice.hexagonal(2.46, 6.7), ["C"] * 4,
            [[0, 0, 0.25], [0, 0, 0.75], [1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]],
        ),
        Structure.from_spacegroup(
            "P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
        ),
        Structure(
            Lattice.hexagonal(3.2, 5.2), ["Mg"] * 2, [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
        ),
    ]  # fmt: skip
    crystals = [noisy(s, rng) for s in prototypes]
    crystals += [make_crystal(rng, n) for n in (1, 2, 3, 4, 6, 9)]
    crystals += [make_crystal(rng, 5, (2, 11, 29, 79, 92)) for _ in range(3)]
    crystals.append(Crystal(np.diag([3.0, 9.0, 14.0]) + 0.01, rng.random((2, 3)), [6, 8]))
    return crystals


def test_fingerprints_equal_matminers(rng):
    crystals = zoo(rng)
    together = structure_fingerprints(crystals)
    for crystal, found in zip(crystals, together, strict=True):
        np.testing.assert_allclose(found, one_by_one(crystal), atol=1e-9)
    alone = [structure_fingerprints([c])[0] for c in crystals]
    np.testing.assert_allclose(np.array(together), np.array(alone), atol=1e-12)
    # all kinds of order parameters took part
    assert (np.abs(np.array(together)).max(0) > 0).sum() > 30


def test_fingerprints_do_not_depend_on_description(rng):
    crystal = make_crystal(rng, 4)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    order = rng.permutation(4)
    other = Crystal(
        crystal.lattice @ rotation,
        (crystal.frac_coords + 0.3)[order] + rng.integers(-2, 3, (4, 3)),
        crystal.atomic_numbers[order],
    )
    a, b = structure_fingerprints([crystal, other])
    np.testing.assert_allclose(a, b, atol=1e-9)


def test_voronoi_cells_fill_the_crystal(rng):
    crystal = make_crystal(rng, 5)
    faces = voronoi_faces(crystal)
    height = np.linalg.norm(faces.vector, axis=1) / 2
    assert (faces.area * height / 3).sum() == pytest.approx(crystal.volume)
    for site in range(5):
        assert faces.solid_angle[faces.site == site].sum() == pytest.approx(4 * np.pi)


def test_the_preset_is_that_of_the_installed_matminer():
    preset = CrystalNNFingerprint.from_preset("ops")
    columns, ours = _layout()
    assert columns == len(preset.feature_labels())
    for cn, operators in preset.ops.items():
        for operator, (_, kind, params) in zip(operators, ours[cn], strict=True):
            if operator == "wt":
                assert kind == "wt"
            else:
                assert kind == operator.get_type(0)
                theirs = operator.get_parameters(0)
                assert params == (theirs and {str(k): v for k, v in theirs.items()})
    assert (
        list(MAGPIE_PROPERTIES) == ElementProperty.from_preset("magpie", impute_nan=True).features
    )


def test_composition_fingerprint_equals_matminers(rng):
    magpie = ElementProperty.from_preset("magpie", impute_nan=True)
    means, stds = _scaling()
    for _ in range(20):
        numbers = rng.integers(1, 95, rng.integers(1, 9))
        crystal = Crystal(5 * np.eye(3), rng.random((len(numbers), 3)), numbers)
        expected = (np.array(magpie.featurize(crystal.to_structure().composition)) - means) / stds
        np.testing.assert_allclose(composition_fingerprint(crystal), expected, atol=1e-10)


def test_what_has_no_fingerprint_is_marked(rng):
    good = make_crystal(rng, 3)
    same_place = Crystal(4 * np.eye(3), [[0, 0, 0], [0, 0, 0]], [11, 17])
    nan = Crystal(np.full((3, 3), np.nan), [[0, 0, 0]], [11])
    heavy = Crystal(4 * np.eye(3), [[0, 0, 0]], [130])
    found = fingerprint_crystals([good, same_place, nan, BrokenEntry(3, "x"), heavy, good])
    np.testing.assert_array_equal(found.ok, [True, False, False, False, False, True])
    np.testing.assert_array_equal(found.structure[0], found.structure[5])
    assert fingerprint_crystals([]).ok.shape == (0,)


def test_cache_and_processes_change_nothing(rng, tmp_path):
    crystals = [make_crystal(rng, 2) for _ in range(210)]
    serial = fingerprint_crystals(crystals, num_workers=0, cache_dir=tmp_path)
    parallel = fingerprint_crystals(crystals, num_workers=2)
    cached = fingerprint_crystals(crystals, cache_dir=tmp_path)
    # Sums of other lengths at other addresses: older numpy rounds them another way.
    np.testing.assert_allclose(serial.structure, parallel.structure, rtol=1e-13, atol=1e-16)
    np.testing.assert_array_equal(serial.structure, cached.structure)
    assert len(list(tmp_path.iterdir())) == 1
    fingerprint_crystals(crystals[1:], num_workers=0, cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_another_version_of_what_computes_them_makes_them_anew(rng, tmp_path, monkeypatch):
    crystals = [make_crystal(rng, 2)]
    fingerprint_crystals(crystals, num_workers=0, cache_dir=tmp_path)
    monkeypatch.setattr(
        "pyg_crysdiff.evaluation.fingerprints.crystals.version", lambda name: f"{name} 99"
    )
    fingerprint_crystals(crystals, num_workers=0, cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def prints(rng, count, ok=None):
    flags = np.ones(count, bool) if ok is None else np.asarray(ok)
    structure, composition = rng.random((count, 61)), 3 * rng.random((count, 132))
    return Fingerprints(structure, composition, flags)


def test_coverage_equals_dense_matrices(rng):
    generated, reference = prints(rng, 700, rng.random(700) > 0.1), prints(rng, 1100)
    s = cdist(generated.structure[generated.ok], reference.structure)
    c = cdist(generated.composition[generated.ok], reference.composition)
    cut = float(np.median(s.min(0))), float(np.quantile(c.min(0), 0.8))
    found = coverage_metrics(generated, reference, {"x": cut, "all": (99.0, 99.0)}, 0, 0)
    value = {key: estimate.value for key, estimate in found.items()}
    recall = (s.min(0) <= cut[0]) & (c.min(0) <= cut[1])
    precision = (s.min(1) <= cut[0]) & (c.min(1) <= cut[1])
    assert 0.02 < recall.mean() < 0.98
    assert value["cov_recall"] == pytest.approx(recall.mean())
    assert value["cov_precision"] == pytest.approx(precision.sum() / 700)
    both = (s <= cut[0]) & (c <= cut[1])
    assert value["cov_recall_joint"] == pytest.approx(both.any(0).mean())
    assert value["cov_precision_joint"] == pytest.approx(both.any(1).sum() / 700)
    assert value["cov_recall_joint"] < value["cov_recall"]
    assert value["amsd_recall"] == pytest.approx(s.min(0).mean())
    assert value["amcd_precision"] == pytest.approx(c.min(1).mean())
    assert value["cov_recall@all"] == 1
    assert value["cov_precision@all"] == pytest.approx(generated.ok.mean())


@pytest.mark.parametrize("joint", ["", "_joint"])
def test_interval_of_recall_holds_the_chance_of_what_was_generated(rng, joint):
    generated, reference = prints(rng, 60, rng.random(60) > 0.1), prints(rng, 600)
    s = cdist(reference.structure, generated.structure)
    c = cdist(reference.composition, generated.composition)
    s[:, ~generated.ok] = c[:, ~generated.ok] = np.inf
    cut = float(np.quantile(s.min(1), 0.7)), float(np.quantile(c.min(1), 0.8))

    def recall(kept):
        near = s[:, kept] <= cut[0], c[:, kept] <= cut[1]
        both = (near[0] & near[1]).any(1) if joint else near[0].any(1) & near[1].any(1)
        return both.mean()

    kept = [np.delete(np.arange(60), k) for k in range(60)]
    left_out = np.array([recall(rows) for rows in kept])
    variance = 59 / 60 * np.square(left_out - left_out.mean()).sum()
    (found,) = (
        estimate
        for key, estimate in coverage_metrics(generated, reference, {"x": cut}, 4000, 0).items()
        if key == f"cov_recall{joint}"
    )
    value = recall(np.arange(60))
    assert found.value == pytest.approx(value)
    assert 0.02 < value < 0.98
    of_reference = value * (1 - value) / 600
    assert variance > 0.3 * of_reference
    wanted = norm.ppf(0.975) * np.sqrt(variance + of_reference)
    assert (found.high - found.low) / 2 == pytest.approx(wanted, rel=0.05)


def test_no_generated_fingerprint_covers_nothing(rng):
    nothing = prints(rng, 3, [False] * 3)
    found = coverage_metrics(nothing, prints(rng, 5), {"x": (1.0, 1.0)}, 100, 0)
    assert {key: estimate.value for key, estimate in found.items()} == dict.fromkeys(
        ("cov_recall", "cov_precision", "cov_recall_joint", "cov_precision_joint"), 0.0
    )  # and no mean distance
    near = nearest_distances(nothing, prints(rng, 5), {})
    assert np.isinf(near.structure_recall).all()


def test_blocks_bound_the_memory_and_change_nothing(rng, monkeypatch):
    """The more samples, the fewer reference crystals at once; the values stay the same."""
    sets, cut = (prints(rng, 40), prints(rng, 90)), {"x": (3.0, 3.0)}
    whole, sizes = coverage_metrics(*sets, cut, 0, 0), []

    class Counted(Distances):
        def from_rows(self, rows):
            sizes.append(len(rows) * len(self.others))
            return super().from_rows(rows)

    monkeypatch.setattr(coverage, "_MOST", 200)
    monkeypatch.setattr(coverage, "Distances", Counted)
    parts = coverage_metrics(*sets, cut, 0, 0)
    assert max(sizes) <= 200
    assert len(sizes) == 2 * 18
    assert {key: found.value for key, found in parts.items()} == {
        key: pytest.approx(found.value, rel=1e-12) for key, found in whole.items()
    }
