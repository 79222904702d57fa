"""Run the functions of a checkout of LeMat-GenBench; started by ``genbench.py``.

    python benchmarks/checks/genbench_original.py CHECKOUT FOLDER

Reads FOLDER/given.json (structures, reference, embeddings), writes FOLDER/found.json. The package
is imported without its ``__init__``, which loads potentials and data sets that are not needed.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import pickle
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np

warnings.simplefilter("ignore")


def install(checkout: Path) -> None:
    """Make ``lemat_genbench`` importable without running the files that load everything."""
    for name in ("lemat_genbench", "lemat_genbench.preprocess"):
        package = types.ModuleType(name)
        package.__path__ = [str(checkout / "src" / name.replace(".", "/"))]
        sys.modules[name] = package
    os.chdir(checkout)


def metrics_module(name: str) -> Any:
    """Return a module of the original's metrics."""
    return importlib.import_module(f"lemat_genbench.metrics.{name}")


def structures(rows: list[Any]) -> list[Any]:
    """Build pymatgen structures."""
    from pymatgen.core import Lattice, Structure  # noqa: PLC0415

    return [Structure(Lattice(cell), numbers, frac) for cell, numbers, frac in rows]


def verdicts(crystals: list[Any]) -> dict[str, list[bool | None]]:
    """Verdicts of the four checks; None where the original stops with an error."""
    validity = metrics_module("validity_metrics")

    def flags(metric: Any, valid: Any) -> list[bool | None]:
        values = metric.compute([c.copy() for c in crystals]).individual_values
        return [None if math.isnan(x) else bool(valid(x)) for x in values]

    return {
        "charge_neutral": flags(validity.ChargeNeutralityMetric(), lambda x: x <= 0.1),
        "min_distance_ok": flags(validity.MinimumInteratomicDistanceMetric(), lambda x: x == 1),
        "plausible": flags(validity.PhysicalPlausibilityMetric(), lambda x: x == 1),
        "genbench_valid": flags(validity.OverallValidityMetric(), lambda x: x == 1),
    }


def numbers(crystals: list[Any]) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Diversity and HHI: metrics by family, and HHI of each structure."""
    diversity, hhi = metrics_module("diversity_metric"), metrics_module("hhi_metrics")
    physical = diversity.PhysicalSizeComponentMetric()
    physical._init_reference_packing_factor_histogram()  # as its own benchmark does
    metrics = {
        "elements": diversity.ElementDiversityMetric(),
        "space_groups": diversity.SpaceGroupDiversityMetric(),
        "sizes": diversity.SiteNumberComponentMetric(),
        "physical": physical,
        "hhi_production": hhi.HHIProductionMetric(),
        "hhi_reserve": hhi.HHIReserveMetric(),
    }
    found = {name: metric.compute(crystals) for name, metric in metrics.items()}
    values = {k: found[k].individual_values for k in ("hhi_production", "hhi_reserve")}
    return {k: _plain(x.metrics) for k, x in found.items()}, values


def distances(crystals: list[Any], reference: list[Any], folder: Path) -> dict[str, Any]:
    """JSD and MMD against reference files that are made by the original's functions."""
    import pandas as pd  # noqa: PLC0415

    process = importlib.import_module("lemat_genbench.preprocess.distribution_preprocess")
    tools = importlib.import_module("lemat_genbench.utils.distribution_utils")
    module = metrics_module("distribution_metrics")
    described = process.DistributionPreprocessor.process_structure
    known = pd.DataFrame([described(c).properties["distribution_properties"] for c in reference])
    kinds = {"SpaceGroup": np.int64, "CrystalSystem": np.int64,
             "CompositionCounts": np.ndarray, "Composition": np.ndarray}  # fmt: skip
    shares = {k: tools.generate_probabilities(known, k, kind) for k, kind in kinds.items()}
    labels, values = folder / "labels.json", folder / "values.pkl"
    labels.write_text(json.dumps({k: _plain(x) for k, x in shares.items()}), encoding="utf-8")
    names = ("Volume", "Density(g/cm^3)", "Density(atoms/A^3)")
    values.write_bytes(pickle.dumps({k: known[k].to_numpy() for k in names}))
    given = [described(c) for c in crystals]
    jsd = module.JSDistance(reference_distributions_file=str(labels)).compute(given)
    mmd = module.MMD(reference_values_file=str(values)).compute(given)
    return {"jsd": _plain(jsd.metrics), "mmd": _plain(mmd.metrics)}


def frechet(pairs: dict[str, Any]) -> dict[str, float]:
    """Fréchet distance of embeddings."""
    tools = importlib.import_module("lemat_genbench.utils.distribution_utils")
    out = {}
    for name, (generated, reference) in pairs.items():
        known = np.array(reference)
        mean, covariance = known.mean(0), np.cov(known, rowvar=False)
        rows = list(np.array(generated))
        out[name] = float(tools.compute_frechetdist_with_cache(mean, covariance, rows))
    return out


def _plain(values: dict[str, Any]) -> dict[str, float]:
    return {k: float(x) for k, x in values.items() if np.ndim(x) == 0}


def main() -> None:
    """Compute everything that ``genbench.py`` compares."""
    checkout, folder = Path(sys.argv[1]), Path(sys.argv[2])
    given = json.loads((folder / "given.json").read_text())
    install(checkout)
    crystals, reference = structures(given["samples"]), structures(given["reference"])
    found, values = numbers(crystals)
    found |= distances([c.copy() for c in crystals], reference, folder)
    result = {
        "verdicts": verdicts(crystals),
        "values": values,
        "numbers": found,
        "frechet": frechet(given["embeddings"]),
    }
    (folder / "found.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
