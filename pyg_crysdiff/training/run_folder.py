"""The folder of a training: what it is a run of, on which data, and whether it has ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch_geometric.data import Data, InMemoryDataset

from pyg_crysdiff.configuration import compose_config
from pyg_crysdiff.data.properties import property_of
from pyg_crysdiff.data.published import DATASETS
from pyg_crysdiff.storage import (
    check_same,
    digest_of,
    only_writer,
    read_record,
    user_path,
    write_json,
)
from pyg_crysdiff.training.checkpoints import LAST, damage, epochs_done

CONFIG, DATA, FINISHED = "config.json", "data.json", "finished.json"
IN_MEMORY = "in_memory"  # key of a "data" configuration that no file stands behind
_OTHER = "a run of another configuration"
# The length of a run may be changed when it is resumed, and where it runs; nothing else may.
FREE = (
    "max_epochs", "budget_minutes", "keep_every", "device", "precision", "devices", "num_nodes",
    "strategy",
)  # fmt: skip
# Settings that older records lack, and what they were then.
_OLDER = {
    "train_fraction": 1.0, "init": None, "focus": None, "keep_every": None,
    "process.species.reverse": "mixture", "denoiser.centred": False, "process.middle_times": 0,
    "optimizer.name": "adamw", "optimizer.matrix_lr": 2.0,
}  # fmt: skip
_PATHS = ("name", "path", "source")


def is_first() -> bool:
    """Return whether this is the process that looks after the folder, of all that train."""
    return not getattr(rank_zero_only, "rank", 0)


def writing(folder: Path) -> AbstractContextManager[None]:
    """Hold the right to train into a folder (:func:`pyg_crysdiff.storage.only_writer`).

    The first process of a training holds it for all of them.
    """
    return only_writer(folder) if is_first() else nullcontext()


def check_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Check that a folder is empty or holds a run of this configuration; note the configuration.

    The ``data`` of an earlier run stay noted until :func:`check_data` has seen the data themselves.

    Raises:
        ValueError: If the folder holds another run, or one that is longer already; or its record
            is damaged. The record stays as it is then.
    """
    if not is_first():
        return
    path = folder / CONFIG
    if path.is_file():
        if (done := epochs_done(folder)) > config["max_epochs"]:
            raise ValueError(
                f"{folder} has already trained for {done} epochs, more than "
                f"max_epochs={config['max_epochs']}; choose another --out, or a greater length"
            )
        config = {**config, "data": read_record(path).get("data")}
    _check_same_run(path, config)


def _check_same_run(path: Path, config: Mapping[str, Any], free: Sequence[str] = ()) -> None:
    """Compare a configuration with that of a record, which may lack what came later."""
    check_same(path, config, what=_OTHER, free=(*FREE, *free), older=_OLDER)


def check_data(
    folder: Path,
    config: Mapping[str, Any],
    sets: Mapping[str, Sequence[Data]],
    properties: Sequence[str],
    base: Path,
) -> None:
    """Check that the data are those of the run that a folder holds; note what they are.

    They may have moved: their content is compared, not their place.

    Args:
        folder: Folder of the run.
        config: Configuration of the run, which :func:`check_config` has seen.
        sets: Training and validation set by name.
        properties: Conditioning properties.
        base: Where relative paths in the configuration start.

    Raises:
        ValueError: If the folder holds a run on other data.
    """
    if not is_first():
        return
    if not (folder / DATA).is_file():  # nothing but the path is known of older runs
        _check_same_run(folder / CONFIG, config)
    sizes = {name: len(data) for name, data in sets.items()}
    content = _content(sets, properties)
    what = "a run on other data: files, split or properties are no longer the same"
    if IN_MEMORY in (read_record(folder / CONFIG).get("data") or {}):
        what = "a run on other data, which were in memory: pass the same data=(train, val) again"
    check_same(
        folder / DATA,
        {"properties": list(properties), "content": content, **sizes, "folder": str(base)},
        what=what,
        free=("folder",),
    )
    _check_same_run(folder / CONFIG, config, free=("data",))


def _content(sets: Mapping[str, Sequence[Data]], properties: Sequence[str]) -> str:
    """Return the SHA-256 of all atoms, cells and conditioning properties, in their order."""
    return digest_of(_parts(sets, properties))


def _parts(sets: Mapping[str, Sequence[Data]], properties: Sequence[str]) -> Iterator[str | bytes]:
    for name, data in sets.items():
        yield name
        # Without the transform that every access goes through: it may be a random one.
        stored = isinstance(data, InMemoryDataset)
        for item in map(data.get, data.indices()) if stored else data:  # type: ignore[attr-defined]
            values = torch.tensor([float(property_of(item, name)) for name in properties])
            for tensor in (item.atomic_numbers, item.frac_coords, item.lattice, values):
                yield tensor.numpy().tobytes()


def recorded(folder: Path) -> tuple[dict[str, Any], Path]:
    """Return the configuration of the run that a folder holds, and where its paths start.

    Raises:
        FileNotFoundError: If the folder holds no run.
        ValueError: If the record is damaged.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"no training run in {folder} ({CONFIG} is missing)")
    data = read_record(folder / DATA) if (folder / DATA).is_file() else {}
    return read_record(path), Path(data.get("folder", ""))


def changes(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the settings in overrides of a run that goes on, which may change these alone.

    Raises:
        ValueError: If one is no ``KEY=VALUE`` or of a setting that a run keeps.
    """
    keys = [text.partition("=")[0] for text in overrides]
    if fixed := [key for key in keys if key not in FREE]:
        raise ValueError(
            f"a run that goes on keeps its settings, {fixed[0]} too; {', '.join(FREE)} may change"
        )
    composed = compose_config(overrides)
    return {key: composed[key] for key in keys}


def located(config: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Return a configuration whose relative paths start at a folder, where they lead somewhere."""

    def place(value: Any) -> Any:
        if not isinstance(value, str) or value in DATASETS:
            return value
        path = base / user_path(value)
        return str(path) if path.exists() else value

    data = {key: place(value) if key in _PATHS else value for key, value in config["data"].items()}
    if data.get("root") is not None:
        data["root"] = str(base / user_path(data["root"]))
    return {**config, "data": data, "init": place(config.get("init"))}


def _length(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in ("max_epochs", "budget_minutes")}


def note_end(folder: Path, facts: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Note that a run has come to its end."""
    if is_first():
        write_json(folder / FINISHED, {**facts, **_length(config)})


def ended(folder: Path, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what :func:`note_end` noted; None if the run is to go on.

    That is where it is to be longer, its checkpoint is damaged, or the note itself is.
    """
    path = folder / FINISHED
    if not path.is_file() or not (folder / LAST).is_file() or damage(folder / LAST) is not None:
        return None
    try:
        facts = read_record(path)
        length = {key: facts.pop(key) for key in _length(config)}
    except (ValueError, KeyError):
        return None
    return facts if length == _length(config) else None
