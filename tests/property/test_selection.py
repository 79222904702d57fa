import numpy as np
import pytest
import torch

from pyg_crysdiff.data import BrokenEntry, Crystal
from pyg_crysdiff.property import cdvae
from pyg_crysdiff.property.model import EvaluatorConfig, PeriodicDimeNet, PropertyModel
from pyg_crysdiff.property.selection import Choice, choose, select

SALT = ([[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17])
ARGON = ([[0, 0, 0], [0.5, 0.5, 0.5]], [11, 18])  # no compound


class Lengths:
    """Predicts the length of the first lattice vector; NaN for what cannot be read."""

    def predict(self, crystals, *, progress=False):
        del progress
        return np.array(
            [c.lattice[0, 0] if isinstance(c, Crystal) else np.nan for c in crystals], dtype=float
        )


def cubes(*lengths, content=SALT):
    return [Crystal(a * np.eye(3), *content) for a in lengths]


def test_nearest_valid_ones_come_first():
    entries = [
        *cubes(4.5, 3.9), BrokenEntry(2, "x"), *cubes(4.0, content=ARGON), *cubes(3.5),
    ]  # fmt: skip
    assert select(entries, 2, Lengths(), 4.0, copies=0) == [1, 0]
    assert select(entries, 9, Lengths(), 4.0, copies=0) == [1, 0, 4]  # ties in their order


def test_none_is_chosen_more_often_than_asked_for():
    # volumes are scaled: all cubes of rock salt's composition are one structure
    other = [[0, 0, 0], [0.5, 0.0, 0.0]]
    entries = [*cubes(4.2, 4.1, 4.3), *cubes(5.0, content=(other, [11, 17]))]
    assert select(entries, 4, Lengths(), 4.0) == [1, 3]
    assert select(entries, 4, Lengths(), 4.0, copies=0) == [1, 0, 2, 3]
    assert select(entries, 4, Lengths(), 4.0, copies=2) == [1, 0, 3]


def test_what_was_left_out_is_counted():
    other = ([[0, 0, 0], [0.5, 0.5, 0.5]], [19, 17])
    entries = [
        *cubes(4.2, 4.1, 4.3), BrokenEntry(3, "x"), *cubes(4.0, content=ARGON),
        *cubes(4.4, content=other),
    ]  # fmt: skip
    found = choose(entries, 9, Lengths(), 4.0, known=cubes(7.0, content=other))
    assert found == Choice([1], invalid=2, copies=2, known=1)
    assert found.left_out() == "2 invalid, 2 copies, 1 known"
    assert Choice([0]).left_out() == "none left out"


def test_none_is_known():
    entries = [*cubes(4.0), *cubes(4.4, content=([[0, 0, 0], [0.5, 0.5, 0.5]], [19, 17]))]
    assert select(entries, 2, Lengths(), 4.0, known=cubes(7.0)) == [1]
    assert select(entries, 2, Lengths(), 4.0, known=cubes(7.0), copies=0) == [1]


@pytest.mark.parametrize(("count", "target"), [(0, 1.0), (1, np.nan)])
def test_bad_requests(count, target):
    with pytest.raises(ValueError, match=r"positive|finite"):
        select(cubes(4.0), count, Lengths(), target)
    with pytest.raises(ValueError, match="copies"):
        select(cubes(4.0), 1, Lengths(), 1.0, copies=-1)


def test_a_predictor_by_name_or_file(tmp_path, monkeypatch):
    config = EvaluatorConfig(8, 1, 4, 4, 8, 3, 3, 4.0, 6)
    torch.manual_seed(0)
    model = PropertyModel(PeriodicDimeNet(config), config, 0.0, 1.0, {"property": "e"})
    for output in model.network.output_blocks:  # zero at the start: all predictions alike
        torch.nn.init.normal_(output.lin.weight)
    model.save(tmp_path / "mine.safetensors")
    monkeypatch.setattr(cdvae, "FOLDER", tmp_path)
    entries = cubes(4.5, 3.9, 4.2)
    expected = select(entries, 3, model, 4.0, copies=0)
    for predictor in (tmp_path / "mine.safetensors", str(tmp_path / "mine.safetensors"), "mine"):
        assert select(entries, 3, predictor, 4.0, copies=0) == expected
    with pytest.raises(FileNotFoundError, match="nobody"):
        select(entries, 1, "nobody", 4.0)
