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
        ValueError: If a key or a choice does not exist, with ``+`` as well, or a required value is
            missing. Keys of ``conditioner``, ``data`` and ``focus`` that are added with ``+`` are
            checked where they are used.
    """
    # Sampling takes classes from this module, and needs none of this.
    from hydra import compose, initialize_config_dir  # noqa: PLC0415
    from hydra.core.global_hydra import GlobalHydra  # noqa: PLC0415
    from hydra.errors import HydraException  # noqa: PLC0415
    from omegaconf import OmegaConf  # noqa: PLC0415
    from omegaconf.errors import OmegaConfBaseException  # noqa: PLC0415

    from pyg_crysdiff.bad_settings import (  # noqa: PLC0415
        explain,
        needs_value,
        refuse_deletions,
        refuse_unknown,
    )
    from pyg_crysdiff.overrides import literal_override  # noqa: PLC0415

    GlobalHydra.instance().clear()
    folder = config_folder()
    words = [literal_override(text) for text in overrides]
    with initialize_config_dir(str(folder), version_base="1.3"):
        try:
            config = compose(_primary(settings, words) if settings else "train", overrides=words)
            refuse_deletions(overrides)
            if lacking := sorted(OmegaConf.missing_keys(config)):
                raise ValueError(needs_value(lacking[0]))
            plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise ValueError(explain(error, words, folder)) from error
        assert isinstance(plain, dict)
        found = {str(key): value for key, value in plain.items()}
        refuse_unknown(found, folder)
    return found


def _primary(settings: Mapping[str, Any], overrides: Sequence[str]) -> str:
    """Put settings over ``train.yaml`` as a configuration of its own, and return its name.

    Raises:
        ConfigKeyError: If the configuration has no such key.
    """
    from hydra import compose  # noqa: PLC0415
    from hydra.core.config_store import ConfigStore  # noqa: PLC0415
    from omegaconf import OmegaConf  # noqa: PLC0415

    from pyg_crysdiff.bad_settings import choices_in  # noqa: PLC0415

    base = compose("train", overrides=choices_in(overrides, config_folder()))
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
