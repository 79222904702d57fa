"""The report of a design run: what it counts, what it shows, and that it needs nothing else."""

import base64
import io
import json
import re
import zipfile
from html import unescape

import numpy as np
import pytest

from pyg_crysdiff.design import Answer
from pyg_crysdiff.design.agreement import coverage
from pyg_crysdiff.design.calibration import calibration_rows, held_out_rows
from pyg_crysdiff.design.curves import best_so_far, hit_counts, read_baselines, zoom_to
from pyg_crysdiff.design.diversity import element_shares, growth_warnings
from pyg_crysdiff.design.ledger import Ledger
from pyg_crysdiff.design.report import achieved, write_report
from pyg_crysdiff.design.report_rounds import generator_text
from pyg_crysdiff.design.report_run import Run
from tests.design.runs import large, perovskite, small

_SCRIPTS = re.compile(r"<script>.*?</script>", re.DOTALL)


def page_of(folder, **given):
    """What a report says, without plotly.js."""
    return _SCRIPTS.sub("", write_report(folder, **given).read_text(encoding="utf-8"))


def run_of(folder):
    return Run.read(Ledger(folder))


def rows_after(page, head):
    """The cells of the first table after a heading."""
    body = page[page.index(f"<h2>{head}</h2>") :]
    body = body[: body.index("</table>")]
    lines = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line) for line in lines]


def test_hits_are_counted_in_the_order_of_answering(tmp_path):
    run = run_of(small(tmp_path, [0.4, 0.9, "no convergence", 0.3, 0.5, None]))
    assert run.distinct.tolist() == [True, False, False, True, True]
    assert hit_counts(run.distinct).tolist() == [0, 1, 1, 1, 2, 3]
    assert run.waiting == ["00006"]
    told = achieved(run)
    assert told == "3 different hits in 5 evaluations (60.0%), of which 1 failed; 1 are under way."


def test_hits_that_relax_to_one_crystal_count_once(tmp_path):
    same = perovskite(30, 40, side=4.2)
    answers = [Answer({"heat_ref": value}, crystal=same) for value in (0.1, 0.2)]
    run = run_of(small(tmp_path, [*answers, 0.3]))
    assert run.distinct.tolist() == [True, False, True]
    assert "2 different hits in 3 evaluations" in achieved(run)
    assert "1 more hits match one of them" in achieved(run)
    assert np.allclose(run.final["00001"].lattice, same.lattice)
    assert "as the oracle relaxed them" in page_of(tmp_path)


def test_the_best_so_far():
    values = [np.nan, 3.0, 4.0, np.nan, 1.0, 2.0]
    assert best_so_far(values, -1)[1:].tolist() == [3, 3, 3, 1, 1]
    assert best_so_far(values, 1)[1:].tolist() == [3, 4, 4, 4, 4]
    assert np.isnan(best_so_far(values, 1)[0])
    assert len(best_so_far([], 1)) == 0


def test_the_best_of_one_objective_meets_the_others(tmp_path):
    large(tmp_path, rounds=2, batch=10)
    run = run_of(tmp_path)
    heat, gap = (run.values(o.name) for o in run.objectives)
    inside = (gap >= 1) & (gap <= 3)
    assert f"{heat[inside].min():.5g} eV/atom" in achieved(run)
    with_order = run.hits["heat_ref"].to_numpy()
    assert (np.diff(with_order) >= 0).all()


def test_coverage_of_a_normal_predictor():
    rng = np.random.default_rng(0)
    means = rng.normal(size=20_000)
    values = means + rng.normal(0, 0.3, 20_000)
    shares = coverage(values, means, np.full(20_000, 0.3))
    assert list(shares.values()) == pytest.approx([0.5, 0.8, 0.95], abs=0.015)
    too_sure = coverage(values, means, np.full(20_000, 0.1))
    assert too_sure["95%"] < 0.55


def test_calibration_by_round_leaves_out_what_has_no_prediction():
    values, rounds = np.array([1.0, 2.0, 5.0, np.nan]), np.array([1, 2, 2, 2])
    means, stds = np.array([np.nan, 2.5, 4.0, 1.0]), np.array([np.nan, 0.5, 0.5, 1.0])
    assert calibration_rows(values, means, stds, rounds) == [
        ["2", "2", "0.75", "0.75", "0.5", "0%", "50%", "50%"]
    ]


def test_the_predictor_on_values_that_were_held_out(tmp_path):
    facts = {
        "values": 1200, "held_out": 240, "mae": 0.0512, "scale": 1.1,
        "coverage": {"50%": 0.4958, "80%": 0.8, "95%": 0.93},
    }  # fmt: skip
    rounds = [
        {"round": 1, "predictor": {"heat_ref": {"known": 3, "problem": "too few"}}},
        {"round": 2, "predictor": {"heat_ref": facts}},
        {"round": 3},
    ]
    row = ["2", "1,200", "240", "0.0512", "50%", "80%", "93%"]
    assert held_out_rows(rounds, "heat_ref") == [row]
    assert held_out_rows(rounds, "another") == []
    told = ({"predictor": {"heat_ref": facts}}, {})
    page = page_of(small(tmp_path, [0.4, 0.9], rounds=told))
    assert "on values that were held out" in page
    assert '<td class="num">1,200</td>' in page


def test_elements_that_spread():
    few = [perovskite(20, 22) for _ in range(10)] + [perovskite(38, 22) for _ in range(30)]
    many = [perovskite(20, 22) for _ in range(35)] + [perovskite(38, 22) for _ in range(5)]
    assert element_shares(few) == {"O": 1.0, "Ti": 1.0, "Sr": 0.75, "Ca": 0.25}
    (line,) = growth_warnings({1: few, 2: many})
    assert line == "Ca is in 88% of the crystals of round 2, and in 25.0% of round 1"
    assert growth_warnings({1: few, 2: few}) == []
    shares = {"O": 1.0, "Ti": 1.0, "Sr": 0.2, "Ca": 0.3}
    assert [text[:2] for text in growth_warnings({1: few, 2: many}, shares)] == ["Ca", "Sr"]
    assert growth_warnings({1: [perovskite(k, 22) for k in (37, 38, 39)]}) == []
    assert growth_warnings({}) == []


def test_a_warning_where_the_data_say_what_is_usual(tmp_path):
    crystals = [perovskite(20, 22, side=3.6 + 0.4 * k) for k in range(12)]
    shares = {8: 1.0, 20: 0.2, 22: 0.9}
    rounds = ({"data_shares": shares}, {})
    page = page_of(small(tmp_path, [0.9] * 12, rounds=rounds, crystals=crystals))
    assert "Ca is in 100% of the crystals of round 1, and in 20.0% of the data" in page
    assert "Ti is in" not in page


def test_the_page_stands_alone(tmp_path):
    path = write_report(large(tmp_path, rounds=2, batch=15))
    whole = path.read_text(encoding="utf-8")
    assert path == tmp_path / "report.html"
    assert path.stat().st_size < 15e6
    page = _SCRIPTS.sub("", whole)
    assert not re.findall(r"""(?:src|href|action)\s*=\s*["']?\s*(?:https?:)?//""", page)
    assert "@import" not in page
    assert "url(" not in page
    assert not re.findall(r"<script[^>]+src", whole)
    for head in (
        "Hits against evaluations", "Asked for and achieved", "Structures found", "Rounds",
        "Diversity", "Calibration of the predictor", "Failed evaluations", "Settings",
    ):  # fmt: skip
        assert f"<h2>{head}</h2>" in page, head


def test_names_and_messages_are_text(tmp_path):
    evil = "<script>alert(1)</script>"
    small(tmp_path, [0.4, evil], rounds=({"learning": {"problem": evil}}, {}), oracle=evil)
    whole = write_report(tmp_path, {evil: [[1, 1, 1, 1]]}).read_text(encoding="utf-8")
    assert "<script>alert" not in whole
    assert "&lt;script&gt;alert(1)" in whole


def test_what_is_asked_with_a_name_that_is_html(tmp_path):
    target = "<b>&x=:1"
    small(tmp_path, [Answer({"<b>&x": 0.5}), Answer({"<b>&x": 2.0})], target=target)
    page = page_of(tmp_path)
    assert "<b>&x" not in page
    assert "&lt;b&gt;&amp;x" in page


def test_the_structures_can_be_saved(tmp_path):
    page = page_of(small(tmp_path, [0.4, 0.9, 0.3]))
    links = re.findall(r'download="([^"]+)" href="data:([^;]+);base64,([^"]+)"', page)
    names = [name for name, *_ in links]
    assert names.count("00001-CaZrO3.cif") == 2  # the card and the table
    assert "00002-ScNbO3.cif" not in names  # no hit
    cif = base64.b64decode({name: data for name, _, data in links}["00001-CaZrO3.cif"]).decode()
    assert "_cell_length_a   4.00000000" in cif
    archive = next(data for name, _, data in links if name == "structures.zip")
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(archive))) as found:
        assert sorted(found.namelist()) == [
            "00001-CaZrO3.cif", "00003-TiMoO3.cif", "structures.extxyz",
        ]  # fmt: skip
        assert b"heat_ref=0.4" in found.read("structures.extxyz")
    assert "Pm-3m (221)" in page
    assert "predicted 0.4 ± 0.2" in page


def test_without_hits_the_nearest_are_shown(tmp_path):
    page = page_of(small(tmp_path, [0.9, 0.7, 0.8]))
    assert "<h2>Structures that came nearest</h2>" in page
    cards = re.findall(r"<b>(\w+)</b> [^<]+, (\d{5})", page)
    assert [key for _, key in cards] == ["00002", "00003", "00001"]


def test_rounds_in_numbers(tmp_path):
    facts = {"seconds": {"draw": 12.4, "filter": 0.26}, "predicted_hits": 1.38}
    rounds = ({**facts, "learning": {"problem": "few", "seconds": 33.0}}, {})
    page = page_of(small(tmp_path, [0.4, 0.9, "lost", 0.3], rounds=rounds))
    head, first, second = rows_after(page, "Rounds")
    told = [dict(zip(head, line, strict=True)) for line in (first, second)]
    assert [line["hits"] for line in told] == ["1", "1"]
    assert [line["failed"] for line in told] == ["0", "1"]
    assert [line["drawn"] for line in told] == ["2", "2"]
    assert [line["hits predicted"] for line in told] == ["1.4", ""]
    times = re.findall(r"<tr><td[^>]*>1</td>.*?</tr>", page[page.index("Seconds of each") :])[0]
    assert re.findall(r"<td[^>]*>(.*?)</td>", times) == [
        "1", "", "12", "0.3", "", "2.0", "33", "as before: few",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("learning", "text"),
    [
        (None, "as before"),
        (
            {"accepted": False, "problem": "12 found crystals, 30 are needed"},
            "as before: 12 found crystals, 30 are needed",
        ),
        (
            {"accepted": True, "losses": {"found": {"before": 1.25, "after": 1.0}}, "problem": ""},
            "fine-tuned, taken (held-out loss of found 1.25 to 1)",
        ),
        (
            {"accepted": False, "losses": {"found": {"before": 1, "after": 2}}, "problem": "worse"},
            "fine-tuned, refused (held-out loss of found 1 to 2): worse",
        ),
    ],
)
def test_what_became_of_the_generator(learning, text):
    assert generator_text(learning) == text


def test_a_run_that_has_just_begun(tmp_path):
    assert "No evaluation has ended yet; 2 are under way." in page_of(small(tmp_path, [None, None]))


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="no design run"):
        write_report(tmp_path)


def test_baselines_beside_the_run(tmp_path):
    small(tmp_path, [0.4, 0.9])
    curves = {"random candidates": [[50, 1, 0, 2], [100, 3.5, 2, 5]]}
    (tmp_path / "baselines.json").write_text(json.dumps(curves))
    assert read_baselines(tmp_path) == curves
    assert "random candidates" in write_report(tmp_path).read_text(encoding="utf-8")
    without = write_report(tmp_path, {}).read_text(encoding="utf-8")
    assert "random candidates" not in without


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "must map names"),
        ({"a": 3}, "'a' must be a list"),
        ({"a": [[1, 2, 3, 4], [1, 2, "x", 3]]}, "'a', row 1"),
        ({"a": [[1, 2]]}, "'a', row 0"),
    ],
)
def test_baselines_that_are_none(tmp_path, content, message):
    (tmp_path / "baselines.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=re.escape(message)):
        read_baselines(tmp_path)


def test_absurd_values_do_not_squeeze_the_others():
    import plotly.graph_objects as go

    values = np.append(np.linspace(0, 1, 200), 1e6)
    low, high = zoom_to(go.Figure(), values, 2.0, np.inf)
    assert -0.5 < low < 0.01
    assert 2.0 < high < 3.0
    assert zoom_to(go.Figure(), np.array([np.nan])) is None


def test_the_figures_are_valid_json_in_the_page(tmp_path):
    page = page_of(small(tmp_path, [0.4, 0.3]))
    figures = re.findall(r'class="cell"[^>]*data-figure="([^"]+)"', page)
    assert len(figures) == 2
    assert json.loads(unescape(figures[0]))["data"][0]["type"] == "scatter3d"
