"""Names and paths in overrides, to the letter."""

import re
from pathlib import Path

import pytest

from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.configuration import compose_config
from pyg_crysdiff.models.build import PACKAGE, _conditioner

OWN = ["data=own", "data.name=my.csv"]
STRANGE = [
    "E form (eV/atom)", "log10(K_VRH)", "gap^2", "Δμ", "a=b", "~tilde", "x:y", "Young's modulus",
    'the "q"', "50% $x", "K${T}", "001", "1e3", "true", "null_", "str(x)", "range(3)", "{a}", "#1",
    "a;b&c", "back\\slash", "f(a,b)", "E [eV]", "interval [0, 1]", "trailing\\", "a  b", "*?|!",
]  # fmt: skip
PATHS = [*STRANGE, "a,b", "[list].csv", "~/x (1).csv", "with space.csv"]


def test_names_in_a_list_come_through_as_they_are_typed():
    found = compose_config([*OWN, f"data.properties=[{', '.join(STRANGE)}]", "properties=[a (b)]"])
    assert found["data"]["properties"] == STRANGE
    assert found["properties"] == ["a (b)"]


@pytest.mark.parametrize("first", range(0, len(PATHS), 4))
def test_paths_come_through_as_they_are_typed(first):
    keys = ("data.name", "data.root", "data.properties", "++init")
    given = dict(zip(keys, PATHS[first : first + 4], strict=False))
    found = compose_config([*OWN, *(f"{key}={value}" for key, value in given.items())])
    for key, value in given.items():
        assert (found["init"] if "init" in key else found["data"][key[5:]]) == value


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("[a, b]", ["a", "b"]),
        ("['a, b', \"c\"]", ["a, b", "c"]),
        (r"['it\'s', 'x']", ["it's", "x"]),
        (r"[a\,b]", ["a\\", "b"]),
        ("[]", []),
        ("null", None),
        (r"a\(1\)", "a(1)"),
    ],
)
def test_what_hydra_means_by_lists_quotes_and_nothing_stays(value, wanted):
    assert compose_config([*OWN, f"data.properties={value}"])["data"]["properties"] == wanted


def test_what_hydra_finds_in_the_environment_stays(monkeypatch):
    monkeypatch.setenv("MY_DATA", "/somewhere/data")
    found = compose_config([*OWN, "data.name=${oc.env:MY_DATA}/a (1).csv"])
    assert found["data"]["name"] == "/somewhere/data/a (1).csv"


@pytest.mark.parametrize(
    "override", ["optimizer.lr=1e-3)", "focus={end: lowest, property: E (eV)}", "seed"]
)
def test_what_cannot_be_read_says_how_to_quote(override):
    with pytest.raises(ValueError, match="quotes") as error:
        compose_config([override])
    assert override.partition("=")[0] in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("budget=2", "no setting 'budget'; do you mean budget_minutes? crysdiff train --help"),
        ("+budget=2", "no setting 'budget'; do you mean budget_minutes? crysdiff train --help"),
        ("++optimizer.lrr=1", "no setting 'optimizer.lrr'; do you mean optimizer.lr?"),
        ("lr=1", "no setting 'lr'; do you mean optimizer.lr?"),
        ("+denoiser.colour=1", "no setting 'denoiser.colour'; denoiser has dim, num_blocks, "),
        ("+process.lattice.colour=1", "no setting 'process.lattice.colour'"),
        ("optimizer={colour:1}", "no setting 'optimizer.colour'; optimizer has lr, "),
        ("+device.colour=1", "no setting 'device.colour'"),
        ("mlp.dim=3", "with family=joint; it is one of family=structrepdiff"),
        ("descriptor=compact", "with family=joint; it is one of family=structrepdiff"),
        ("~colour", "no setting 'colour'"),
        ("data.schem=official", "has no 'data.schem'; "),
        ("data=own", "data=own needs data.name=FILE_OR_FOLDER: a CSV with a CIF column, or"),
        ("conditioner=cdx", "no conditioner 'cdx'; known are adacdi, adacds, adaln, cdi, cds"),
        ("family=x", "no family 'x'; known are csp, joint, "),
        ("data=my.csv", "no data set 'my.csv'; known are carbon24, demo, "),
    ],
)
def test_what_there_is_not_is_told_with_what_there_is(override, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        compose_config([override])
    said = str(error.value)
    assert "\n" not in said
    assert "append to your config" not in said
    assert "search path" not in said


def test_choices_of_other_families_and_of_ones_own_folder(tmp_path):
    with pytest.raises(ValueError, match="no descriptor 'x'; known are compact, graded, paper"):
        compose_config(["family=structrepdiff", "descriptor=x"])
    (tmp_path / "conditioner").mkdir()
    text = "_target_: mine.Mine\nwidth: 3\ndepth: ???\n"
    (tmp_path / "conditioner" / "mine.yaml").write_text(text)
    own = [f"hydra.searchpath=[file://{tmp_path}]", "conditioner=mine"]
    with pytest.raises(ValueError, match=r"^conditioner\.depth has no value"):
        compose_config(own)
    found = compose_config([*own, "conditioner.depth=1", "+conditioner.more=2"])["conditioner"]
    assert found == {"_target_": "mine.Mine", "width": 3, "depth": 1, "more": 2}
    (tmp_path / "conditioner" / "mine.yaml").write_text("# @package _global_\ncolour: red\n")
    with pytest.raises(ValueError, match=r"no setting 'colour'"):
        compose_config(own)


def test_what_classes_take_is_left_to_them():
    found = compose_config(["++data.fractions=[1,0,0]", "+focus.end=lowest", "+conditioner.x=1"])
    assert found["data"]["fractions"] == [1, 0, 0]
    assert found["conditioner"]["x"] == 1
    with pytest.raises(ValueError, match=r"conditioner CDS: .*unexpected keyword argument 'x'"):
        resolved(found)


def resolved(config):
    """Build the conditioner of a configuration."""
    return _conditioner(config, (PACKAGE,))(dim=4, num_heads=1, head_dim=4, num_blocks=1)


def test_errors_of_the_configuration_are_one_line():
    with pytest.raises(ValueError, match="nowhere") as error:
        compose_config(["data=nowhere"])
    assert "\n" not in str(error.value)


def test_benchmarks_of_data_of_any_name(tmp_path):
    path = tmp_path / "my ${set} (1), Δ.csv"
    settings = Settings.resolve(str(path), out=Path("x"), properties=("E ${x} (eV/atom)", "a,b"))
    assert settings.data_options() == {"properties": ["E ${x} (eV/atom)", "a,b"]}
    assert settings.training_config("cds")["properties"] == ["E ${x} (eV/atom)"]


def test_settings_lie_between_the_defaults_and_the_overrides():
    settings = {"optimizer": {"lr": 0.5, "warmup_steps": 7}, "focus": {"end": "lowest"}}
    found = compose_config(["optimizer.lr=0.25", "focus.end=highest", "family=csp"], settings)
    by_words = compose_config(
        ["optimizer.warmup_steps=7", "optimizer.lr=0.25", "focus={end: highest}", "family=csp"]
    )
    assert found == by_words
    assert compose_config()["optimizer"]["warmup_steps"] == 100  # nothing is left of them
    for wrong in ({"colour": "red"}, {"optimizer": {"colour": "red"}}):
        with pytest.raises(ValueError, match="colour"):
            compose_config([], wrong)


@pytest.mark.parametrize("name", ["seed", "optimizer", "denoiser.dim"])
def test_no_setting_can_be_taken_away(name):
    with pytest.raises(ValueError, match=rf"{name}=VALUE.*{name}=null"):
        compose_config(["data=demo", f"~{name}"])
