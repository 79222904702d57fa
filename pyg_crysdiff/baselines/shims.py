"""Stand-ins for packages and names that peers' code of 2021 to 2023 expects.

Installed only in the child process of a live run, and only where the real thing is missing.
"""

from __future__ import annotations

import importlib.util
import math
import multiprocessing
import sys
import types
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.utils import scatter as pyg_scatter
from torch_geometric.utils import softmax

from pyg_crysdiff.baselines.sparse_tensor import SparseTensor


def install_shims(device: str) -> None:
    """Install every stand-in that this environment needs.

    Args:
        device: ``cpu`` makes code that says ``'cuda'`` run on the CPU.
    """
    _geometric()
    _offer(
        "torch_scatter",
        scatter=scatter,
        scatter_add=partial(scatter, reduce="sum"),
        scatter_mean=partial(scatter, reduce="mean"),
        segment_csr=segment_csr,
        segment_coo=segment_coo,
    )
    _offer("torch_scatter.composite", scatter_softmax=softmax)
    _offer("einops", rearrange=_missing("einops"), repeat=_missing("einops"))
    _offer("chemparse")
    _offer("emmet")
    _offer("emmet.core")
    _offer("emmet.core.material", PropertyOrigin=_missing("emmet-core"))
    _offer("pathos")
    _offer("pathos.pools", ProcessPool=_missing("pathos"))
    _offer("pyxtal", pyxtal=_missing("pyxtal"))
    _offer("pyxtal.symmetry", Group=_missing("pyxtal"))
    _offer("torch_sparse", SparseTensor=SparseTensor)
    _offer("p_tqdm", p_map=p_map, p_umap=p_map)
    _offer("dotenv", load_dotenv=lambda *_, **__: False)
    _hydra()
    _pymatgen()
    _numpy()
    _torch()
    if device == "cpu":
        _cuda_means_cpu()


def scatter(
    src: Tensor,
    index: Tensor,
    dim: int = -1,
    out: Tensor | None = None,
    dim_size: int | None = None,
    reduce: str = "sum",
) -> Tensor:
    """``torch_scatter.scatter`` by PyG's function of the same meaning."""
    if out is not None:
        raise NotImplementedError("scatter into a given tensor")
    return pyg_scatter(src, index, dim=dim, dim_size=dim_size, reduce=reduce)


def segment_csr(src: Tensor, indptr: Tensor, out: None = None, reduce: str = "sum") -> Tensor:
    """``torch_scatter.segment_csr`` over the first dimension: sums between neighbouring bounds."""
    if reduce not in ("sum", "add") or out is not None:
        raise NotImplementedError(f"segment_csr with reduce={reduce!r}")
    total = torch.cat([src.new_zeros(1, *src.shape[1:]), src.cumsum(0)])
    return total[indptr[1:]] - total[indptr[:-1]]


def segment_coo(
    src: Tensor,
    index: Tensor,
    out: None = None,
    dim_size: int | None = None,
    reduce: str = "sum",
) -> Tensor:
    """``torch_scatter.segment_coo``: a scatter over the first dimension by a sorted index."""
    return scatter(src, index, 0, out, dim_size, reduce)


def _missing(package: str) -> Callable[..., Any]:
    """A name that peers import without using it; whoever does use it is told what to install."""

    def call(*_: Any, **__: Any) -> Any:
        raise ModuleNotFoundError(f"this code of the peer needs {package}: pip install {package}")

    return call


def p_map(
    function: Callable[..., Any], *iterables: Iterable[Any], num_cpus: int | None = None, **_: Any
) -> list[Any]:
    """``p_tqdm.p_map``: map over processes, in order.

    Forked, for peers pass closures, and only a fork of this process has the stand-ins.
    """
    items = list(zip(*iterables, strict=False))
    workers = min(num_cpus or 64, torch.get_num_threads(), len(items))
    if workers <= 1 or "fork" not in multiprocessing.get_all_start_methods():
        return [function(*item) for item in items]
    _TASK.update(function=function, items=items)
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return pool.map(_call, range(len(items)), chunksize=8)


_TASK: dict[str, Any] = {}


def _call(index: int) -> Any:
    return _TASK["function"](*_TASK["items"][index])


def _offer(name: str, **names: Any) -> None:
    try:
        known = importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the parent is missing, or a stand-in of ours
        known = False
    if not known:
        module = types.ModuleType(name)
        vars(module).update(names)
        sys.modules[name] = module


def _geometric() -> None:
    import torch_geometric.data  # noqa: PLC0415
    import torch_geometric.loader  # noqa: PLC0415
    import torch_geometric.nn  # noqa: PLC0415

    torch_geometric.data.DataLoader = torch_geometric.loader.DataLoader
    if importlib.util.find_spec("torch_geometric.nn.acts") is None:
        acts = types.ModuleType("torch_geometric.nn.acts")
        vars(acts)["swish"] = torch.nn.functional.silu
        sys.modules["torch_geometric.nn.acts"] = acts


def _hydra() -> None:
    import hydra  # noqa: PLC0415

    if importlib.util.find_spec("hydra.experimental") is None:
        module = types.ModuleType("hydra.experimental")
        vars(module).update(
            compose=hydra.compose, initialize_config_dir=hydra.initialize_config_dir
        )
        sys.modules["hydra.experimental"] = module


def _pymatgen() -> None:
    from pymatgen.analysis.graphs import StructureGraph  # noqa: PLC0415

    if not hasattr(StructureGraph, "with_local_env_strategy"):  # its name until 2023
        today = StructureGraph.from_local_env_strategy
        setattr(StructureGraph, "with_local_env_strategy", today)  # noqa: B010


def _numpy() -> None:
    gone = {"math": math, "int": int, "float": float, "bool": bool, "object": object}
    for name, value in gone.items():
        if name not in vars(np):
            setattr(np, name, value)


def _torch() -> None:
    """Let ``torch.arange`` write into a parameter (torch 1), and files hold NumPy arrays (2.5)."""
    arange = torch.arange

    def without_gradient(*args: Any, out: Tensor | None = None, **kwargs: Any) -> Tensor:
        if out is None:
            return arange(*args, **kwargs)
        found = out.detach()
        arange(*args, out=found, **kwargs)
        return found

    torch.arange = without_gradient
    # Peers keep NumPy arrays in files of their own, and load them by torch.load's old default.
    rebuild: list[Any] = [value.__reduce__()[0] for value in (np.zeros(1), np.float64(0))]
    dtypes = [type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "bool", "U1")]
    torch.serialization.add_safe_globals([*rebuild, np.ndarray, np.dtype, *dtypes, bytes])


def _cuda_means_cpu() -> None:
    """Send ``.to('cuda')`` and ``.cuda()`` of tensors and modules to the CPU."""

    def redirected(move: Callable[..., Any]) -> Callable[..., Any]:
        def to(self: Any, *args: Any, **kwargs: Any) -> Any:
            args = tuple("cpu" if _is_cuda(a) else a for a in args)
            kwargs = {k: "cpu" if k == "device" and _is_cuda(v) else v for k, v in kwargs.items()}
            return move(self, *args, **kwargs)

        return to

    for cls in (Tensor, torch.nn.Module):
        cls.to = redirected(cls.to)  # type: ignore[method-assign]
        cls.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]


def _is_cuda(value: Any) -> bool:
    return isinstance(value, str | torch.device) and str(value).startswith("cuda")
