"""What the metrics of stability mean, in words that go into the result file."""

from __future__ import annotations

_ALL = "Share of ALL generated crystals, broken and invalid ones included,"
_COUNTED = (
    " Each kind of crystals (same matcher as uniqueness, crystals as generated) counts once, where"
    " one of its members is novel and so stable; an unknown hull or a failed relaxation counts as"
    " unstable. Novel: not in the database of known crystals where one is given, else not in the"
    " training set."
)
_AFTER = (
    " Energies are those after relaxation by the judge that the results name, against its own hull;"
    " of several judges the mean, if at least two answer."
)
_BEFORE = (
    " Energies are single points of the crystals as submitted, against the same hull as after"
    " relaxation."
)
_NEAR = "within 0.1 eV/atom of the convex hull, those on it included"
_TARGET = (
    " On target: the predicted property of the generated crystal lies in the stated interval or,"
    " without one, at or below the limit of SR5."
)
_LEVELS = {
    "stable_at_hull": f"{_ALL} that are valid and at or below the convex hull.",
    "metastable": f"{_ALL} that are valid and {_NEAR}.",
    "sun_at_hull": "S.U.N.: number of distinct kinds of crystals that are valid, at or below the"
    " convex hull and novel, as a share of ALL generated crystals." + _COUNTED,
    "msun": f"MSUN: the same as sun_at_hull for crystals {_NEAR}. (LeMat-GenBench, arXiv"
    " 2512.04562, counts in MSUN only those above the hull: this rate is its SUN and MSUN"
    " together.)" + _COUNTED,
}  # fmt: skip
SUN = {
    **{key: text + _AFTER for key, text in _LEVELS.items()},
    **{f"{key}_submitted": text + _BEFORE for key, text in _LEVELS.items()},
    "unique_of_all": "Number of distinct kinds of valid crystals as a share of ALL generated"
    " crystals (same matcher as uniqueness).",
    "novel_of_all": f"{_ALL} that are valid and match no known crystal (the database where one is"
    " given, else the training set).",
    "sun_at_hull_relaxed": "As sun_at_hull, with kinds and novelty of the RELAXED crystals: what"
    " relaxes into a known crystal is not new.",
    "msun_relaxed": "As msun, with kinds and novelty of the RELAXED crystals.",
    "relax_failed": "Share of the valid crystals whose relaxation failed.",
    "relax_converged": "Share of the valid crystals whose relaxation converged in forces and"
    " stress.",
    "relax_rms_median": "Median over the relaxed crystals of the root-mean-square distance (A) that"
    " their atoms moved.",
    "moved_far": "Share of the relaxed crystals whose atoms moved more than 1 A (root mean square):"
    " they became another crystal.",
    "volume_change": "Mean over the relaxed crystals of the absolute change of volume, as a share"
    " of the volume before.",
    "hull_unknown": "Share of the valid crystals that have an energy and no hull: an element has no"
    " phase in the hull file (or, of several judges, fewer than two know a hull).",
    "judges_differ": "Mean over the crystals with at least two judges of the largest less the"
    " smallest energy above the hull (eV/atom), each against its own hull.",
    "far_below_hull": f"{_ALL} that lie more than 0.1 eV/atom BELOW the hull. The hull lacks phases"
    " in their systems, or the judge is wrong there.",
    **{
        f"{key}_plausible": f"As {key}, without crystals that lie more than 0.1 eV/atom below the"
        " hull (far_below_hull)."
        for key in ("sun_at_hull", "msun", "sun_at_hull_on_target", "msun_on_target")
    },
    "on_target": f"{_ALL} that are valid and on target." + _TARGET,
    **{
        f"{key}_on_target": f"As {key}, of crystals that are on target at the same time." + _TARGET
        for key in ("sun_at_hull", "msun")
    },
    **{
        f"{key}_on_target_per_relaxation": f"Number of crystals that count for {key}_on_target, by"
        " the number of relaxations that were done for them: one for each valid crystal." + _TARGET
        for key in ("sun_at_hull", "msun")
    },
}  # fmt: skip
