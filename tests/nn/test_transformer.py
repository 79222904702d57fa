"""Symmetries of the denoiser, and that crystals in a batch know nothing of each other."""

import math

import pytest
import torch
from torch_geometric.data import Batch, Data

from pyg_crysdiff.nn import (
    CDI,
    CDS,
    AdaCDI,
    AdaCDS,
    AdaLN,
    CrystalTransformer,
    PairLayout,
    reference,
)

CONDITIONERS = [CDI, CDS, AdaLN, AdaCDI, AdaCDS]
SIZES = [3, 1, 5, 3, 2]


def network(conditioner, **options):
    torch.manual_seed(0)
    net = CrystalTransformer(
        4,
        {"energy": (-1.0, 2.0), "gap": (0.5, 1.0)},
        conditioner,
        dim=16,
        num_blocks=2,
        num_waves=4,
        pair_hidden=8,
        **options,
    )
    if conditioner in (AdaLN, AdaCDI, AdaCDS):  # their maps start deaf
        for parameter in net.conditioner.modulation.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return net.double().eval()


def crystals(generator, sizes=SIZES):
    n, b = sum(sizes), len(sizes)
    return {
        "species": torch.randint(0, 4, (n,), generator=generator),
        "frac_coords": torch.rand(n, 3, generator=generator, dtype=torch.float64),
        "lattice": torch.randn(b, 3, 3, generator=generator, dtype=torch.float64),
        "num_atoms": torch.tensor(sizes),
        "t": torch.randint(1, 1001, (b,), generator=generator),
        "condition": {
            "energy": torch.randn(b, generator=generator, dtype=torch.float64),
            "gap": torch.rand(b, generator=generator, dtype=torch.float64),
        },
    }


@pytest.fixture(params=CONDITIONERS, ids=lambda kind: kind.__name__.lower())
def net(request):
    return network(request.param)


def close(a, b):
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-10)


def by_reference(net, x):
    """Outputs for a batch by the equations of the paper, one crystal after the other."""
    z_c = net.condition_embedding(x["t"], x["condition"])
    atoms = (x["species"].split(SIZES), x["frac_coords"].split(SIZES))
    each = [reference.denoise(net, *parts) for parts in zip(*atoms, x["lattice"], z_c, strict=True)]
    lattices, coordinates, species = zip(*each, strict=True)
    return torch.stack(lattices), torch.cat(coordinates), torch.cat(species)


@pytest.mark.parametrize(
    "options", [{}, {"size_feature": False}, {"centred": True}], ids=["", "no size", "centred"]
)
@pytest.mark.parametrize("conditioner", [CDI, CDS])
def test_outputs_and_gradients_are_those_of_the_equations(conditioner, options, generator):
    net = network(conditioner, **options)
    x = crystals(generator)
    x["condition"]["gap"][1] = torch.nan  # not given
    ours, expected = net(**x), by_reference(net, x)
    close(ours, expected)
    gradients = [
        torch.autograd.grad(
            sum(out.square().sum() for out in outputs), list(net.parameters()), allow_unused=True
        )
        for outputs in (ours, expected)
    ]
    for one, other in zip(*gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_centred_scores_are_those_of_the_network_without_their_mean(generator):
    plain, centred = network(CDS), network(CDS, centred=True)
    centred.load_state_dict(plain.state_dict())
    x = crystals(generator)
    (lattice, score, logits), (same_lattice, found, same_logits) = plain(**x), centred(**x)
    means = [part.mean(0, keepdim=True).expand_as(part) for part in score.split(SIZES)]
    close((lattice, score - torch.cat(means), logits), (same_lattice, found, same_logits))
    # What a target's mean does to the loss is the same for all weights: it has no gradient.
    target = torch.randn(score.shape, generator=generator, dtype=score.dtype)
    shifts = torch.randn(len(SIZES), 3, generator=generator, dtype=score.dtype)
    moved = target + shifts.repeat_interleave(torch.tensor(SIZES), 0)
    last = centred.to_coordinates[-1].weight
    gradients = [
        torch.autograd.grad((found - wanted).square().sum(), last, retain_graph=True)[0]
        for wanted in (target, moved)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def test_the_reference_has_the_conditioners_of_the_paper_only(generator):
    with pytest.raises(TypeError, match="AdaCDI"):
        by_reference(network(AdaCDI), crystals(generator))


def test_permutation_of_atoms(net, generator):
    x = crystals(generator)
    eps_l, eps_f, logits = net(**x)
    start, order = 0, []
    for n in SIZES:
        order.append(start + torch.randperm(n, generator=generator))
        start += n
    order = torch.cat(order)
    out = net(**{**x, "species": x["species"][order], "frac_coords": x["frac_coords"][order]})
    close(out, (eps_l, eps_f[order], logits[order]))
    assert not torch.allclose(eps_f, eps_f[order])


def test_common_translation_and_whole_turns(net, generator):
    x = crystals(generator)
    batch = torch.repeat_interleave(torch.arange(len(SIZES)), x["num_atoms"])
    shift = torch.rand(len(SIZES), 3, generator=generator, dtype=torch.float64)[batch]
    turns = torch.randint(-3, 4, x["frac_coords"].shape, generator=generator)
    out = net(**x)
    close(net(**{**x, "frac_coords": x["frac_coords"] + shift}), out)
    close(net(**{**x, "frac_coords": x["frac_coords"] + turns}), out)
    moved = x["frac_coords"].clone()
    moved[0] += 0.1
    assert not torch.allclose(net(**{**x, "frac_coords": moved})[1], out[1])


@pytest.mark.parametrize("reflect", [False, True])
def test_rotation_and_reflection_of_the_lattice(net, generator, reflect):
    x = crystals(generator)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    if (torch.det(q) < 0) != reflect:
        q[0] = -q[0]
    assert math.copysign(1, float(torch.det(q))) == (-1 if reflect else 1)
    eps_l, eps_f, logits = net(**x)
    close(net(**{**x, "lattice": x["lattice"] @ q}), (eps_l @ q, eps_f, logits))
    assert not torch.allclose(eps_l, eps_l @ q)


def test_one_row_of_context_serves_crystals_of_one_time_and_condition(net, generator):
    x = crystals(generator)
    x["t"] = torch.full_like(x["t"], 400)
    x["condition"] = {k: v[:1].expand(len(SIZES)) for k, v in x["condition"].items()}
    one = net.contexts()(x["t"][:1], {k: v[:1] for k, v in x["condition"].items()})
    assert one.z_c.shape == (1, 16)
    close(net(**x, context=one), net(**x))


def test_training_after_sampling(net, generator):
    sizes = [7, 11]  # of no other test: nothing about them is kept yet
    x = crystals(generator, sizes)
    with torch.inference_mode():
        sampled = net(**x)
    trained = net(**x)
    close(sampled, trained)
    sum(out.sum() for out in trained).backward()


def test_bfloat16_with_kept_and_with_fresh_weights(net, generator):
    net.float()
    x = crystals(generator)
    x |= {k: x[k].float() for k in ("frac_coords", "lattice")}
    x["condition"] = {k: v.float() for k, v in x["condition"].items()}
    exact = net(**x)
    with torch.autocast("cpu", torch.bfloat16):
        fresh = net(**x)
        kept = net(**x, context=net.contexts()(x["t"], x["condition"]))
    for a, b, c in zip(fresh, kept, exact, strict=True):
        assert a.equal(b)
        error = (a - c).norm() / c.norm()
        assert 1e-5 < error < 0.05  # of bfloat16, and of no more than that


def test_batch_is_one_by_one(net, generator):
    x = crystals(generator)
    together = net(**x)
    start = 0
    for i, n in enumerate(SIZES):
        atoms = slice(start, start + n)
        alone = net(
            x["species"][atoms],
            x["frac_coords"][atoms],
            x["lattice"][i : i + 1],
            x["num_atoms"][i : i + 1],
            x["t"][i : i + 1],
            {k: v[i : i + 1] for k, v in x["condition"].items()},
        )
        close(alone, (together[0][i : i + 1], together[1][atoms], together[2][atoms]))
        start += n


def test_gradients_do_not_leak_between_crystals(net, generator):
    x = crystals(generator)
    x["frac_coords"].requires_grad_()
    net(**x)[1][:3].square().sum().backward()
    grad = x["frac_coords"].grad
    assert grad[:3].abs().sum() > 0
    assert grad[3:].abs().sum() == 0


def test_condition_changes_the_output_and_only_its_crystal(net, generator):
    x = crystals(generator)
    out = net(**x)
    other = {**x["condition"], "energy": x["condition"]["energy"].clone()}
    other["energy"][2] += 1.0
    changed = net(**{**x, "condition": other})
    first, last = sum(SIZES[:2]), sum(SIZES[:3])
    assert not torch.allclose(changed[1][first:last], out[1][first:last])
    close((changed[1][:first], changed[2][last:]), (out[1][:first], out[2][last:]))


def test_time_changes_the_output(net, generator):
    x = crystals(generator)
    later = net(**{**x, "t": x["t"] % 1000 + 1})
    assert not torch.allclose(later[1], net(**x)[1])


def test_missing_condition_is_the_null_condition(net, generator):
    x = crystals(generator)
    nan = {k: torch.full_like(v, torch.nan) for k, v in x["condition"].items()}
    absent = net(**{**x, "condition": None})
    close(net(**{**x, "condition": nan}), absent)
    half = net(**{**x, "condition": {"gap": x["condition"]["gap"]}})
    assert not torch.allclose(half[1], absent[1])
    assert not torch.allclose(half[1], net(**x)[1])


def test_unknown_property_is_refused(net, generator):
    x = crystals(generator)
    with pytest.raises(KeyError, match="colour"):
        net(**{**x, "condition": {"colour": torch.zeros(5)}})


@pytest.mark.parametrize("conditioner", CONDITIONERS)
def test_cutting_the_conditioner_removes_every_trace_of_the_condition(conditioner, generator):
    """The condition passes through the conditioner's own weights and nowhere else."""
    net = network(conditioner)
    x = crystals(generator)
    with torch.no_grad():
        layers = [getattr(net.conditioner, "from_condition", None)]
        for name in ("modulation", "projection"):
            layers += getattr(net.conditioner, name, ())
        for layer in filter(None, layers):
            layer.weight.zero_()
    other = {k: v + 5 for k, v in x["condition"].items()}
    close(net(**{**x, "condition": other, "t": x["t"] % 1000 + 1}), net(**x))


def test_one_hot_weights_equal_class_indices(net, generator):
    x = crystals(generator)
    one_hot = torch.nn.functional.one_hot(x["species"], 4).double()
    close(net(**{**x, "species": one_hot}), net(**x))


def test_pyg_batch_equals_tensors(net, generator):
    x = crystals(generator)
    parts = zip(
        x["species"].split(SIZES),
        x["frac_coords"].split(SIZES),
        x["lattice"].unsqueeze(1),
        SIZES,
        strict=True,
    )
    batch = Batch.from_data_list(
        [
            Data(species=s, frac_coords=f, lattice=cell, num_atoms=torch.tensor([n]), num_nodes=n)
            for s, f, cell, n in parts
        ]
    )
    with pytest.deprecated_call(match="forward_batch"):
        out = net.forward_batch(batch, x["t"], x["condition"])
    close(out, net(**x))


def test_number_of_atoms_is_visible_through_the_size_feature(generator):
    """A cell and its doubled content look alike to attention averages unless N is told."""
    f = torch.rand(2, 3, generator=generator, dtype=torch.float64)
    one = {
        "species": torch.tensor([0, 1]),
        "frac_coords": f,
        "lattice": torch.eye(3, dtype=torch.float64)[None],
        "num_atoms": torch.tensor([2]),
        "t": torch.tensor([10]),
    }
    two = {
        **one,
        "species": torch.tensor([0, 1, 0, 1]),
        "frac_coords": torch.cat([f, f]),
        "num_atoms": torch.tensor([4]),
    }
    blind = network(CDI, size_feature=False)
    torch.testing.assert_close(blind(**one)[0], blind(**two)[0])
    seeing = network(CDI)
    assert not torch.allclose(seeing(**one)[0], seeing(**two)[0])


def test_empty_crystal_is_refused():
    with pytest.raises(ValueError, match="at least one atom"):
        PairLayout.build(torch.tensor([2, 0]))
