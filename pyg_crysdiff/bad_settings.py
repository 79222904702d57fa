"""What is wrong with settings, in words: keys that nothing reads, choices that there are not.

Hydra takes any key that is added with ``+``, and tells the user to write that plus. Here a key is
good where the YAML files of the package have it for the family of models that is trained. Sections
that a class or function takes whole, and checks, may hold more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

_CHECKED_LATER = ("conditioner", "data", "focus")
_WHERE = "crysdiff train --help names the file with all settings"
_GROUP_NAMES = {"data": "data set"}
_OWN_DATA = "a CSV with a CIF column, or a folder of structure files"


def refuse_unknown(config: Mapping[str, Any], folder: Path) -> None:
    """Refuse a composed configuration with a key that nothing reads.

    Args:
        config: Plain containers.
        folder: Folder of the YAML files.

    Raises:
        ValueError: With the first such key, and one that may be meant.
    """
    families = _families(folder)
    model = config.get("model")
    if model in families:  # else there is no such model, which is said where it is built
        name = next(_strangers(config, families[model]), None)
        if name is not None:
            raise ValueError(no_such_setting(name, model, folder))


def explain(error: Exception, overrides: Sequence[str], folder: Path) -> str:
    """Say in one line what Hydra or OmegaConf found wrong.

    Args:
        error: What they raised.
        overrides: Overrides of the configuration.
        folder: Folder of the YAML files; Hydra is set up to compose from it.
    """
    from hydra.errors import MissingConfigException, OverrideParseException  # noqa: PLC0415
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError  # noqa: PLC0415

    if isinstance(error, OverrideParseException):
        key, reason = error.override.partition("=")[0], str(error).splitlines()[0]
        return (
            f"bad configuration: {error.override!r} is no KEY=VALUE ({reason}); text with special "
            f"signs stands in quotes, within those of the shell: \"{key}='...'\""
        )
    if isinstance(error, MissingConfigException) and error.options:
        return _no_such_choice(str(error.missing_cfg_file), error.options)
    chosen = choices_in(overrides, folder)
    composed = _composed(chosen)
    model = str((composed or {}).get("model", "joint"))
    for one in (error, error.__cause__):
        if isinstance(one, ConfigKeyError | ConfigAttributeError) and one.full_key:
            return no_such_setting(str(one.full_key), model, folder, composed)
    # Where the choices are good, it is one of the values, and else one of the choices.
    suspects = chosen if composed is None else [word for word in overrides if word not in chosen]
    there = composed or {**_families(folder)[model], "family": None}
    for name in _plain_keys(suspects):
        if not _has(there, name):
            return no_such_setting(name, model, folder, composed)
    return f"bad configuration: {' '.join(str(error).split()) or error.__cause__}"


def refuse_deletions(overrides: Sequence[str]) -> None:
    """Refuse Hydra's ``~KEY``: every setting is read, so that none can be taken away.

    Args:
        overrides: As on the command line.

    Raises:
        ValueError: If one takes a setting away.
    """
    for text in overrides:
        if text.lstrip().startswith("~"):
            name = text.strip().lstrip("~").partition("=")[0]
            raise ValueError(
                f"{text.strip()} would take a setting away, and all of them are needed; leave it "
                f"out for the default, or give a value: {name}=VALUE ({name}=null where none is "
                "meant)"
            )


def needs_value(name: str) -> str:
    """Say that a setting has no value and must get one.

    Args:
        name: Dotted name of the setting.
    """
    if name == "data.name":
        return f"data=own needs data.name=FILE_OR_FOLDER: {_OWN_DATA}"
    return f"{name} has no value; give it one, as {name}=VALUE"


def no_such_setting(
    name: str, model: str, folder: Path, chosen: Mapping[str, Any] | None = None
) -> str:
    """Say that there is no setting of a name, and which may be meant.

    Args:
        name: Dotted name.
        model: Family of models that is trained.
        folder: Folder of the YAML files.
        chosen: Settings of the files that are chosen, where that is known.
    """
    families = _families(folder)
    section, _, rest = name.partition(".")
    near = _near(name, (chosen if section in _CHECKED_LATER else None) or families.get(model, {}))
    if section in _CHECKED_LATER and rest:
        more = f"what its class takes besides is set by ++{name}=VALUE"
        return f"the YAML file of {section} has no {name!r}; {near}{more}. {_WHERE}"
    others = [family for family in families if _has(families[family], name)]
    if others and model not in others:
        return f"there is no setting {name!r} with family={model}; it is one of family={others[0]}"
    return f"there is no setting {name!r}; {near}{_WHERE}"


def _no_such_choice(file: str, options: Sequence[str]) -> str:
    group, _, name = file.rpartition("/")
    own = f"; your own: data=own data.name=FILE_OR_FOLDER, {_OWN_DATA}" if group == "data" else ""
    return f"no {_GROUP_NAMES.get(group, group)} {name!r}; known are {', '.join(options)}{own}"


def _near(name: str, known: Mapping[str, Any]) -> str:
    """Ask whether a setting of a like name is meant, or tell those beside it."""
    above, _, last = name.rpartition(".")
    names = {leaf: leaf.rpartition(".")[2] for leaf in _leaves(known)}
    inside = [leaf for leaf in names if leaf.rpartition(".")[0] == above] if above else list(names)
    found = [leaf for leaf in inside if names[leaf] == last]
    found = found or get_close_matches(name, inside, n=1)
    if above:
        found = get_close_matches(last, [names[leaf] for leaf in inside], n=1)
        found = [f"{above}.{end}" for end in found]
    if found:
        return f"do you mean {' or '.join(found[:3])}? "
    return f"{above} has {', '.join(names[leaf] for leaf in inside)}; " if above and inside else ""


def _strangers(
    config: Mapping[str, Any], known: Mapping[str, Any], above: str = ""
) -> Iterator[str]:
    """Yield the dotted names of keys that are not known; below null anything may stand."""
    for key, value in config.items():
        name = f"{above}{key}"
        if key not in known:
            yield name
        elif name not in _CHECKED_LATER and isinstance(value, Mapping) and known[key] is not None:
            inner = known[key] if isinstance(known[key], Mapping) else {}
            yield from _strangers(value, inner, f"{name}.")


def _leaves(table: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield the dotted names of all settings that are no tables."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"


def _has(table: Mapping[str, Any], name: str) -> bool:
    for key in name.split("."):
        if not isinstance(table, Mapping) or key not in table:
            return False
        table = table[key]
    return True


def _plain_keys(overrides: Sequence[str]) -> Iterator[str]:
    """Yield the names in overrides that neither add nor belong to Hydra itself."""
    for text in overrides:
        name = text.partition("=")[0].strip().lstrip("~")
        if not name.startswith(("+", "hydra.")):
            yield name


def choices_in(overrides: Sequence[str], folder: Path) -> list[str]:
    """Return the overrides that choose files or where these lie, and set no value."""
    groups = {path.name for path in folder.iterdir() if path.is_dir()}
    keys = [text.partition("=")[0].lstrip("+") for text in overrides]
    return [
        text
        for key, text in zip(keys, overrides, strict=True)
        if key in groups or key.startswith("hydra.")
    ]


def _composed(choices: Sequence[str]) -> dict[str, Any] | None:
    """Compose the files that are chosen; None where that is what fails."""
    from hydra import compose  # noqa: PLC0415
    from hydra.errors import HydraException  # noqa: PLC0415

    try:
        return _plain(compose("train", overrides=list(choices)))
    except HydraException:
        return None


@cache
def _families(folder: Path) -> dict[str, dict[str, Any]]:
    """Return all settings of every family of models: those of all files that can be chosen.

    The files are read without Hydra, which takes several times as long.
    """
    first = _read(folder / "train.yaml", folder)
    out: dict[str, dict[str, Any]] = {}
    for file in sorted((folder / "family").glob("*.yaml")):
        found = _read(file, folder)
        name = found["model"]
        out[name] = _union(_union(first, found), out.get(name))
    return out


@cache
def _read(file: Path, folder: Path) -> dict[str, Any]:
    """Return the settings of a file and of those that it is built on."""
    from omegaconf import OmegaConf  # noqa: PLC0415

    table: dict[str, Any] = _plain(OmegaConf.load(file))
    for entry in table.pop("defaults", []):
        if isinstance(entry, str) and entry != "_self_":  # a file beside it
            table = _union(table, _read(file.with_name(f"{entry}.yaml"), folder))
        elif isinstance(entry, dict):  # any file of a group
            group = next(iter(entry)).split()[-1].strip("/")
            if group != "family":  # its files stand at the top, and are read for themselves
                for choice in sorted((folder / group).glob("*.yaml")):
                    table = _union(table, {group: _read(choice, folder)})
    return table


def _plain(config: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf  # noqa: PLC0415

    plain = OmegaConf.to_container(config)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _union(a: Any, b: Any) -> Any:
    """Return a table with the keys of both; a table is more than a value, a value than null."""
    if isinstance(a, dict) and isinstance(b, dict):
        return {key: _union(a.get(key), b.get(key)) for key in {**a, **b}}
    tables = [part for part in (a, b) if isinstance(part, dict)]
    return tables[0] if tables else (b if a is None else a)
