"""Check a denoiser or a conditioner of your own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyg_crysdiff.nn.conditioning import Conditioner
from pyg_crysdiff.nn.denoiser import CachingDenoiser
from pyg_crysdiff.nn.transformer import CrystalTransformer

SYMMETRIES = ("permutation", "translation", "rotation")
_TOLERANCE = 1e-7  # relative, double precision
_NAMES = ("lattice noise", "coordinate score", "species logits")
Inputs = dict[str, Any]


def assert_denoiser(
    denoiser: nn.Module,
    num_species: int,
    *,
    sizes: Sequence[int] = (3, 1, 5, 2),
    symmetries: Collection[str] = SYMMETRIES,
    seed: int = 0,
) -> None:
    """Check a denoiser as :class:`pyg_crysdiff.models.CrystalDiffusion` uses it.

    Shapes, finite values (one-atom cells included), no change of the inputs, the same result
    twice, each crystal as if it were alone, gradients, NaN conditions as no condition, contexts
    (of a :class:`pyg_crysdiff.nn.CachingDenoiser`), and the symmetries of a crystal: permutation
    of atoms, common translations and whole turns of coordinates, rotation of the lattice. A
    double-precision copy is checked, in eval mode.

    Args:
        denoiser: The network; its interface is :class:`pyg_crysdiff.nn.Denoiser`, and
            :class:`pyg_crysdiff.nn.CachingDenoiser` where it has contexts.
        num_species: K, number of its species classes.
        sizes: Atoms of the crystals to check with.
        symmetries: Which of ``permutation``, ``translation``, ``rotation`` it should have.
        seed: Seed of the crystals.

    Raises:
        AssertionError: If a check fails.
        ValueError: If a symmetry is unknown.
    """
    if unknown := set(symmetries) - set(SYMMETRIES):
        raise ValueError(f"unknown symmetries {sorted(unknown)}; there are {SYMMETRIES}")
    embedding = getattr(denoiser, "condition_embedding", None)
    assert embedding is not None, (
        "a denoiser needs condition_embedding, a pyg_crysdiff.nn.ConditionEmbedding"
    )
    network = copy.deepcopy(denoiser).double().eval()
    generator = torch.Generator().manual_seed(seed)
    inputs = _crystals(generator, sizes, num_species, embedding.properties)
    before = copy.deepcopy(inputs)
    outputs = network(**inputs)
    _check_outputs(outputs, sizes, num_species)
    _unchanged(inputs, before)
    with torch.no_grad():
        _same(network(**inputs), outputs, "a second call with the same inputs")
        _alone(network, inputs, outputs, sizes)
        _contexts(network, inputs, outputs)
        if embedding.properties:
            hidden = {k: torch.full_like(v, torch.nan) for k, v in inputs["condition"].items()}
            none = network(**{**inputs, "condition": None})
            _same(network(**{**inputs, "condition": hidden}), none, "conditions of NaN, not given")
        checks: dict[str, Callable[..., None]] = {
            "permutation": _permutation,
            "translation": _translation,
            "rotation": _rotation,
        }
        for name in symmetries:
            checks[name](network, inputs, outputs, generator, sizes)
    _gradients(network, outputs)


def assert_conditioner(
    factory: Callable[..., Conditioner], *, num_species: int = 4, seed: int = 0, **options: Any
) -> None:
    """Check a conditioner inside the Transformer.

    The network with it passes :func:`assert_denoiser` with two properties; the hooks return the
    right shapes; time and condition change the output, at least once its parameters have left
    their initial values (a zero-initialised conditioner is fine); saved weights come back.

    Args:
        factory: The class, or a partial of it.
        num_species: K.
        seed: Seed.
        **options: Arguments of its own.

    Raises:
        AssertionError: If a check fails.
    """
    torch.manual_seed(seed)

    def build() -> CrystalTransformer:
        return CrystalTransformer(
            num_species, {"first": (0.0, 1.0), "second": (1.0, 2.0)},
            lambda **sizes: factory(**sizes, **options), dim=16, num_blocks=2, num_heads=2,
            num_waves=3, pair_hidden=8,
        )  # fmt: skip

    network = build()
    conditioner = network.conditioner
    assert isinstance(conditioner, Conditioner), (
        f"{type(conditioner).__name__} must derive from pyg_crysdiff.nn.Conditioner"
    )
    _check_hooks(conditioner)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    assert_denoiser(network, num_species, seed=seed)
    network.double().eval()
    generator = torch.Generator().manual_seed(seed)
    inputs = _crystals(generator, (3, 2), num_species, ("first", "second"))
    with torch.no_grad():
        outputs = network(**inputs)
        other = {**inputs, "condition": {k: v + 1.0 for k, v in inputs["condition"].items()}}
        assert _differs(network(**other), outputs), "the condition has no effect on the outputs"
        later = {**inputs, "t": inputs["t"] + 100}
        assert _differs(network(**later), outputs), "the time has no effect on the outputs"
        copied = build().double().eval()
        copied.load_state_dict(network.state_dict())
        _same(copied(**inputs), outputs, "a network with its saved weights")


def _check_hooks(conditioner: Conditioner) -> None:
    z, z_c = torch.randn(5, conditioner.dim), torch.randn(2, conditioner.condition_dim)
    crystal = torch.tensor([0, 0, 0, 1, 1])
    width = 3 * conditioner.num_heads * conditioner.head_dim
    found = conditioner.initial(z, z_c, crystal)
    assert found.shape == z.shape, f"initial() must return {tuple(z.shape)}, not {found.shape}"
    for block in range(conditioner.num_blocks):
        terms = conditioner.attention(block, z_c)
        assert terms is None or terms.shape == (2, width), (
            f"attention() must return None or (B, 3 * num_heads * head_dim) = (2, {width})"
        )
        found = conditioner.block_input(block, z, z_c, crystal)
        assert found.shape == z.shape, f"block_input() must return {tuple(z.shape)}"


def _crystals(
    generator: torch.Generator, sizes: Sequence[int], num_species: int, properties: Sequence[str]
) -> Inputs:
    count, atoms = len(sizes), sum(sizes)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "species": torch.randint(num_species, (atoms,), generator=generator),
        "frac_coords": torch.rand(atoms, 3, generator=generator, dtype=torch.float64),
        "lattice": torch.eye(3, dtype=torch.float64) + 0.3 * normal(count, 3, 3),
        "num_atoms": torch.tensor(list(sizes)),
        "t": torch.randint(1, 900, (count,), generator=generator),
        "condition": {name: normal(count) for name in properties},
    }


def _check_outputs(outputs: Sequence[Tensor], sizes: Sequence[int], num_species: int) -> None:
    wanted = ((len(sizes), 3, 3), (sum(sizes), 3), (sum(sizes), num_species))
    assert len(outputs) == 3, f"a denoiser returns {_NAMES}, not {len(outputs)} tensors"
    for name, value, shape in zip(_NAMES, outputs, wanted, strict=True):
        assert value.shape == shape, f"{name} must have shape {shape}, not {tuple(value.shape)}"
        assert value.dtype == torch.float64, f"{name} must keep the precision of the coordinates"
        assert bool(value.isfinite().all()), f"{name} is not finite (cells of one atom?)"


def _unchanged(inputs: Inputs, before: Inputs) -> None:
    for name, value in before.items():
        pairs = value.items() if isinstance(value, dict) else [(None, value)]
        for key, old in pairs:
            now = inputs[name] if key is None else inputs[name][key]
            assert torch.equal(now, old), f"the denoiser changes its input {key or name} in place"


def _same(found: Sequence[Tensor], wanted: Sequence[Tensor], what: str) -> None:
    for name, a, b in zip(_NAMES, found, wanted, strict=True):
        scale = float(b.abs().max().clamp(min=1.0))
        off = float((a - b).abs().max()) / scale
        assert off < _TOLERANCE, f"{what}: {name} differs by {off:.1e}"


def _differs(found: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return any(float((a - b).abs().max()) > 1e-9 for a, b in zip(found, other, strict=True))


def _alone(
    network: nn.Module, inputs: Inputs, outputs: Sequence[Tensor], sizes: Sequence[int]
) -> None:
    start = 0
    for k, n in enumerate(sizes):
        rows = slice(start, start + n)
        single = {
            "species": inputs["species"][rows],
            "frac_coords": inputs["frac_coords"][rows],
            **{name: inputs[name][k : k + 1] for name in ("lattice", "num_atoms", "t")},
            "condition": {name: v[k : k + 1] for name, v in inputs["condition"].items()},
        }
        wanted = (outputs[0][k : k + 1], outputs[1][rows], outputs[2][rows])
        _same(network(**single), wanted, f"crystal {k} of {n} atoms alone, against its batch")
        start += n


def _contexts(network: nn.Module, inputs: Inputs, outputs: Sequence[Tensor]) -> None:
    """Check that contexts made beforehand change nothing, also those of one row for all."""
    if not isinstance(network, CachingDenoiser):
        return
    make = network.contexts()
    context = make(inputs["t"], inputs["condition"])
    _same(network(**inputs, context=context), outputs, "with a context made beforehand")
    first = {name: value[:1] for name, value in inputs["condition"].items()}
    rows = {name: value.expand(len(inputs["t"])) for name, value in first.items()}
    alike = {**inputs, "t": inputs["t"][:1].expand(len(inputs["t"])), "condition": rows}
    found = network(**alike, context=make(alike["t"][:1], first))
    _same(found, network(**alike), "with a context of one row for all crystals")


def _permutation(
    network: nn.Module,
    inputs: Inputs,
    outputs: Sequence[Tensor],
    generator: torch.Generator,
    sizes: Sequence[int],
) -> None:
    starts = torch.tensor([0, *sizes]).cumsum(0)
    order = torch.cat(
        [s + torch.randperm(n, generator=generator) for s, n in zip(starts, sizes, strict=False)]
    )
    moved = {**inputs, **{k: inputs[k][order] for k in ("species", "frac_coords")}}
    wanted = (outputs[0], outputs[1][order], outputs[2][order])
    _same(network(**moved), wanted, "after a permutation of atoms")


def _translation(
    network: nn.Module,
    inputs: Inputs,
    outputs: Sequence[Tensor],
    generator: torch.Generator,
    sizes: Sequence[int],
) -> None:
    owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(list(sizes)))
    shift = torch.rand(len(sizes), 3, generator=generator, dtype=torch.float64)[owner]
    turns = torch.randint(-2, 3, shift.shape, generator=generator)
    for name, change in (("a common translation", shift), ("whole turns", turns)):
        moved = {**inputs, "frac_coords": inputs["frac_coords"] + change}
        _same(network(**moved), outputs, f"after {name} of the coordinates")


def _rotation(
    network: nn.Module,
    inputs: Inputs,
    outputs: Sequence[Tensor],
    generator: torch.Generator,
    sizes: Sequence[int],
) -> None:
    matrix = torch.randn(len(sizes), 3, 3, generator=generator, dtype=torch.float64)
    turn = torch.linalg.qr(matrix)[0]
    found = network(**{**inputs, "lattice": inputs["lattice"] @ turn})
    _same(found, (outputs[0] @ turn, *outputs[1:]), "after a rotation of the lattice")


def _gradients(network: nn.Module, outputs: Sequence[Tensor]) -> None:
    torch.stack([x.square().mean() for x in outputs]).sum().backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert gradients, "no parameter of the denoiser gets a gradient"
    assert all(bool(g.isfinite().all()) for g in gradients), "a gradient is not finite"
