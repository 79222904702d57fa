"""Finding and composing the Hydra configuration."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_OVER_TRAIN = "over_train"  # name of the configuration that settings make


def config_folder() -> Path:
    """Return the folder of the YAML files, in a wheel or in a source tree.

    Raises:
        FileNotFoundError: If the installation lacks them.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "train.yaml").is_file():
            return folder
    raise FileNotFoundError("the YAML files of pyg_crysdiff are missing; install it again")


def compose_config(
    overrides: Sequence[str] = (), settings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Compose ``train.yaml`` with settings and Hydra overrides into plain containers.

    Args:
        overrides: As on the command line, e.g. ``["data=carbon24", "seed=1"]``. A folder of
            your own YAML files is added by ``hydra.searchpath=[file:///path/to/configs]``. Names
            of columns and paths may hold any sign
            (:func:`pyg_crysdiff.overrides.literal_override`).
        settings: Nested mapping that is merged over ``train.yaml``, e.g.
            ``{"optimizer": {"lr": 1e-3}}``. Overrides come last and win.

    Raises:
        ValueError: If a key or a choice does not exist, or a required value is missing.
    """
    # Sampling takes classes from this module, and needs none of this.
    from hydra import compose, initialize_config_dir  # noqa: PLC0415
    from hydra.core.global_hydra import GlobalHydra  # noqa: PLC0415
    from hydra.errors import HydraException, OverrideParseException  # noqa: PLC0415
    from omegaconf import OmegaConf  # noqa: PLC0415
    from omegaconf.errors import OmegaConfBaseException  # noqa: PLC0415

    from pyg_crysdiff.overrides import literal_override  # noqa: PLC0415

    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            words = [literal_override(text) for text in overrides]
            config = compose(_primary(settings, words) if settings else "train", overrides=words)
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OverrideParseException as error:
        key, reason = error.override.partition("=")[0], str(error).splitlines()[0]
        raise ValueError(
            f"bad configuration: {error.override!r} is no KEY=VALUE ({reason}); text with special "
            f"signs stands in quotes, within those of the shell: \"{key}='...'\""
        ) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(f"bad configuration: {' '.join(str(error).split())}") from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _primary(settings: Mapping[str, Any], overrides: Sequence[str]) -> str:
    """Put settings over ``train.yaml`` as a configuration of its own, and return its name.

    Raises:
        ConfigKeyError: If the configuration has no such key.
    """
    from hydra import compose  # noqa: PLC0415
    from hydra.core.config_store import ConfigStore  # noqa: PLC0415
    from omegaconf import OmegaConf  # noqa: PLC0415

    groups = {folder.name for folder in config_folder().iterdir() if folder.is_dir()}
    keys = [text.partition("=")[0].lstrip("+") for text in overrides]
    choices = [
        text
        for key, text in zip(keys, overrides, strict=True)
        if key in groups or key.startswith("hydra.")
    ]
    base = compose("train", overrides=choices)
    OmegaConf.set_struct(base, True)
    OmegaConf.merge(base, settings)  # refuses keys that are not there, which composing does not
    node = {"defaults": ["train", "_self_"], **settings}
    ConfigStore.instance().store(name=_OVER_TRAIN, node=node)
    return _OVER_TRAIN


def load_table(name: str) -> dict[str, Any]:
    """Return one of the YAML files beside ``train.yaml`` as plain containers."""
    from omegaconf import OmegaConf  # noqa: PLC0415

    plain = OmegaConf.to_container(OmegaConf.load(config_folder() / name), resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def resolve_class(target: str, base: type[T], trusted: Sequence[str]) -> type[T]:
    """Find the class that a configuration names, without importing what is not trusted.

    A configuration or checkpoint from elsewhere may name any class; importing its module runs
    code. Only packages in ``trusted`` are imported, and only subclasses of ``base`` accepted.

    Args:
        target: Dotted path of the class.
        base: What it must derive from.
        trusted: Top-level packages whose modules may be imported.

    Raises:
        ValueError: If the package is not trusted, or there is no such class.
    """
    module, _, name = target.rpartition(".")
    package = target.split(".", maxsplit=1)[0]
    kind = base.__name__
    if package not in trusted:
        raise ValueError(
            f"{kind} {target!r} is from the package {package!r}, which is not trusted; if "
            f"it is yours, pass trusted=({package!r},) or --trust {package}"
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"cannot find the {kind} {target!r}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"{target!r} is not a subclass of {base.__module__}.{kind}")
    return found
