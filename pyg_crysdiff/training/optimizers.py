"""The optimisers of a training: AdamW alone, or Muon for the matrices of the blocks and AdamW."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

_PARTS = "parts"  # key of the states of several optimisers
_FUSED = ("cpu", "cuda")  # devices on which AdamW is one operation


def build_optimizer(model: nn.Module, options: Mapping[str, Any]) -> Optimizer:
    """Return the optimiser that the ``optimizer`` part of a training configuration names.

    ``adamw``: AdamW (arXiv 1711.05101) for all weights. ``muon``: Muon for the matrices in the
    network's ``blocks``, and AdamW for all other weights. Muon (Jordan et al., 2024) steps along
    the orthogonal matrix that is nearest to the mean gradient; its steps are as large as AdamW's
    would be at ``matrix_lr`` times ``lr`` (arXiv 2502.16982, eq. 4). ``auto``: Muon where PyTorch
    has it and the network has blocks, else AdamW.

    Args:
        model: The model, with its network.
        options: ``name``, ``lr``, ``matrix_lr``, ``betas`` and ``weight_decay``; without a name
            it is AdamW, as before there was a choice.

    Raises:
        ValueError: If ``muon`` is asked for and the network has no ``blocks`` with matrices, or
            PyTorch is older than 2.9.
    """
    every = list(model.parameters())
    matrices = _for_muon(model, options.get("name", "adamw"))
    chosen = {id(p) for p in matrices}
    rest = AdamW(
        [p for p in every if id(p) not in chosen],
        lr=options["lr"],
        betas=tuple(options["betas"]),
        weight_decay=options["weight_decay"],
        fused=all(p.device.type in _FUSED for p in every),
    )
    if not matrices:
        return rest
    muon = torch.optim.Muon(
        matrices,
        lr=options["lr"] * options["matrix_lr"],
        weight_decay=options["weight_decay"],
        adjust_lr_fn="match_rms_adamw",
    )
    return Together([rest, muon])


def block_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the matrices in the blocks of a model's network; none where it has no blocks."""
    return [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim == 2 and "blocks" in name.split(".")
    ]


def described(model: nn.Module, options: Mapping[str, Any]) -> str:
    """Return which weights of a model :func:`build_optimizer` gives which optimiser.

    Raises:
        ValueError: As there.
    """
    muon = len(_for_muon(model, options.get("name", "adamw")))
    if not muon:
        return "AdamW"
    rest = len(list(model.parameters())) - muon
    return f"Muon for the {muon} matrices of the blocks, AdamW for {rest} other weights"


def check_state(model: nn.Module, options: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Check that the optimiser of :func:`build_optimizer` can go on from an earlier one's state.

    Raises:
        ValueError: If it cannot; the message says what to do.
    """
    had, has = _PARTS in state, bool(_for_muon(model, options.get("name", "adamw")))
    if had and not has:
        raise ValueError(
            "this run had Muon beside AdamW, and goes on only with Muon: with PyTorch 2.9 or later "
            f"(this is {torch.__version__}) and the same optimizer.name"
        )
    if has and not had:
        raise ValueError("this run had AdamW alone; set optimizer.name=adamw to go on with it")


def _for_muon(model: nn.Module, name: str) -> list[nn.Parameter]:
    """Return the weights that Muon has, by the name of the choice."""
    if name == "adamw":
        return []
    found, there = block_matrices(model), hasattr(torch.optim, "Muon")
    if name == "muon" and not there:
        raise ValueError(
            f"optimizer.name=muon needs PyTorch 2.9 or later, this is {torch.__version__}; update "
            "torch, or set optimizer.name=auto"
        )
    if name == "muon" and not found:
        raise ValueError(
            "optimizer.name=muon is for networks whose repeated layers are called `blocks`, and "
            "this one has none; set optimizer.name=auto"
        )
    return found if there else []


class Together(Optimizer):
    """Several optimisers, each for weights of its own, that make their steps together.

    Args:
        parts: The optimisers.
    """

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        self.parts = tuple(parts)
        super().__init__([p for part in parts for g in part.param_groups for p in g["params"]], {})
        self._gather()

    def _gather(self) -> None:
        # The groups are those of the parts: who changes a learning rate here changes it there.
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step of every optimiser; the closure computes the gradients once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all optimisers."""
        return {_PARTS: [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the states of :meth:`state_dict`; see :func:`check_state`."""
        for part, state in zip(self.parts, state_dict[_PARTS], strict=True):
            part.load_state_dict(state)
        self._gather()


def leave_out(optimizer: Optimizer, bad: Tensor) -> None:
    """Make the coming step of an optimiser change nothing if ``bad`` is true.

    Fused optimisers look at ``found_inf`` themselves (the protocol of PyTorch's ``GradScaler``).
    The others make no step without gradients. On a GPU, which nobody is to wait for, they see
    zeros instead, and what they remember of earlier steps moves the weights a little.
    """
    parts: Any = getattr(optimizer, "parts", (optimizer,))
    for part in parts:
        if part.defaults.get("fused"):
            part.found_inf = bad.float()
        elif bad.device.type != "cpu":
            for p in (p for g in part.param_groups for p in g["params"] if p.grad is not None):
                p.grad = torch.where(bad, torch.zeros_like(p.grad), p.grad)
        elif bool(bad):
            part.zero_grad(set_to_none=True)
