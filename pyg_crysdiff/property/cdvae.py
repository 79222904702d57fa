"""CDVAE's own property evaluators (its ``prop_models`` folders) as our evaluator.

A folder holds ``hparams.yaml``, ``epoch=...ckpt`` (Lightning) and ``prop_scaler.pt`` (a pickled
object of CDVAE). None of it is executed: classes outside torch become inert records.
"""

from __future__ import annotations

import io
import pickle
import types
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from pyg_crysdiff.models.pretrained import FOLDER, check_finite
from pyg_crysdiff.property.model import (
    EvaluatorConfig,
    PeriodicDimeNet,
    PropertyModel,
)

_PREFIX = "encoder."


def load_cdvae_evaluator(folder: str | Path) -> PropertyModel:
    """Convert a ``prop_models`` folder of CDVAE.

    Its network is DimeNet++ on CrystalNN graphs with mean readout; predictions equal CDVAE's
    ``prop_model_eval``. Save the result with :meth:`PropertyModel.save`.

    Args:
        folder: Folder with ``hparams.yaml``, ``*.ckpt`` (the latest epoch counts) and
            ``prop_scaler.pt``.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged or holds another kind of model.
    """
    folder = Path(folder)
    checkpoints = sorted(folder.glob("*.ckpt"), key=_epoch)
    needed = {"hparams.yaml": folder / "hparams.yaml", "prop_scaler.pt": folder / "prop_scaler.pt"}
    missing = [name for name, file in needed.items() if not file.is_file()]
    if missing or not checkpoints:
        names = ", ".join([*missing, *([] if checkpoints else ["epoch=...ckpt"])])
        raise FileNotFoundError(f"{folder} is no prop_models folder of CDVAE: it lacks {names}")
    config, property_name = _config(needed["hparams.yaml"])
    content = _read(checkpoints[-1])
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if not (isinstance(weights, dict) and all(isinstance(v, Tensor) for v in weights.values())):
        raise ValueError(f"{checkpoints[-1]} holds no state_dict of tensors")
    check_finite(weights, checkpoints[-1])
    network = PeriodicDimeNet(config)
    own = {k.removeprefix(_PREFIX): v for k, v in weights.items() if k.startswith(_PREFIX)}
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        raise ValueError(f"{checkpoints[-1]} does not fit its hparams.yaml ({error})") from error
    scaler = _read(needed["prop_scaler.pt"])
    mean, std = (getattr(scaler, name, None) for name in ("means", "stds"))
    if mean is None or std is None:
        raise ValueError(f"{needed['prop_scaler.pt']} holds no scaler with means and stds")
    card = {"property": property_name, "source": f"CDVAE {folder.name}/{checkpoints[-1].name}"}
    return PropertyModel(network, config, _number(mean), _number(std), card)


def load_evaluator(path: str | Path) -> PropertyModel:
    """Load a property model of this package or one of CDVAE's ``prop_models``.

    Args:
        path: File of this package, folder of CDVAE's, or the name of one that comes with the
            package (``perov5-predictor``).

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged or of another kind.
    """
    shipped = FOLDER / f"{path}.safetensors"
    if not Path(path).exists() and shipped.is_file():
        return PropertyModel.load(shipped)
    return load_cdvae_evaluator(path) if Path(path).is_dir() else PropertyModel.load(path)


def _epoch(file: Path) -> int:
    digits = file.name.split("-")[0].partition("=")[2]
    return int(digits) if digits.isdigit() else -1


def _number(value: Any) -> float:
    return float(torch.as_tensor(value).double().reshape(-1)[0])


def _config(file: Path) -> tuple[EvaluatorConfig, str]:
    try:
        table: Any = OmegaConf.load(file)
        encoder = table.model.encoder
        name = str(table.data.prop)
        if encoder.otf_graph or not str(encoder._target_).endswith("DimeNetPlusPlusWrap"):
            raise ValueError(f"{file}: only DimeNet++ on CrystalNN graphs can be converted")
        if encoder.readout != "mean" or encoder.num_targets != 1:
            raise ValueError(f"{file}: only one target with mean readout can be converted")
        keys = (
            "hidden_channels", "num_blocks", "int_emb_size", "basis_emb_size", "out_emb_channels",
            "num_spherical", "num_radial",
        )  # fmt: skip
        sizes = {key: int(encoder[key]) for key in keys}
        cutoff, most = float(encoder.cutoff), int(encoder.max_num_neighbors)
    except (OmegaConfBaseException, AttributeError, TypeError) as error:
        raise ValueError(f"{file} is not a configuration of CDVAE ({error})") from error
    config = EvaluatorConfig(
        **sizes, cutoff=cutoff, max_neighbours=most, graph="crystalnn", output_bias=True
    )
    return config, name


class _Inert:
    """Stands for any object that is no tensor: remembers its state, runs nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update({str(k): v for k, v in state.items()})

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Take an item of a list-like object."""

    def extend(self, values: Any) -> None:
        """Take items of a list-like object."""


_PLAIN = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    *(("torch", f"{kind}Storage") for kind in ("Float", "Double", "Long", "Int", "Bool", "Half")),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PLAIN:
            return super().find_class(module, name)
        return type(name, (_Inert,), {})


def _read(file: Path) -> Any:
    """Load a file of ``torch.save`` without importing or calling anything that it names."""
    inert = types.ModuleType("inert_pickle")
    vars(inert).update(Unpickler=_Unpickler, load=lambda f, **_: _Unpickler(f).load())
    options: dict[str, Any] = {"pickle_module": inert, "weights_only": False}
    damage = (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, TypeError)
    try:
        return torch.load(io.BytesIO(file.read_bytes()), map_location="cpu", **options)
    except damage as error:
        raise ValueError(f"{file} is truncated or damaged ({error}); copy it again") from error
