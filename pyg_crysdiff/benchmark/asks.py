"""What a model is asked for in a benchmark: one row of the table each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pyg_crysdiff.benchmark.settings import REQUEST, Settings
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.sampling.request import Target

UNCONDITIONAL = "unconditional"
PAPER = "paper's sampler"


@dataclass(frozen=True)
class Ask:
    """One row of a model.

    Attributes:
        ending: What the name of the row adds to the model's; empty for the plain request.
        request: The request in words, such as ``min:5``; None for none.
        target: What the sampler is given, as in :func:`pyg_crysdiff.sampling.sample`.
        settings: Settings of the run, with what is another in this row.
    """

    ending: str
    request: str | None
    target: Target
    settings: Settings

    def name(self, label: str) -> str:
        """Return the name of the row of a model."""
        return f"{label}, {self.ending}" if self.ending else label


def asks(
    settings: Settings, property_name: str, target: float, presets: Mapping[str, Sampler]
) -> list[Ask]:
    """Return the rows of a model: requests, the paper's sampler and no condition where wanted.

    Args:
        settings: Settings of the run.
        property_name: Property that is optimised.
        target: Its wanted value: the training minimum, if ``settings.target`` is None.
        presets: Samplers of the model's family by name.
    """
    value: Target = {property_name: target}
    if settings.target is not None:
        plain = Ask("", f"{property_name}={target:g}", value, settings)
        out = [plain]
    else:
        plain = Ask("", "min", value, settings)
        out = [
            plain if text == "min" else Ask(_ending(text), text, text, settings)
            for text in settings.requests
        ]
    if settings.paper_row:
        paper = Sampler.preset("paper", presets)
        bare = replace(
            settings, sampler=paper, structrepdiff_sampler=paper, guidance=1.0,
            charge_neutral=False, num_elements=None,
        )  # fmt: skip
        out.append(replace(plain, ending=PAPER, settings=bare))
    many = settings.num_unconditional
    if many == 0:
        return out
    free = settings if many is None else replace(settings, num_samples=many)
    return [*out, Ask(UNCONDITIONAL, None, None, free)]


def bounds(settings: Settings, count: int) -> dict[str, Any]:
    """Return how many crystals of a row are compared, as fields of a protocol; all by default.

    A row of more than ``settings.num_samples`` crystals is there for coverage. Comparing all its
    crystals with each other and with the training set would take long.
    """
    most = settings.num_samples
    if count <= most:
        return {}
    return {"uniqueness_of": most, "novelty_of": min(most, settings.novelty_of or most)}


def _ending(request: str) -> str:
    """Return what a row is called: of ``min:5`` it is ``lowest 5 %``."""
    found = REQUEST.fullmatch(request)
    assert found is not None  # the settings were checked
    end, percent = found.groups()
    if percent is None:
        return "maximum"
    return f"{'lowest' if end == 'min' else 'highest'} {percent} %"
