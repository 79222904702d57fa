"""CIF: the crystal that the file states, or the reason why it is not read."""

from collections import Counter

import pytest
import spglib
from pymatgen.core import Element, Lattice, Structure
from pymatgen.io.cif import CifWriter

from pyg_crysdiff.data.formats.cif import cif_crystal
from pyg_crysdiff.data.parsing import parse_text

SALT = ["Na1 Na 0 0 0", "Cl1 Cl .5 .5 .5"]


def cif(sites=SALT, cell=(4, 4, 4, 90, 90, 90), more="", columns=()):
    lines = ["data_x"]
    for tag, value in zip(("a", "b", "c"), cell[:3], strict=True):
        lines.append(f"_cell_length_{tag} {value}")
    for tag, value in zip(("alpha", "beta", "gamma"), cell[3:], strict=True):
        lines.append(f"_cell_angle_{tag} {value}")
    lines += [more, "loop_", "_atom_site_label", "_atom_site_type_symbol"]
    lines += [f"_atom_site_fract_{axis}" for axis in "xyz"]
    return "\n".join([*lines, *columns, *sites]) + "\n"


def formula(text):
    numbers = cif_crystal(text).atomic_numbers
    return dict(Counter(Element.from_Z(int(z)).symbol for z in numbers))


def group(symbol):
    return f"_symmetry_space_group_name_H-M '{symbol}'"


@pytest.mark.parametrize(
    ("symbol", "cell", "site", "count"),
    [
        ("R -3 m :H", (4.5, 4.5, 11.9, 90, 90, 120), "Bi1 Bi 0 0 .2336", 6),
        ("R -3 m H", (4.5, 4.5, 11.9, 90, 90, 120), "Bi1 Bi 0 0 .2336", 6),
        ("R -3 m", (4.5, 4.5, 11.9, 90, 90, 120), "Bi1 Bi 0 0 .2336", 6),
        ("R -3 m", (4.7, 4.7, 4.7, 57, 57, 57), "Bi1 Bi .23 .23 .23", 2),
        ("R -3 c (rhombohedral axes)", (5, 5, 5, 55, 55, 55), "Al1 Al .35 .35 .35", 4),
        ("F d -3 m :1", (5.4, 5.4, 5.4, 90, 90, 90), "Si1 Si 0 0 0", 8),
        ("F d -3 m Z", (5.4, 5.4, 5.4, 90, 90, 90), "Si1 Si .125 .125 .125", 8),
        ("P n n n :2", (4, 5, 6, 90, 90, 90), "Si1 Si .25 .25 .25", 2),
        ("F m 3 m", (4, 4, 4, 90, 90, 90), "Cu1 Cu 0 0 0", 4),
        ("P 21/n", (4, 5, 6, 90, 100, 90), "C1 C .1 .2 .3", 4),
        ("P b n m", (4, 5, 6, 90, 90, 90), "C1 C .1 .2 .3", 8),
        ("C m c a", (4, 5, 6, 90, 90, 90), "C1 C .1 .2 .3", 16),
        ("C m c e", (4, 5, 6, 90, 90, 90), "C1 C .1 .2 .3", 16),
        ("C c c a :2", (4, 5, 6, 90, 90, 90), "C1 C 0 .25 .25", 4),
        ("P 21/b", (4, 5, 6, 90, 90, 100), "C1 C .1 .2 .3", 4),
        ("P 21/c", (4, 5, 6, 100, 90, 90), "C1 C .1 .2 .3", 4),
        ("P 1 21/c 1 :b1", (4, 5, 6, 90, 100, 90), "C1 C .1 .2 .3", 4),
        ("P 2_1/n 2_1/m 2_1/a", (4, 5, 6, 90, 90, 90), "C1 C .1 .25 .3", 4),
        ("F 4/m -3 2/m", (4, 4, 4, 90, 90, 90), "Cu1 Cu 0 0 0", 4),
        ("P 63/m 2/m 2/c", (4, 4, 6, 90, 90, 120), "C1 C .33333 .66667 .25", 2),
        ("H -3 m", (4.5, 4.5, 11.9, 90, 90, 120), "Bi1 Bi 0 0 .2336", 6),
        ("P 4/n 21/m 2/m :2", (4, 4, 6, 90, 90, 90), "C1 C .25 .75 0", 2),
        ("Bmab", (5.3, 5.4, 13.1, 90, 90, 90), "La1 La 0 0 .36", 8),
        ("F -1", (4, 5, 6, 80, 85, 95), "C1 C .1 .2 .3", 8),
    ],
)
def test_a_symbol_without_operations_is_read_in_its_setting(symbol, cell, site, count):
    assert len(cif_crystal(cif([site], cell, group(symbol)))) == count


@pytest.mark.parametrize("hall_number", range(1, 531, 9))
def test_every_setting_gives_its_general_position(hall_number):
    kind = spglib.get_spacegroup_type(hall_number)
    cell = (5, 6, 7, 81, 83, 86)
    if kind.number > 2:
        angles = {"a": (98, 90, 90), "b": (90, 98, 90), "c": (90, 90, 98)}
        cell = (5, 6, 7, *angles.get(kind.choice.strip("-")[:1], (90, 90, 90)))
    if kind.number > 15:
        cell = (5, 6, 7, 90, 90, 90)
    if kind.number > 74:
        cell = (5, 5, 7, 90, 90, 90)
    if 142 < kind.number < 195:
        cell = (6, 6, 6, 75, 75, 75) if kind.choice == "R" else (5, 5, 7, 90, 90, 120)
    if kind.number > 194:
        cell = (8, 8, 8, 90, 90, 90)
    known = spglib.get_symmetry_from_database(hall_number)
    rotations, shifts = known["rotations"], known["translations"]
    texts = []
    for r, t in zip(rotations, shifts, strict=True):
        rows = [
            "".join(f"{int(v):+d}{s}" for v, s in zip(row, "xyz", strict=True) if v) for row in r
        ]
        rows = [row.replace("1", "") for row in rows]
        texts.append(",".join(f"{row}+{round(24 * s)}/24" for row, s in zip(rows, t, strict=True)))
    listed = "loop_\n_space_group_symop_operation_xyz\n" + "\n".join(texts)
    by_list = cif_crystal(cif(["C1 C .11 .23 .37"], cell, listed))
    by_hall = cif_crystal(
        cif(["C1 C .11 .23 .37"], cell, f'_space_group_name_Hall "{kind.hall_symbol}"')
    )
    assert len(by_list) == len(by_hall) == len(rotations)
    sets = [{tuple(place) for place in c.frac_coords.round(6) % 1} for c in (by_list, by_hall)]
    assert len(sets[0]) == len(rotations)
    assert sets[0] == sets[1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (cif(more=group("F d -3 m")), "origin"),
        (cif(more=group("C c c a"), cell=(4, 5, 6, 90, 90, 90)), "origin"),
        (cif(more=group("Q 7 q")), "Q 7 q"),
        (cif(more=group("R -3 m :Rubbish")), "in no table"),
        (cif(more=group("F d -3 m :12")), "in no table"),
        (cif(more=group("P 21/c 2/m")), "in no table"),
        (cif(more=group("P 4/m m m"), cell=(4, 5, 6, 90, 90, 90)), "cell does not fit"),
        (cif(more="_space_group_IT_number 300"), "number of a space group"),
        (cif(more="loop_\n_symmetry_equiv_pos_as_xyz\nx,y"), "cannot be read"),
        (cif(more="loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-x,-y,z\nx,-y,-z"), "not whole"),
        (
            cif(more="loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\ny,x,z", cell=(4, 5, 6, 90, 90, 90)),
            "does not fit",
        ),
        (
            cif(
                ["Na1 Na .1 .2 .3"],
                more=group("P m -3 m") + "\nloop_\n_symmetry_equiv_pos_as_xyz\nx,y,z",
            ),
            "not all atoms",
        ),
        (cif(more=group("P 1") + "\n_chemical_formula_sum 'Na2 Cl'"), "states the formula"),
        (cif(more=group("P 1") + "\n_chemical_formula_sum 'Na Cl H2'"), "states the formula"),
        (
            cif(more=group("P 1") + "\n_chemical_formula_sum 'Na Cl'\n_cell_formula_units_Z 4"),
            "8 atoms in the cell",
        ),
        (cif([*SALT, "Cl2 Cl 0.5 .5 1.5"], more=group("P 1")), "Cl1 and Cl2 overlap"),
        (cif(["Na1 Na 0 0 ."]), "'.', not a number"),
        (cif(["Na1 Na 0 0 nan"]), "not a number"),
        (cif(["Na1 Na 0 0"]), "not whole"),
        (cif(["Na1 Na 0 0 0 1"]), "not whole"),
        (cif(["Wat Wat 0 0 0"]), "'Wat' is no element"),
        (cif(["OH1 . 0 0 0"]), "no element for certain"),
        (cif(["CO1 . 0 0 0"]), "no element for certain"),
        (cif([]), "no atoms"),
        (cif().replace("_cell_angle_beta 90\n", ""), "_cell_angle_beta"),
        (cif(cell=(4, 4, 4, 90, 90, 180)), "span no cell"),
        (cif(cell=(4, 4, -4, 90, 90, 90)), "not above zero"),
        (cif(cell=(4, 4, "1e-5", 90, 90, 90)), "flat"),
        (cif() + cif(), "2 structures"),
        (cif() + "loop_\n_atom_site_label\n_atom_site_fract_x\nK1 0\n", "stands twice"),
        ("# nothing\n", "no data_ line"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_contradicts_itself_is_refused_with_the_reason(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_text(text, "cif")


@pytest.mark.parametrize(
    ("tag", "value", "reason"),
    [
        ("_atom_site_occupancy", "0.5", "occupancy of site Na1 is 0.5"),
        ("_atom_site_occupancy", "0", "occupancy"),
        ("_atom_site_attached_hydrogens", "2", "implicit hydrogens"),
        ("_atom_site_occupancy", ".", None),
        ("_atom_site_occupancy", "?", None),
        ("_atom_site_occupancy", "1.000(2)", None),
        ("_atom_site_attached_hydrogens", "0", None),
        ("_atom_site_attached_hydrogens", ".", None),
    ],
)
def test_occupancies_and_hydrogens(tag, value, reason):
    text = cif([f"{site} {value}" for site in SALT], more=group("P 1"), columns=[tag])
    if reason is None:
        assert formula(text) == {"Na": 1, "Cl": 1}
    else:
        with pytest.raises(ValueError, match=reason):
            cif_crystal(text)


@pytest.mark.parametrize(
    ("columns", "values", "reason"),
    [
        (["_atom_site_calc_flag"], ["d", "dum"], "site Cl1 is a dummy"),
        (["_atom_site_calc_flag"], ["Dum", "calc"], "site Na1 is a dummy"),
        (["_atom_site_disorder_group"], ["1", "2"], "disordered.*groups 1 and 2"),
        (["_atom_site_disorder_group"], [".", "-1"], "disordered.*group -1"),
        (["_atom_site_occupancy", "_atom_site_disorder_group"], ["1 1", "1 2"], "disordered"),
        (["_atom_site_calc_flag"], ["calc", "."], None),
        (["_atom_site_disorder_group"], ["1", "."], None),
        (["_atom_site_disorder_group"], ["1", "1"], None),
        (["_atom_site_disorder_assembly", "_atom_site_disorder_group"], ["A 1", "B 2"], None),
    ],
)
def test_sites_that_are_no_atoms_or_only_perhaps(columns, values, reason):
    sites = [f"{site} {value}" for site, value in zip(SALT, values, strict=True)]
    text = cif(sites, more=group("P 1"), columns=columns)
    if reason is None:
        assert formula(text) == {"Na": 1, "Cl": 1}
    else:
        with pytest.raises(ValueError, match=reason):
            cif_crystal(text)


@pytest.mark.parametrize(
    ("site", "found"),
    [
        ("Na1 NA 0 0 0", "Na"), ("D1 D 0 0 0", "H"), ("T1 T 0 0 0", "H"), ("x Fe3+ 0 0 0", "Fe"),
        ("x O2- 0 0 0", "O"), ("x Fe+2 0 0 0", "Fe"), ("CL1 . 0 0 0", "Cl"), ("Ca12 ? 0 0 0", "Ca"),
    ],
)  # fmt: skip
def test_symbols(site, found):
    assert formula(cif([site], more=group("P 1"))) == {found: 1}


def test_the_grammar_of_cif():
    text = cif(more=group("P 1")).replace(
        "data_x\n",
        "data_x\n_publ_title\n;\ndata_inside a text field\nloop_\n;\n"
        "_chemical_name 'a # in quotes' # and a comment\n_note \"it's\"\n",
    )
    assert formula(text) == {"Na": 1, "Cl": 1}
    assert formula(text.upper()) == {"Na": 1, "Cl": 1}
    assert formula(text.replace("_atom_site_", "_atom_site.")) == {"Na": 1, "Cl": 1}
    for end in ("\r", "\r\n"):  # of a text that comes within a JSON file or a table
        assert formula(text.replace("\n", end)) == {"Na": 1, "Cl": 1}


@pytest.mark.parametrize(
    "bad",
    [
        "_publ_author_name Smith, J.",
        "_journal_year 1999\n_journal_year 2000",
        "_exptl_special_details\n_publ_section_title ?",
        "loop_\n_publ_author_name\n_publ_author_footnote\nSmith J.\nLee",
    ],
)
def test_what_makes_no_crystal_may_be_written_badly(bad):
    text = cif(more=f"{bad}\n{group('P 1')}")
    with pytest.warns(UserWarning, match=r"_journal|_publ|_exptl"):
        assert len(cif_crystal(text)) == 2


@pytest.mark.parametrize("bad", ["_symmetry_space_group_name_H-M P 1", "_cell_volume"])
def test_what_makes_the_crystal_may_not(bad):
    with pytest.raises(ValueError, match=r"not quoted|has no value"):
        cif_crystal(cif(more=bad))


def test_the_number_of_atoms_decides_between_two_origins():
    more = group("F d -3 m") + "\n_chemical_formula_sum Si\n_cell_formula_units_Z 8"
    assert len(cif_crystal(cif(["Si1 Si 0 0 0"], (5.4, 5.4, 5.4, 90, 90, 90), more))) == 8


def test_the_multiplicities_of_the_sites_decide_between_two_origins():
    more = group("P 4/n m m") + "\n_chemical_formula_sum Li4\n_cell_formula_units_Z 4"
    sites, cell = ["Li1 Li 0 .5 .31", "Li2 Li 0 .5 .56"], (3, 3, 17, 90, 90, 90)
    with pytest.raises(ValueError, match="two choices of origin"):  # 4 or 16 atoms?
        cif_crystal(cif(sites, cell, more))
    told = cif([f"{s} 2" for s in sites], cell, more, ["_atom_site_symmetry_multiplicity"])
    assert len(cif_crystal(told)) == 4


def test_coordinates_with_few_digits_on_a_special_position_make_one_atom():
    text = cif(["C1 C .333 .667 .25"], (2.5, 2.5, 6.7, 90, 90, 120), group("P 63/m m c"))
    assert len(cif_crystal(text)) == 2


def test_all_atoms_in_p1_with_the_name_of_the_group_are_read_as_listed():
    sites = [f"Cu{i} Cu {x} {y} {z}" for i, (x, y, z) in enumerate(
        [(0, 0, 0), (.5, .5, 0), (.5, 0, .5), (0, .5, .51)])]  # fmt: skip
    more = group("F m -3 m") + "\nloop_\n_symmetry_equiv_pos_as_xyz\n'x, y, z'"
    assert formula(cif(sites, more=more)) == {"Cu": 4}


HALL = "_symmetry_space_group_name_Hall"
NUMBER = "_symmetry_Int_Tables_number"
FCC = [f"Cu{i} Cu {p}" for i, p in enumerate(["0 0 0", ".5 .5 0", ".5 0 .5", "0 .5 .51"])]


@pytest.mark.parametrize(
    ("more", "sites"),
    [
        (f"{NUMBER} 2\n{group('P 1')}", ["C1 C .1 .2 .3", "O1 O .5 .5 .5"]),
        (f"{HALL} '-P 1'\n{group('P 1')}", ["C1 C .1 .2 .3"]),
        (f"{HALL} 'P 1'\n{NUMBER} 2", ["C1 C .1 .2 .3"]),
        (f"{NUMBER} 225\n{group('P 1')}", FCC[:3]),
        (f"{NUMBER} 1\n{group('F m -3 m')}", FCC[:1]),
        (f"{NUMBER} 16\n{group('P 4')}", ["C1 C 0 0 0"]),  # as large as each other
        (f"{HALL} '-P 2ac 2n'\n{group('P b n m')}\n{NUMBER} 62", ["C1 C .1 .2 .3"]),
    ],
)
def test_space_groups_that_contradict_each_other_are_refused(more, sites):
    with pytest.raises(ValueError, match="contradict each other"):
        cif_crystal(cif(sites, more=more))


@pytest.mark.parametrize(
    ("more", "sites", "count"),
    [
        (f"{NUMBER} 225\n{group('P 1')}", FCC, 4),
        (f"{HALL} '-F 4 2 3'\n{group('P 1')}\n{NUMBER} 225", FCC, 4),
        (f"{NUMBER} 2\n{group('P 1')}", ["C1 C .1 .2 .3", "C2 C .9 .8 .7"], 2),
        (f"{NUMBER} 0\n{group('P -1')}", ["C1 C .1 .2 .3"], 2),
        (f"{NUMBER} 2\n{group('P 1')}\nloop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-x,-y,-z",
         ["C1 C .1 .2 .3"], 2),
        (f"{HALL} '-P 2ac 2n'\n{group('P n m a')}\n{NUMBER} 62", ["C1 C .1 .2 .3"], 8),
        (f"{HALL} 'rubbish'\n{group('P -1')}\n{NUMBER} 2", ["C1 C .1 .2 .3"], 2),
    ],
)  # fmt: skip
def test_all_atoms_beside_another_number_and_what_agrees_are_read(more, sites, count):
    assert len(cif_crystal(cif(sites, more=more))) == count


def test_a_primitive_cell_may_name_the_group_of_the_conventional_one():
    text = cif(["Cu1 Cu 0 0 0"], (2.5, 2.5, 2.5, 60, 60, 60), f"{NUMBER} 225\n{group('P 1')}")
    with pytest.warns(UserWarning, match=r"contradict each other.*P 1 was taken"):
        assert len(cif_crystal(text)) == 1


def test_atoms_come_as_listed_where_they_are_counted():
    sites = ["O1 O .5 .5 .1", "O2 O .5 0 .5", "Ti1 Ti .5 .5 .5", "Sr1 Sr 0 0 0"]
    text = cif(sites, more=group("P -1"))
    assert cif_crystal(text).atomic_numbers.tolist() == [38, 22, 8, 8, 8]
    found = cif_crystal(text, as_listed=True)
    assert found.atomic_numbers.tolist() == [8, 8, 8, 22, 38]
    assert found.frac_coords[:, 2] == pytest.approx([0.1, 0.9, 0.5, 0.5, 0])


@pytest.mark.parametrize("symprec", [None, 0.01])
def test_what_pymatgen_writes(symprec):
    wurtzite = Structure.from_spacegroup(
        "P6_3mc",
        Lattice.hexagonal(3.8, 6.2),
        ["Zn", "S"],
        [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.37]],
    )
    oxygen = Structure(Lattice.cubic(3), ["O"], [[0, 0, 0]])  # written with Z = 0
    for structure in (wurtzite, oxygen):
        found = cif_crystal(str(CifWriter(structure, symprec=symprec)))
        assert len(found) == len(structure)
        assert found.volume == pytest.approx(structure.volume, rel=1e-5)
