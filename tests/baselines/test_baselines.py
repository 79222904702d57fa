import json
import os

import pytest
import torch

from pyg_crysdiff.baselines import (
    Baseline,
    LiveRequest,
    baseline_names,
    load_baseline,
    published_rows,
    run_live,
)
from pyg_crysdiff.baselines.baseline import PUBLISHED_TASKS, LiveCode
from pyg_crysdiff.baselines.shims import p_map, scatter, segment_csr
from pyg_crysdiff.baselines.sparse_tensor import SparseTensor
from pyg_crysdiff.data import DATASETS, Crystal
from pyg_crysdiff.data.writers import save_cdvae
from pyg_crysdiff.evaluation.definitions import definition
from tests.conftest import make_crystal


def test_every_peer_has_a_file_with_sources_and_known_metrics():
    expected = {
        "cdvae", "symat", "diffcsp", "mattergen", "structrepdiff", "ftcp", "cond_dfc_vae",
        "g_schnet", "p_g_schnet", "lm_ac", "flowmm", "omatg", "omatg_flash", "mcflow",
        "crystalite",
    }  # fmt: skip
    assert expected <= set(baseline_names())
    for name in baseline_names():
        baseline = load_baseline(name)
        tasks = PUBLISHED_TASKS
        rows = [row for task in tasks for data in DATASETS for row in baseline.rows(data, task)]
        assert rows, name
        for row in rows:
            assert row.kind == "published"
            assert row.source
            for key, estimate in row.metrics.items():
                assert definition(key)
                assert 0 <= estimate.value <= (30 if key.endswith("emd") else 1), (name, key)
    years = [load_baseline(name).year for name in baseline_names()]
    assert years == sorted(years)
    with pytest.raises(ValueError, match="no baseline is called 'gan'; there are cdvae"):
        load_baseline("gan")


def test_starts_of_an_optimisation_file():
    """CDVAE's script saves ten or eleven candidates for each of 100 starts; MatterGen has none."""
    for name in ("cdvae", "symat", "diffcsp"):
        counts = (999, 1000, 1100)
        assert [load_baseline(name).starts_of(n) for n in counts] == [None, 100, 100]
    assert load_baseline("mattergen").starts_of(1000) is None


def test_published_rows_come_from_all_peers():
    methods = [row.method for row in published_rows("perov5", "optimisation")]
    assert methods.index("CDVAE") < methods.index("SyMat") < methods.index("MODEL-CDS")


def test_published_predictions_stand_in_the_columns_of_their_definition():
    rows = {row.method: row for row in published_rows("mp20", "prediction")}
    value = {name: {k: e.value for k, e in row.metrics.items()} for name, row in rows.items()}
    assert value["FlowMM"]["match_rate_struct"] == 0.6622  # all
    assert value["FlowMM"]["match_rate"] == 0.5998  # valid
    assert value["DiffCSP"] == {"match_rate": 0.5149, "rmse": 0.0631}  # its paper: valid alone
    assert value["Crystalite"] == {"match_rate": 0.6609, "rmse": 0.0337}
    five = value["OMatG-flash-RAM, five candidates"]
    assert five["match_rate_any_struct"] == 0.783
    assert five["match_rate_any"] == 0.713
    for name in ("OMatG-flash-RAM", "Crystalite", "MCFlow", "OMatG", "DiffCSP"):
        row = rows[f"{name}, polymorph split"]
        assert "polymorph split" in row.source
        assert set(row.metrics) == {"metre_struct", "crmse_struct"}
    for name, found in value.items():  # fewer are valid too than match at all
        assert found.get("match_rate", 0) <= found.get("match_rate_struct", 1), name
        assert ("metre_struct" in found) == ("polymorph split" in name), name
    for dataset in ("perov5", "carbon24"):
        assert [r.method for r in published_rows(dataset, "prediction")] == ["DiffCSP"]


def test_sample_files_are_found_in_an_output_folder(tmp_path, rng):
    crystals = [make_crystal(rng, 3) for _ in range(4)]
    save_cdvae(crystals[:2], tmp_path / "eval_gen_old.pt")
    save_cdvae(crystals, tmp_path / "eval_gen_new.pt")
    os.utime(tmp_path / "eval_gen_old.pt", (1, 1))
    cdvae = load_baseline("cdvae")
    assert cdvae.find_samples(tmp_path, "generation").name == "eval_gen_new.pt"
    assert len(cdvae.read(tmp_path)) == 4
    assert len(cdvae.read(tmp_path / "eval_gen_old.pt")) == 2
    with pytest.raises(FileNotFoundError, match=r"no optimisation samples of CDVAE: eval_opt\*"):
        cdvae.find_samples(tmp_path, "optimisation")
    with pytest.raises(FileNotFoundError, match="names none of its own"):
        load_baseline("ftcp").find_samples(tmp_path, "generation")


def test_a_checkout_is_recognised_by_its_marker(tmp_path):
    cdvae = load_baseline("cdvae")
    assert not cdvae.is_checkout(tmp_path)
    (tmp_path / "cdvae" / "pl_modules").mkdir(parents=True)
    (tmp_path / "cdvae" / "pl_modules" / "model.py").touch()
    assert cdvae.is_checkout(tmp_path)
    assert not load_baseline("ftcp").is_checkout(tmp_path)


def test_sparse_tensor_selects_rows_as_the_dense_matrix_does():
    row, col = torch.tensor([2, 0, 0, 2, 2]), torch.tensor([1, 2, 0, 0, 1])
    value = torch.tensor([10, 20, 30, 40, 50])
    matrix = SparseTensor(row, col, value, sparse_sizes=(3, 3))
    assert matrix.storage.row().tolist() == [0, 0, 2, 2, 2]
    assert matrix.storage.col().tolist() == [0, 2, 0, 1, 1]
    assert matrix.storage.value().tolist() == [30, 20, 40, 10, 50]
    picked = matrix[torch.tensor([2, 1, 0, 2])]
    assert picked.storage.row().tolist() == [0, 0, 0, 2, 2, 3, 3, 3]
    assert picked.storage.value().tolist() == [40, 10, 50, 30, 20, 40, 10, 50]
    assert picked.set_value(None).sum(dim=1).tolist() == [3, 0, 2, 3]
    assert picked.sum(dim=1).tolist() == [100, 0, 50, 100]


def test_scatter_and_segments_equal_loops():
    values, index = torch.arange(12.0).view(6, 2), torch.tensor([0, 2, 0, 2, 2, 0])
    found = scatter(values, index, dim=0, dim_size=4, reduce="mean")
    for k in (0, 2):
        assert torch.equal(found[k], values[index == k].mean(0))
    assert torch.equal(found[3], torch.zeros(2))
    bounds = torch.tensor([0, 2, 2, 6])
    sums = segment_csr(values, bounds)
    assert torch.equal(sums, torch.stack([values[0:2].sum(0), torch.zeros(2), values[2:6].sum(0)]))


def test_map_over_processes_takes_closures_and_keeps_order(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    shift = 10
    found = p_map(lambda a, b: (a + shift, b, os.getpid()), range(40), "x" * 40, num_cpus=30)
    assert [f[:2] for f in found] == [(a + shift, "x") for a in range(40)]
    assert os.getpid() not in {f[2] for f in found}
    assert p_map(abs, [-1]) == [1]


_PEER = """
import torch
def run(request):
    open(request.work + "/calls", "a").write("x")
    if request.minutes == 0:
        raise ValueError("the peer is broken")
    import torch_geometric.nn.acts, torch_scatter, torch_sparse, dotenv, p_tqdm
    assert torch.zeros(2).to("cuda").device.type == "cpu"
    n = request.num_samples
    torch.save({"num_atoms": torch.full((n,), 1), "atom_types": torch.full((n,), 6),
        "frac_coords": torch.zeros(n, 3), "lengths": torch.full((n, 3), 3.0),
        "angles": torch.full((n, 3), 90.0)}, request.work + "/samples-generation.pt")
    rows = open(request.work + "/train.csv").read().count("data_")
    return {"rows": rows}
"""


@pytest.fixture
def peer(tmp_path, monkeypatch):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "fake_peer.py").write_text(_PEER)
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "mark").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    live = LiveCode(marker="mark", runner="fake_peer.run", configs={"own": "x"})
    return Baseline("fake", "Fake", 2020, "", "", {}, live=live)


def test_a_live_run_is_a_child_process_and_is_not_repeated(peer, tmp_path, rng):
    crystals = [
        Crystal(c.lattice, c.frac_coords, c.atomic_numbers, {"e": 1.0})
        for c in (make_crystal(rng, 2) for _ in range(5))
    ]
    request = LiveRequest(
        checkout=str(tmp_path / "checkout"), work=str(tmp_path / "work"), config="x",
        property_name="e", max_atoms=2, minutes=1.0, num_samples=3,
    )  # fmt: skip
    samples, facts = run_live(peer, request, crystals, crystals[:2])
    assert facts["rows"] == 5
    assert [len(c) for c in samples["generation"]] == [1, 1, 1]
    assert "optimisation" not in samples
    run_live(peer, request, crystals, crystals[:2])
    assert (tmp_path / "work" / "calls").read_text() == "x"
    run_live(peer, request, crystals[:4], crystals[:2])
    assert (tmp_path / "work" / "calls").read_text() == "xx"
    assert json.loads((tmp_path / "work" / "done.json").read_text())["facts"]["rows"] == 4


def test_failure_of_a_peer_names_its_log(peer, tmp_path, rng):
    crystal = make_crystal(rng, 2)
    crystal = Crystal(crystal.lattice, crystal.frac_coords, crystal.atomic_numbers, {"e": 1.0})
    request = LiveRequest(
        checkout=str(tmp_path / "checkout"), work=str(tmp_path / "work"), config="x",
        property_name="e", max_atoms=2, minutes=0.0, num_samples=3,
    )  # fmt: skip
    with pytest.raises(RuntimeError, match=r"the peer is broken\); its output is in .*log\.txt"):
        run_live(peer, request, [crystal], [crystal])
    with pytest.raises(ValueError, match="cannot be run live"):
        run_live(load_baseline("ftcp"), request, [crystal], [crystal])
    with pytest.raises(ValueError, match="is no checkout of CDVAE"):
        run_live(load_baseline("cdvae"), request, [crystal], [crystal])
