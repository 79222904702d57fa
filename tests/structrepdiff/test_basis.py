"""The coordinates in which representations are diffused."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from pyg_crysdiff.structrepdiff.basis import Entries, Principal, build_basis

WIDTHS = (8, 1, 3, 1, 6)
MANY = 4000


def standardised(seed=0, cubic=False):
    """Correlated values in the layout of a representation; their deviations before."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(MANY, sum(WIDTHS), generator=generator, dtype=torch.float64)
    mix = torch.randn(9, 9, generator=generator, dtype=torch.float64)
    values[:, :9] = values[:, :9] @ mix
    if cubic:
        values[:, 14:16] = values[:, 13:14]
        values[:, 16:] = 0
    std = values.std(0, unbiased=False)
    std[9:12] = torch.tensor([0.1, 0.02, 0.3], dtype=torch.float64)
    spread = values.std(0, unbiased=False)
    z = (values - values.mean(0)) / torch.where(spread > 0, spread, 1.0)
    return z.float(), std.float()


def fitted(z, std, **options):
    basis = Principal(WIDTHS, **options)
    basis.fit(z, std)
    return basis


def test_all_components_lose_nothing():
    z, std = standardised()
    for basis in (Entries(WIDTHS), fitted(z, std, components=9)):
        assert basis(z).shape == (MANY, basis.dim)
        assert sum(basis.parts) == basis.dim
        torch.testing.assert_close(basis.inverse(basis(z)), z, atol=1e-4, rtol=0)


def test_components_are_those_of_scikit_learn():
    z, std = standardised()
    found = fitted(z, std, components=4)(z)
    for mine, columns in ((found[:, :4], slice(0, 9)), (found[:, 7:], slice(12, 19))):
        whitened = PCA(mine.shape[1], whiten=True).fit_transform(z[:, columns].double().numpy())
        # Signs of components are free; sample and population variance differ by 1 / M.
        overlap = np.abs((mine.double().numpy() * whitened).mean(0))
        np.testing.assert_allclose(overlap, 1.0, atol=1e-3)
    axes = fitted(z, std, components=4).matrix[:9, :4]
    assert (axes.gather(0, axes.abs().argmax(0, keepdim=True)) > 0).all()


def test_floor_keeps_small_components_small():
    z, std = standardised()
    variance = np.linalg.eigvalsh(np.cov(z[:, :9].double().numpy().T, bias=True))[::-1]
    found = fitted(z, std, components=9, floor=0.5)(z)[:, :9]
    expected = np.sqrt(variance / (variance + 0.5))
    np.testing.assert_allclose(found.std(0, unbiased=False).numpy(), expected, atol=1e-3)


def test_elements_share_a_unit():
    z, std = standardised()
    found = fitted(z, std, composition_scale=2.0)(z)[:, 9:12].std(0, unbiased=False)
    torch.testing.assert_close(found / found[0], std[9:12] / std[9], atol=1e-4, rtol=0)
    assert float(found.square().mean().sqrt()) == pytest.approx(2.0, rel=1e-3)


def test_what_never_varies_cannot_be_generated():
    z, std = standardised(cubic=True)
    basis = fitted(z, std)
    coordinates = basis(z)
    assert int((coordinates.abs().amax(0) > 0).sum()) == 9 + 3 + 2
    noise = torch.randn(50, basis.dim, generator=torch.Generator().manual_seed(1))
    a, b, c, *angles = basis.inverse(noise)[:, 13:].t()
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
    torch.testing.assert_close(a, c, atol=1e-5, rtol=0)
    assert a.std() > 0.5
    assert max(float(angle.abs().max()) for angle in angles) < 1e-5


def test_a_basis_comes_from_a_configuration():
    assert isinstance(build_basis(WIDTHS, None), Entries)
    # The settings of the other kind may stay in a configuration that is overridden.
    assert isinstance(build_basis(WIDTHS, {"kind": "entries", "components": 4}), Entries)
    assert build_basis(WIDTHS, {"kind": "principal", "components": 4}).parts == (4, 3, 7)
    for bad, message in (
        ({"kind": "magic"}, "unknown basis 'magic'"),
        ({"kind": "principal", "colour": 1}, "bad settings of the basis 'principal'"),
        ({"kind": "principal", "components": 0}, "a basis needs components"),
    ):
        with pytest.raises(ValueError, match=message):
            build_basis(WIDTHS, bad)
