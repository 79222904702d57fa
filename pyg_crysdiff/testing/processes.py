"""Check a diffusion process of your own, for one of lattice, coordinates and species."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from pyg_crysdiff.diffusion.field import FieldDiffusion, NoiseKind


def assert_process(
    process: FieldDiffusion, clean: Tensor, prediction: Tensor, *, seed: int = 0
) -> None:
    """Check the process of one field as :class:`pyg_crysdiff.diffusion.JointDiffusion` uses it.

    Shapes, finite values at every time, no change of the inputs, no random numbers of its own
    (the same noise gives the same result), each row as if it were alone, clean data at t = 0, a
    loss per row with a gradient to the prediction.

    Args:
        process: The process.
        clean: Clean rows, such as coordinates (N, 3); at least two.
        prediction: What a network would predict for them.
        seed: Seed.

    Raises:
        AssertionError: If a check fails.
    """
    assert process.num_steps >= 1, f"num_steps must be positive, not {process.num_steps}"
    for name in ("prior_noise", "noise_kind"):
        kind = getattr(process, name)
        assert kind in get_args(NoiseKind), f"{name} must be one of {get_args(NoiseKind)}: {kind}"
    generator = torch.Generator().manual_seed(seed)
    rows = len(clean)
    first = _noise(process.prior_noise, rows, process.noise_dim, generator)
    prior = process.prior(first)
    assert prior.shape == clean.shape, (
        f"prior() must return {tuple(clean.shape)}, not {tuple(prior.shape)}"
    )
    assert prior.dtype == clean.dtype, f"prior() must return {clean.dtype}, not {prior.dtype}"
    noise = _noise(process.noise_kind, rows, process.noise_dim, generator)
    zero = torch.zeros(rows, dtype=torch.long)
    start = process.corrupt(clean, zero, noise)
    assert torch.allclose(start.double(), clean.double(), atol=1e-5), (
        "corrupt() at t = 0 must return the data"
    )
    for t_value in sorted({1, max(1, process.num_steps // 2), process.num_steps}):
        t, s = torch.full((rows,), t_value), torch.full((rows,), t_value - 1)
        _at_time(process, clean, prediction, noise, t, s)


def _at_time(
    process: FieldDiffusion,
    clean: Tensor,
    prediction: Tensor,
    noise: Tensor,
    t: Tensor,
    s: Tensor,
) -> None:
    state = torch.get_rng_state()
    kept = [x.clone() for x in (clean, prediction, noise, t, s)]
    noisy = process.corrupt(clean, t, noise)
    guess = prediction.clone().requires_grad_()
    loss = process.loss(guess, clean, noisy, t, noise)
    stepped = process.step(noisy, prediction, t, s, noise)
    where = f"at t = {int(t[0])}"
    renewed = process.renew(noisy, prediction, t, s, noise)
    solved, found = process.solve(noisy, prediction, t, s, noise)
    if found is not None and int(s[0]) > 0:
        earlier = (t, found)
        guess_at_s = process.solve(solved, prediction, s, torch.zeros_like(s), noise, earlier)[0]
        assert guess_at_s.shape == clean.shape, (
            f"solve() loses its shape with an earlier step {where}"
        )
    for name, value in (
        ("corrupt", noisy),
        ("step", stepped),
        ("renew", renewed),
        ("solve", solved),
    ):
        assert value.shape == clean.shape, f"{name}() must return {tuple(clean.shape)} {where}"
        assert value.dtype == clean.dtype, f"{name}() must return {clean.dtype} {where}"
        assert bool(value.double().isfinite().all()), f"{name}() is not finite {where}"
    assert loss.shape == (len(clean),), f"loss() must return one value per row, (rows,), {where}"
    assert bool(loss.isfinite().all()), f"loss() is not finite {where}"
    loss.sum().backward()
    assert guess.grad is not None, f"loss() gives no gradient to the prediction {where}"
    for old, now in zip(kept, (clean, prediction, noise, t, s), strict=True):
        assert torch.equal(old, now), f"an input is changed in place {where}"
    again = process.step(noisy, prediction, t, s, noise)
    assert torch.equal(torch.get_rng_state(), state), (
        "the process draws random numbers; all noise must come from the caller"
    )
    assert torch.equal(again, stepped), f"step() gives two results for the same noise {where}"
    for k in range(len(clean)):
        row = slice(k, k + 1)
        for name, whole, alone in (
            ("corrupt", noisy, process.corrupt(clean[row], t[row], noise[row])),
            (
                "step",
                stepped,
                process.step(noisy[row], prediction[row], t[row], s[row], noise[row]),
            ),
        ):
            assert torch.allclose(whole[row], alone, atol=1e-5), (
                f"{name}() of row {k} alone is not that of the batch {where}"
            )


def _noise(kind: NoiseKind, rows: int, dim: int, generator: torch.Generator) -> Tensor:
    draw = torch.randn if kind == "normal" else torch.rand
    return draw(rows, dim, generator=generator)
