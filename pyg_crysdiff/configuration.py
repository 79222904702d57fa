"""Finding and composing the Hydra configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException


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


def compose_config(overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Compose ``train.yaml`` with Hydra overrides into plain containers.

    Args:
        overrides: As on the command line, e.g. ``["data=carbon24", "seed=1"]``. A folder of
            your own YAML files is added by ``hydra.searchpath=[file:///path/to/configs]``.

    Raises:
        ValueError: If a key or a choice does not exist, or a required value is missing.
    """
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            config = compose("train", overrides=list(overrides))
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(f"bad configuration: {error}") from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def load_table(name: str) -> dict[str, Any]:
    """Return one of the YAML files beside ``train.yaml`` as plain containers."""
    plain = OmegaConf.to_container(OmegaConf.load(config_folder() / name), resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
