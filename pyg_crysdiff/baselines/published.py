"""Published numbers of other methods, from ``configs/published.yaml``."""

from __future__ import annotations

from pyg_crysdiff.configuration import load_table
from pyg_crysdiff.evaluation.results import Estimate, Row

_KEYS = {
    "optimisation": ("sr5_best10", "sr10_best10", "sr15_best10"),
    "reconstruction": ("match_rate", "rmse"),
    "generation": (
        "comp_valid", "struct_valid", "cov_recall", "cov_precision", "density_emd",
        "num_elements_emd",
    ),
}  # fmt: skip


def published_rows(dataset: str, task: str) -> list[Row]:
    """Return the published rows of a data set, each with its source.

    Args:
        dataset: Name in the registry of data sets; others have no published rows.
        task: ``optimisation``, ``reconstruction`` or ``generation``.

    Raises:
        ValueError: If there is no such task.
    """
    if task not in _KEYS:
        raise ValueError(f"task must be one of {sorted(_KEYS)}, got {task!r}")
    table = load_table("published.yaml")
    rows = []
    for entry in table[task]:
        if dataset not in entry:
            continue
        values = zip(_KEYS[task], entry[dataset], strict=True)
        metrics = {key: Estimate(float(v)) for key, v in values if v is not None}
        rows.append(Row(entry["method"], "published", table["sources"][entry["source"]], metrics))
    return rows
