"""What GenBench's metrics mean, in words that go into the result file."""

from __future__ import annotations

_GENBENCH = "LeMat-GenBench (arXiv 2512.04562)"
_CHOSEN = "Of the crystals that pass GenBench's three checks."

_NEUTRAL = (
    "Share of all entries that can be charge neutral: a metal by smact's metallicity score (above"
    " 0.7), or bond valences that are all zero, or valences by pymatgen's BVAnalyzer, or"
    " oxidation states that add up to zero and differ by at most one within an element."
)

GENBENCH = {
    "charge_neutral": f"{_NEUTRAL} Oxidation states: those of the given checkout. Source:"
    f" ChargeNeutralityMetric of {_GENBENCH}.",
    "charge_neutral_icsd": f"{_NEUTRAL} Oxidation states: those that pymatgen knows from the ICSD;"
    " fewer than those of LeMat-GenBench, so the share is a little lower than charge_neutral.",
    "min_distance_ok": "Share of all entries without two atoms closer than half of (0.7 A + their"
    f" atomic radii). Source: MinimumInteratomicDistanceMetric of {_GENBENCH}.",
    "plausible": "Share of all entries with 0.01 to 25 g/cm^3, at most 0.5 atoms/A^3, cell lengths"
    " of 1 to 100 A and a space group (spglib, 0.01 A). Source: PhysicalPlausibilityMetric of"
    f" {_GENBENCH}.",
    "genbench_valid": "Share of all entries that pass charge neutrality, minimum distance and"
    f" plausibility. Source: OverallValidityMetric of {_GENBENCH}.",
    "coverage_elements": f"Share of the 118 elements that occur. {_CHOSEN}",
    "coverage_space_groups": "Share of the 230 space groups that occur (spglib, 0.01 A)."
    f" {_CHOSEN}",
    "mean_symmetry": f"Mean number of the space group, divided by 230 (spglib, 0.01 A). {_CHOSEN}",
    "mean_num_atoms": f"Mean number of atoms per cell as generated. {_CHOSEN}",
    "entropy_physical": "Mean of the five entropies of density, cell lengths and packing factor"
    " (nats), divided by the binary logarithm of the number of crystals, as"
    f" PhysicalSizeComponentMetric of {_GENBENCH} does. {_CHOSEN}",
    "mean_box_volume": "Mean product of the three cell lengths, A^3; called mean volume in"
    f" {_GENBENCH}. {_CHOSEN}",
    "jsd_mean": "Mean of the four Jensen-Shannon distances.",
    "mmd_mean": "Mean of the three squared maximum mean discrepancies, whatever their units.",
    "frechet_embeddings": "Squared Frechet distance between the embeddings that were given, taken"
    f" as Gaussians. Source: frechet_distance of {_GENBENCH}.",
    "uniqueness_bawl": "Number of different BAWL fingerprints, as a share of the crystals that have"
    f" one. Source: UniquenessMetric of {_GENBENCH}. {_CHOSEN}",
    "novelty_bawl": "Share of the crystals with a BAWL fingerprint that no training crystal has."
    f" Source: NoveltyMetric of {_GENBENCH}. {_CHOSEN}",
}

for _key, _what in (("production", "yearly production"), ("reserve", "known reserves")):
    GENBENCH[f"hhi_{_key}"] = (
        f"Mean concentration of the {_what} of the elements on countries (Herfindahl-Hirschman"
        " index, 0 to 10, weighted by atoms; 10 for an element without a value). Table: Gaultois"
        " et al., Chem. Mater. 25, 2911 (2013), rounded to 0.1, from pymatgen; that of the"
        f" checkout where one is given. Source: {_GENBENCH}. {_CHOSEN}"
    )

for _key, _what in (
    ("elements", "all atoms over the elements"),
    ("space_groups", "crystals over space groups (spglib, 0.01 A)"),
    ("sizes", "crystals over numbers of atoms per cell"),
):
    GENBENCH[f"entropy_{_key}"] = f"Shannon entropy of {_what}, nats. {_CHOSEN}"
    GENBENCH[f"vendi_{_key}"] = (
        f"Vendi score of {_what}: exponential of the entropy, the number of equally frequent kinds"
        f" of the same entropy. Source: compute_vendi_score_with_uncertainty of {_GENBENCH}."
        f" {_CHOSEN}"
    )

for _key, _what in (
    ("density", "mass density, bins of 0.5 g/cm^3"),
    ("length_a", "cell length a, bins of 0.5 A"),
    ("length_b", "cell length b, bins of 0.5 A"),
    ("length_c", "cell length c, bins of 0.5 A"),
    ("packing", "packing factor by covalent radii, bins of 0.05"),
):
    GENBENCH[f"entropy_{_key}"] = f"Shannon entropy of the {_what}, nats. {_CHOSEN}"
    GENBENCH[f"unevenness_{_key}"] = (
        f"Kullback-Leibler divergence of the {_what}, from equal shares of the bins that occur,"
        f" nats. Source: PhysicalSizeComponentMetric of {_GENBENCH}. {_CHOSEN}"
    )

for _key, _what in (
    ("space_group", "space groups (spglib, 0.01 A)"),
    ("crystal_system", "crystal systems"),
    ("atoms", "elements of all atoms"),
    ("elements", "elements, counted once per crystal"),
):
    GENBENCH[f"jsd_{_key}"] = (
        f"Jensen-Shannon distance (root of the divergence in nats, 0 to .833) of the {_what} to the"
        f" reference. Source: JSDistance of {_GENBENCH}. {_CHOSEN}"
    )

for _key, _what in (
    ("volume", "cell volume (A^3)"),
    ("density", "mass density (g/cm^3)"),
    ("atomic_density", "atoms per A^3"),
):
    GENBENCH[f"mmd_{_key}"] = (
        f"Squared maximum mean discrepancy of the {_what} to the reference: Gaussian kernel of"
        f" width 1 in this unit, biased estimate. Source: MMD of {_GENBENCH}. {_CHOSEN}"
    )

for _key, _what in (("structure", "CrystalNN"), ("composition", "Magpie")):
    GENBENCH[f"frechet_{_key}"] = (
        f"Squared Frechet distance of the {_what} fingerprints that COV uses to those of the"
        " reference, as Gaussians; needs coverage. LeMat-GenBench takes embeddings of potentials"
        f" instead. {_CHOSEN}"
    )
