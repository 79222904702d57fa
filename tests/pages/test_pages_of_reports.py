"""Pages as single files: their frame, tables, links and crystals in 3D."""

import base64
import json
import re
from html import unescape

import numpy as np
import plotly.graph_objects as go

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.pages import data_link, html_page, plot, structure_on_demand, table
from pyg_crysdiff.pages.structures import ON_DEMAND, structure_figure, with_images

CUBE = Crystal(4 * np.eye(3), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), np.array([55, 17]))


def test_a_page_holds_all_that_it_needs():
    page = html_page("a <b> & c", ["<p>text</p>"], style=".x {}", script=ON_DEMAND)
    assert "<title>a &lt;b&gt; &amp; c</title>" in page
    assert page.index("Plotly") < page.index("<p>text</p>") < page.index("IntersectionObserver")
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=", page)
    assert "</script><script" not in html_page("a", []).split("<body>")[1]


def test_a_table():
    found = table(["name <1>", "number"], [["<b>a</b>", "1"]], text=(0,))
    assert "<th>name &lt;1&gt;</th>" in found
    assert '<tr><td><b>a</b></td><td class="num">1</td></tr>' in found


def test_a_file_comes_back_from_its_link():
    link = data_link('a "text"\n', 'x".cif', "<CIF>", "chemical/x-cif")
    name, data = re.findall(r'download="([^"]*)" href="data:chemical/x-cif;base64,([^"]*)"', link)[
        0
    ]
    assert unescape(name) == 'x".cif'
    assert base64.b64decode(data) == b'a "text"\n'
    assert link.endswith(">&lt;CIF&gt;</a>")


def test_a_plot_without_the_library_in_it():
    text = plot(go.Figure(go.Scatter(x=[1], y=[2])), 200)
    assert text.startswith("<figure>")
    assert len(text) < 20_000


def test_atoms_on_the_border_have_their_images():
    frac, numbers = with_images(CUBE)
    assert sorted(numbers.tolist()) == [17] + 8 * [55]
    corners = frac[numbers == 55]
    assert sorted(map(tuple, corners.tolist())) == [
        (x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)
    ]


def test_a_figure_on_demand_is_the_figure():
    data = re.findall(r'data-figure="([^"]+)"', structure_on_demand(CUBE, 250))[0]
    figure = json.loads(unescape(data))
    assert [trace.get("name") for trace in figure["data"]] == [None, "Cl", "Cs"]
    assert figure["layout"]["height"] == 250
    assert "Cs" in structure_figure(CUBE)
