"""The tensor files of CDVAE's scripts. Nothing in a file is executed."""

from __future__ import annotations

import json
import logging
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.data.formats.species import check_species
from pyg_crysdiff.errors import first_line

log = logging.getLogger(__name__)
_MOST_NUMBERS = 2 * 10**8  # in one tensor: a view may claim any size
_MOST_BYTES = 16 * 2**30
# Objects beside the tensors (a batch of PyG, settings) become empty: their code is not called.
_BESIDE = (
    "torch_geometric.", "pathlib.", "argparse.", "datetime.", "omegaconf.", "typing.",
    "collections.", "pytorch_lightning.", "lightning.", "easydict.", "addict.",
)  # fmt: skip


class _Nothing:
    """Stands for an object of another package: takes anything, keeps nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Nothing:
        del args, kwargs
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        del state


class _NothingOfAClass:
    """Stands for PyG's maker of batch classes, whose object is called like a class."""

    def __new__(cls, *args: Any, **kwargs: Any) -> type[_Nothing]:  # type: ignore[misc]
        del args, kwargs
        return _Nothing


def read_tensors(path: Path, evaluation: int) -> list[Crystal | BrokenEntry]:
    """Read a tensor file with the keys of CDVAE's scripts.

    Where the first of several evaluations is read, a line of the log says so.

    Args:
        path: The file.
        evaluation: Which one, where it holds several.

    Returns:
        A crystal, or why it is none, for every entry.

    Raises:
        ValueError: If the file is damaged, holds objects that are no data, or lacks a key.
    """
    content = _load(path)
    if not isinstance(content, dict) or any(key not in content for key in _NEEDED):
        raise ValueError(f"{path} is not a sample file: it needs the keys {list(_NEEDED)}")
    if "lattices" not in content and not ("lengths" in content and "angles" in content):
        raise ValueError(f"{path} has neither lengths and angles nor lattices")
    fields = {key: content[key] for key in _SHAPES if key in content}
    if "lattices" in fields and not ("lengths" in fields and "angles" in fields):
        fields = {key: v for key, v in fields.items() if key not in ("lengths", "angles")}
    arrays = {key: _array(path, key, value, evaluation) for key, value in fields.items()}
    sizes = torch.as_tensor(fields["num_atoms"])
    if evaluation == 0 and sizes.ndim == 2 and len(sizes) > 1:
        log.warning(
            "%s holds %d evaluations; number 0 was read (read_crystals(path, evaluation=1) reads "
            "the next)", path, len(sizes),
        )  # fmt: skip
    return _cut(path, arrays, content.get("provenance"))


def _load(path: Path) -> Any:
    foreign = _foreign_objects(path)
    refused = [name for name in foreign if not name.startswith(_BESIDE)]
    if refused:
        raise ValueError(
            f"{path} holds objects that are no data ({', '.join(sorted(refused)[:3])}) and was not "
            "loaded, since loading them would execute code; save the tensors alone"
        )
    beside: list[Any] = [
        (_NothingOfAClass if name.endswith("DynamicInheritanceGetter") else _Nothing, name)
        for name in foreign
    ]
    try:
        with torch.serialization.safe_globals([*_numpy_names(), *beside]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        said = [line.strip() for line in str(error).splitlines() if "Unsupported" in line]
        if not said:
            raise ValueError(f"{path} is damaged, or no tensor file; copy it again") from error
        raise ValueError(
            f"{path} holds more than tensors and plain data and was not loaded, since loading "
            f"would execute code ({said[0][:200]}); save the tensors alone"
        ) from error
    except Exception as error:  # the unpickler raises whatever it meets in damaged bytes
        reason = first_line(error)
        raise ValueError(f"{path} is truncated or damaged ({reason}); copy it again") from error


def _foreign_objects(path: Path) -> list[str]:
    """Names of the classes and functions in the file that torch does not load by itself."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
        with torch.serialization.safe_globals(_numpy_names()):
            found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # an old file, which is no zip, or a damaged one: loading it will tell
        return []
    if size > _MOST_BYTES:
        raise ValueError(f"{path} unpacks to {size / 2**30:.0f} GiB, which is not read")
    return list(found)


def _numpy_names() -> list[Any]:
    """Arrays and numbers of numpy, under the names of its versions 1 and 2."""
    makers = {"_reconstruct": np.zeros(1).__reduce__()[0], "scalar": np.float64(0).__reduce__()[0]}
    kinds = {type(np.dtype(code)) for code in "?bhilqBHILQefdgUS"}
    parts = [
        (maker, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name, maker in makers.items()
    ]
    return [np.dtype, np.ndarray, *kinds, *parts]


# One evaluation's shapes; None is any length.
_SHAPES: dict[str, tuple[int | None, ...]] = {
    "num_atoms": (None,),
    "frac_coords": (None, 3),
    "atom_types": (None,),
    "lengths": (None, 3),
    "angles": (None, 3),
    "lattices": (None, 3, 3),
}
_NEEDED = ("frac_coords", "atom_types", "num_atoms")
_ONE_HOT = 100  # from here on the last axis of atom_types is one over elements


def _array(path: Path, key: str, value: Any, evaluation: int) -> np.ndarray:
    """Return one field of one evaluation; whole numbers for sizes and species."""
    shape = _SHAPES[key]
    try:
        tensor = torch.as_tensor(value).detach()
        if tensor.layout != torch.strided or tensor.is_complex() or tensor.is_quantized:
            raise ValueError("not a plain tensor")
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{path}: {key} is no array of numbers ({error})") from error
    if tensor.numel() > _MOST_NUMBERS:
        raise ValueError(f"{path}: {key} has {tensor.numel()} numbers, which is not read")
    if key == "atom_types" and _over_elements(tensor):
        tensor = tensor.argmax(-1) + 1
    if tensor.ndim == len(shape) + 1:
        if not 0 <= evaluation < len(tensor):
            raise ValueError(f"{path} holds {len(tensor)} evaluations, not {evaluation + 1}")
        tensor = tensor[evaluation]
    fits = tensor.ndim == len(shape)
    if not fits or any(n not in (None, m) for n, m in zip(shape, tensor.shape, strict=True)):
        wanted = tuple("n" if n is None else n for n in shape)
        raise ValueError(f"{path}: {key} has shape {tuple(tensor.shape)}, expected {wanted}")
    if key in ("num_atoms", "atom_types"):
        numbers = tensor.double().numpy()
        if not np.isfinite(numbers).all() or (numbers != np.round(numbers)).any():
            raise ValueError(f"{path}: {key} holds something that is no whole number")
        return numbers.astype(np.int64)
    return tensor.double().numpy()


def _over_elements(types: torch.Tensor) -> bool:
    """Whether the last axis is one-hot or logits over the elements 1, 2, ... (CDVAE keeps both)."""
    if types.ndim < 2 or types.shape[-1] not in (_ONE_HOT, _ONE_HOT + 1):
        return False
    values = types.double()
    one_hot = bool((values.sum(-1) == 1).all())
    return types.ndim == 3 or one_hot or bool((values != values.round()).any())


def _cut(path: Path, arrays: dict[str, np.ndarray], provenance: Any) -> list[Crystal | BrokenEntry]:
    sizes = arrays["num_atoms"]
    if len(sizes) == 0 or (sizes < 0).any():
        raise ValueError(f"{path} holds no structures or a negative number of atoms")
    for key in ("lengths", "angles", "lattices"):
        if key in arrays and len(arrays[key]) != len(sizes):
            raise ValueError(f"{path}: {len(sizes)} crystals, but {len(arrays[key])} {key}")
    if sizes.sum() != len(arrays["frac_coords"]) or sizes.sum() != len(arrays["atom_types"]):
        raise ValueError(
            f"{path}: num_atoms adds up to {sizes.sum()}, but there are "
            f"{len(arrays['frac_coords'])} coordinates and {len(arrays['atom_types'])} species"
        )
    infos = _provenance(provenance, len(sizes))
    ends = np.cumsum(sizes)
    out: list[Crystal | BrokenEntry] = []
    for i, (n, end) in enumerate(zip(sizes, ends, strict=True)):
        frac, numbers = arrays["frac_coords"][end - n : end], arrays["atom_types"][end - n : end]
        try:
            check_species(numbers)
            if "lengths" in arrays:
                cell = arrays["lengths"][i], arrays["angles"][i]
                _check_cell(*cell)
                crystal = Crystal.from_parameters(*cell, frac, numbers, infos[i])
            else:
                crystal = Crystal(arrays["lattices"][i], frac, numbers, infos[i])
            if not crystal.is_finite:
                raise ValueError("lattice or coordinates are not finite")
            out.append(crystal)
        except (ValueError, ZeroDivisionError, FloatingPointError) as error:
            out.append(BrokenEntry(i, str(error), f"{path.name}, entry {i}"))
    return out


def _check_cell(lengths: np.ndarray, angles: np.ndarray) -> None:
    """Refuse what is no length or angle; the cell of -4 would be that of 4."""
    if (lengths <= 0).any():
        shown = ", ".join(f"{x:g}" for x in lengths)
        raise ValueError(f"lengths {shown}: a cell length must be above zero")
    if ((angles <= 0) | (angles >= 180)).any():
        shown = ", ".join(f"{x:g}" for x in angles)
        raise ValueError(f"angles {shown}: a cell angle must be between 0 and 180 degrees")


def _provenance(text: Any, count: int) -> list[dict[str, Any]]:
    """Facts on each crystal, as this package writes them; nothing where they do not fit."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except json.JSONDecodeError:
        found = None
    if isinstance(found, list) and len(found) == count and all(isinstance(f, dict) for f in found):
        return found
    return [{}] * count
