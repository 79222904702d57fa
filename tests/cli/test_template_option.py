"""Sites of a template: counted in the order of its file, and named as a range that holds some."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyg_crysdiff.cli.sampling_options import add_control, control_of
from pyg_crysdiff.data import Crystal
from pyg_crysdiff.data.writers import save_cdvae, write_extxyz

SITES = ["O1 O .5 .5 0", "O2 O .5 0 .5", "O3 O 0 .5 .5", "Ti1 Ti .5 .5 .5", "Sr1 Sr 0 0 0"]
CIF = "\n".join([
    "data_x", *(f"_cell_length_{a} 4" for a in "abc"),
    *(f"_cell_angle_{a} 90" for a in ("alpha", "beta", "gamma")),
    "_symmetry_space_group_name_H-M 'P 1'", "loop_", "_atom_site_label",
    "_atom_site_type_symbol", *(f"_atom_site_fract_{a}" for a in "xyz"), *SITES, "",
])  # fmt: skip


def template(path: Path, *words: str):
    parser = argparse.ArgumentParser()
    add_control(parser)
    return control_of(parser.parse_args(["--template", str(path), *words])).template


@pytest.mark.parametrize("kind", ["cif", "csv", "folder", "extxyz", "pt"])
def test_sites_are_counted_as_the_file_lists_them(kind, tmp_path):
    path = tmp_path / ("folder" if kind == "folder" else f"a.{kind}")
    numbers = [8, 8, 8, 22, 38]
    coords = [[float(x) for x in site.split()[2:]] for site in SITES]
    crystal = Crystal([[4, 0, 0], [0, 4, 0], [0, 0, 4]], coords, numbers)
    if kind == "cif":
        path.write_text(CIF)
    elif kind == "csv":
        pd.DataFrame({"cif": [CIF, CIF]}).to_csv(path)
    elif kind == "folder":
        path.mkdir()
        (path / "a.cif").write_text(CIF)
    else:
        (write_extxyz if kind == "extxyz" else save_cdvae)([crystal], path)
    found = template(path, "--keep-sites", "0-1,3")
    assert found.crystal.atomic_numbers.tolist() == numbers
    assert found.crystal.atomic_numbers[list(found.kept)].tolist() == [8, 8, 22]
    np.testing.assert_allclose(found.crystal.frac_coords, coords, atol=1e-6)


@pytest.mark.parametrize("given", ["3-1", "2-0", "0,3-1", "", ",", "a", "1-", "0-1-2"])
def test_ranges_that_name_no_site_are_refused(given, tmp_path):
    (tmp_path / "a.cif").write_text(CIF)
    with pytest.raises(ValueError, match=r"--keep-sites must look like 0-3,7 .*got"):
        template(tmp_path / "a.cif", "--keep-sites", given)


def test_a_template_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.cif").write_text(CIF.replace("_cell_length_a 4", "_cell_length_a -4"))
    with pytest.raises(ValueError, match=r"cannot read the template .*a\.cif: .*above zero"):
        template(tmp_path / "a.cif")
