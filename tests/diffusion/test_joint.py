import pytest
import torch

from pyg_crysdiff.diffusion import (
    CrystalNoise,
    CrystalState,
    JointDiffusion,
    LatticeDDPM,
    Prediction,
    RowNoise,
    Sampler,
    UniformD3PM,
    WrappedNormalDiffusion,
    crystal_seed,
)


def joint(steps=20, **options):
    return JointDiffusion(
        LatticeDDPM(steps), WrappedNormalDiffusion(steps), UniformD3PM(3, steps), **options
    )


def state(sizes, generator):
    n, b = sum(sizes), len(sizes)
    return CrystalState(
        lattice=torch.randn(b, 3, 3, generator=generator),
        coordinates=torch.rand(n, 3, generator=generator),
        species=torch.randint(0, 3, (n,), generator=generator),
        num_atoms=torch.tensor(sizes),
        batch=torch.repeat_interleave(torch.arange(b), torch.tensor(sizes)),
    )


def local_denoiser(current, t):
    """A deterministic stand-in for a network that sees one atom or one cell at a time."""
    scale = (t.float() / 20)[current.batch][:, None]
    return Prediction(
        lattice=0.3 * current.lattice,
        coordinates=torch.sin(6.28 * current.coordinates) * scale,
        species=torch.nn.functional.one_hot(current.species, 3).float(),
    )


def test_every_field_must_have_the_same_number_of_steps():
    with pytest.raises(ValueError, match="same number of steps"):
        JointDiffusion(LatticeDDPM(10), WrappedNormalDiffusion(20), UniformD3PM(3, 10))


def test_unknown_loss_weight_is_refused():
    with pytest.raises(ValueError, match="unknown fields"):
        joint(loss_weights={"colour": 1.0})


def test_total_is_the_weighted_sum(generator):
    process = joint(loss_weights={"lattice": 2.0, "species": 0.5})
    clean = state([2, 3], generator)
    t = torch.tensor([4, 17])
    noise = process.training_noise(clean, generator)
    noisy = process.corrupt(clean, t, noise)
    losses = process.losses(local_denoiser(noisy, t), clean, noisy, t, noise)
    total = 2 * losses["lattice"] + losses["coordinates"] + 0.5 * losses["species"]
    torch.testing.assert_close(losses["total"], total)


def test_times_are_uniform_and_cover_the_range(generator):
    process = joint(steps=10)
    t = process.training_times(50_000, generator)
    counts = torch.bincount(t, minlength=11)
    assert counts[0] == 0
    torch.testing.assert_close(counts[1:].float(), torch.full((10,), 5000.0), rtol=0.05, atol=0)
    first = torch.stack([process.training_times(4, generator)[0] for _ in range(2000)])
    assert len(first.unique()) == 10


def test_a_share_of_the_times_comes_from_the_middle_in_training_only(generator):
    process = joint(steps=100, middle_times=0.5).train()
    t = process.training_times(50_000, generator)
    counts = torch.bincount(t, minlength=101)[1:].float()
    inside = torch.zeros(100, dtype=torch.bool)
    inside[35:85] = True
    expected = torch.where(inside, 250.0 + 500.0, 250.0)
    torch.testing.assert_close(counts, expected, rtol=0.1, atol=0)
    few = torch.stack([process.training_times(2, generator)[0] for _ in range(4000)])
    assert ((few > 35) & (few <= 85)).double().mean().item() == pytest.approx(0.75, abs=0.03)
    counts = torch.bincount(process.eval().training_times(50_000, generator), minlength=101)[1:]
    torch.testing.assert_close(counts.float(), torch.full((100,), 500.0), rtol=0.1, atol=0)
    with pytest.raises(ValueError, match="middle_times must be a share"):
        joint(steps=100, middle_times=1.5)


def test_scores_that_no_translation_changes_sum_to_zero(generator):
    """What ``centred`` rests on: density by a sum over all translations, score by autograd."""
    clean = torch.rand(3, 1, generator=generator, dtype=torch.float64)
    x = torch.rand(3, 1, generator=generator, dtype=torch.float64, requires_grad=True)
    shifts = torch.linspace(0, 1, 401, dtype=torch.float64)[:-1]
    images = torch.arange(-8, 9, dtype=torch.float64)
    away = (x - clean - shifts).unsqueeze(-1) + images
    density = torch.exp(-away.square() / (2 * 0.2**2)).sum(-1).prod(0).mean()
    (score,) = torch.autograd.grad(density.log(), x)
    assert score.abs().max() > 0.1
    assert score.sum().item() == pytest.approx(0, abs=1e-9)


def run(process, sizes, seeds, steps=None):
    noise = CrystalNoise(seeds, sizes)
    current = process.prior(torch.tensor(sizes), noise)
    sampler = Sampler.of("paper", steps=steps)
    for s, after in process.reverse(current, local_denoiser, noise, sampler):
        assert after.time == s
        current, last = after, s
    assert last == 0
    return current


def test_a_crystal_does_not_depend_on_its_batch():
    process = joint()
    sizes, seeds = [2, 5, 3], [11, 12, 13]
    together = run(process, sizes, seeds)
    for i, part in enumerate(together.coordinates.split(sizes)):
        alone = run(process, [sizes[i]], [seeds[i]])
        torch.testing.assert_close(alone.coordinates, part)
        torch.testing.assert_close(alone.lattice, together.lattice[i : i + 1])
        assert alone.species.equal(together.species.split(sizes)[i])


def test_noise_block_size_does_not_change_the_numbers_drawn_per_crystal_seed():
    a, b = CrystalNoise([5, 6], [2, 3]), CrystalNoise([5, 6], [2, 3])
    for name, value in a.prior().items():
        assert b.prior().keys() >= {name}
        assert value.shape[0] == (2 if name == "lattice" else 5)
    first = {k: v.clone() for k, v in a.step().items()}
    again = CrystalNoise([6], [3])
    again.prior()
    alone = again.step()
    torch.testing.assert_close(alone["coordinates"], first["coordinates"][2:])
    torch.testing.assert_close(alone["lattice"], first["lattice"][1:])
    torch.testing.assert_close(alone["species"], first["species"][2:])


def test_noise_of_a_vector_does_not_depend_on_its_batch():
    together, alone = RowNoise([5, 6]), RowNoise([6])
    for width in (3, 5):
        assert together.normal(width)[1:].equal(alone.normal(width))
        assert together.uniform(width)[1:].equal(alone.uniform(width))
    many = RowNoise(range(50))
    normal, uniform = many.normal(400), many.uniform(400)
    assert float(normal.std()) == pytest.approx(1, abs=0.02)
    assert 0 <= float(uniform.min()) < 0.01
    assert 0.99 < float(uniform.max()) < 1


def test_streams_of_noise_have_unit_variance_and_do_not_overlap():
    noise = CrystalNoise(range(50), [4] * 50)
    noise.prior()
    steps = [noise.step() for _ in range(40)]
    coordinates = torch.cat([s["coordinates"].flatten() for s in steps])
    corrector = torch.cat([s["corrector"].flatten() for s in steps])
    assert float(coordinates.std()) == pytest.approx(1, abs=0.02)
    assert abs(float(torch.corrcoef(torch.stack([coordinates, corrector]))[0, 1])) < 0.02


def test_seeds_differ_between_runs_crystals_and_streams():
    seeds = {crystal_seed(s, i, k) for s in range(20) for i in range(20) for k in ("a", "b")}
    assert len(seeds) == 800
    assert crystal_seed(0, 0) == crystal_seed(0, 0)


def test_corrector_moves_only_coordinates(generator):
    process = joint()
    calls = []

    def spy(current, t):
        calls.append(current)
        return local_denoiser(current, t)

    noise = CrystalNoise([1], [3])
    start = process.prior(torch.tensor([3]), noise)
    list(process.reverse(start, spy, noise, Sampler("ancestral", 1, corrector_steps=2)))
    assert [current.time for current in calls] == [20, 20, 20]
    assert calls[1].lattice.equal(calls[0].lattice)
    assert calls[2].species.equal(calls[0].species)
    assert not calls[1].coordinates.equal(calls[0].coordinates)
