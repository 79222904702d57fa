"""What every metric means, in words that go into the result file."""

from __future__ import annotations

from pyg_crysdiff.evaluation.genbench.definitions import GENBENCH
from pyg_crysdiff.evaluation.sun_definitions import SUN

_CDVAE = "compute_metrics.py of CDVAE (arXiv 2110.06197)"
VALID_STRUCTURE = (
    "Share of all entries that are structurally valid (and have fingerprints, where coverage was"
    " asked for). Their compositions were not asked: validity was set to 'structure'. All rates of"
    " valid crystals count these."
)

DEFINITIONS = {
    "struct_valid": "Share of all entries that are structurally valid: readable, volume >= 0.1 A^3,"
    f" no two different atoms closer than 0.5 A. Source: {_CDVAE}.",
    "comp_valid": "Share of all entries with plausible composition: one element, or metals only, or"
    " some choice of oxidation states (smact 2.x lists) that is charge neutral and passes the"
    f" Pauling test. Source: {_CDVAE}, profile cdvae.",
    "comp_valid_smact4": "The same judged by smact.screening.smact_validity of smact 4.",
    "valid": "Share of all entries that are structurally and compositionally valid and have"
    f" fingerprints. Source: {_CDVAE}.",
    "uniqueness": "Share of valid crystals that match none before them: pymatgen StructureMatcher,"
    " ltol 0.2, stol 0.3, angle 5 degrees, primitive cells, volumes scaled.",
    "novelty": "Share of valid crystals that are new against the training part: they match no"
    " crystal of it (same matcher as uniqueness). They may lie in another part of the data set.",
    "novelty_known": "Share of valid crystals that match no known crystal of any part of the data"
    " set, training, validation and test.",
    "novelty_database": "Share of valid crystals that match no crystal of the database of known"
    " crystals (same matcher as uniqueness); the settings of the results name the database.",
    "uniqueness_prototype": "Share of valid crystals that are the first of their prototype among"
    " the samples: pymatgen StructureMatcher.fit_anonymous with the tolerances of uniqueness, which"
    " exchanges the elements as it likes.",
    "novelty_prototype": "Share of valid crystals whose prototype (see uniqueness_prototype) no"
    " crystal of the database of known crystals has, or of the training part where there is no"
    " database.",
    "density_emd": "1D Wasserstein distance (g/cm^3) of the mass density between all valid crystals"
    f" and all reference crystals. Source: {_CDVAE}, without its unseeded draw of 1,000.",
    "num_elements_emd": "1D Wasserstein distance of the number of different elements between all"
    f" valid crystals and all reference crystals. Source: {_CDVAE}.",
    "design_hits": "Number of different hits: evaluated crystals that meet all objectives, known"
    " ones not counted. Mean of the seeds; the ends are the least and the greatest seed.",
    "property_emd": "1D Wasserstein distance of the predicted property between all valid crystals"
    " and the same evaluator's predictions on the reference crystals.",
    "cov_recall": "Share of reference crystals whose nearest generated structure fingerprint and,"
    " separately, nearest composition fingerprint lie within the cut-offs; the two need not come"
    f" from one crystal. Source: {_CDVAE}, as published code counts it.",
    "cov_precision": "The same from the side of the generated crystals; entries without fingerprint"
    f" count as failures. Source: {_CDVAE}.",
    "cov_recall_joint": "Share of reference crystals with ONE generated crystal within both"
    " cut-offs, as the papers define coverage.",
    "cov_precision_joint": "Share of generated crystals with ONE reference crystal within both"
    " cut-offs.",
    "amsd_recall": "Mean distance of reference crystals to the nearest generated structure"
    f" fingerprint. Source: {_CDVAE}.",
    "amsd_precision": "Mean distance of generated crystals to the nearest reference structure"
    f" fingerprint. Source: {_CDVAE}.",
    "amcd_recall": "Mean distance of reference crystals to the nearest generated composition"
    f" fingerprint. Source: {_CDVAE}.",
    "amcd_precision": "Mean distance of generated crystals to the nearest reference composition"
    f" fingerprint. Source: {_CDVAE}.",
    "match_rate": "Share of ALL reference crystals that the prediction of the same index matches"
    " and that is structurally and compositionally valid: StructureMatcher, stol 0.5, ltol 0.3,"
    f" angle 10 degrees. Papers that give two rates call it 'valid'. Source: {_CDVAE}.",
    "match_rate_struct": "As match_rate, of predictions that are structurally valid; SMACT is not"
    " asked, which refuses many real intermetallic crystals. Papers that give two rates call theirs"
    " without any check 'all': it differs by predictions with atoms closer than 0.5 A alone.",
    "rmse_struct": "Mean normalised RMS displacement over the matches of match_rate_struct.",
    "match_rate_any": "Share of compositions of which any candidate matches the true crystal (same"
    " matcher and validity as match_rate).",
    "match_rate_any_struct": "As match_rate_any, without asking SMACT.",
    "rmse_any": "Mean over the matches of match_rate_any of the smallest normalised RMS"
    " displacement.",
    "rmse_any_struct": "The same over the matches of match_rate_any_struct.",
    "rmse": f"Mean normalised RMS displacement over the matches. Source: {_CDVAE}.",
    "metre": "Share of reference crystals that ANY valid prediction matches (same matcher as"
    " match_rate). Source: Martirossyan et al., arXiv 2509.12178.",
    "crmse": "Mean over ALL reference crystals of the smallest RMS displacement to any valid"
    " prediction, 0.5 (stol) where none matches. Source: arXiv 2509.12178.",
    "metre_struct": "As metre, of predictions that are structurally valid. In structure prediction"
    " the predictions are the first candidates of all rows: as many of each composition as there"
    " are reference crystals of it, which is the published protocol.",
    "crmse_struct": "As crmse, over the predictions of metre_struct.",
    "metre_any_struct": "As metre_struct, of all candidates of all compositions.",
    "crmse_any_struct": "As crmse, over the predictions of metre_any_struct.",
    "p1_share": "Share of valid crystals without any symmetry (space group 1, spglib, symprec 0.1"
    " A).",
    "spacegroup_tv": "Total-variation distance (0 to 1) between the space groups of valid and of"
    " reference crystals (spglib, symprec 0.1 A).",
    "uniqueness_amd": "Share of valid crystals farther than 0.1 A from every earlier one of the"
    " same reduced formula, in Chebyshev distance of the AMD (k = 100): continuous, unlike the"
    " matcher. Source: Widdowson et al., MATCH 87, 529 (2022).",
    "novelty_amd": "Share of valid crystals farther than 0.1 A from every training crystal of the"
    " same reduced formula, in Chebyshev distance of the AMD (k = 100).",
    "density_emd_1000": "density_emd of 1,000 valid crystals drawn without replacement with the"
    f" seed of the run (all, if there are fewer). Source: {_CDVAE}, which draws without a seed.",
    "num_elements_emd_1000": "num_elements_emd of the same draw.",
    "relaxed_energy": "Mean energy (eV/atom) of valid crystals after relaxation of cell and"
    " positions by the judge that the results name, whatever the relaxation reached.",
    "relax_rms": "Mean root-mean-square distance (A) that atoms of valid crystals move in that"
    " relaxation: fractional differences times the mean of both cells, common shift removed.",
    "e_above_hull": "Mean energy above the convex hull (eV/atom) of relaxed crystals that have a"
    " hull: the one that the results name.",
    "hull_known": "Share of all entries that are valid and whose elements all have an elemental"
    " phase in the hull.",
    "stable": "Share of all entries that are valid and, after relaxation, at most stable_at"
    " (default 0.1 eV/atom) above the hull; an unknown hull counts as unstable.",
    "sun": "Share of all entries that are stable (as above), unique (first of their kind among"
    " the samples) and novel (not in the training set), the latter two as generated. The first of"
    " a kind alone can count: sun_at_hull and msun count a kind by its best member.",
    "target_mae": "Mean absolute difference between requested and predicted property over valid"
    " crystals.",
    "distinct_hits_predicted": "Number of different kinds of valid crystals (same matcher as"
    " uniqueness) of which at least one has a predicted property at or below the limit of SR5.",
    "new_hits_predicted": "Those of distinct_hits_predicted that match no crystal of the training"
    " set.",
    "lookup_matched": "Share of all entries that match a known crystal of the look-up (same matcher"
    " as uniqueness; the roles of the elements count). Structural validity is asked, SMACT is"
    " not.",
    "lookup_mae": "Mean absolute difference between the predicted property and the known value,"
    " over the entries that match a known crystal and have a prediction.",
    "distinct_hits": "Number of different known crystals among the samples whose known value is at"
    " or below the limit of SR5. No learned model takes part.",
    "new_hits": "Those of distinct_hits that are not in the training part of the look-up.",
    "held_out_found": "Of all known crystals of the look-up that are not in its training part and"
    " whose known value is at or below the limit of SR5, the share that the samples match.",
    **GENBENCH,
}

DEFINITIONS |= SUN
_JUDGED = ("relaxed_energy", "relax_rms", "e_above_hull")

for _p in (5, 10, 15):
    DEFINITIONS[f"lookup_sr{_p}_all"] = (
        "Share of ALL generated crystals that match a known crystal whose known value is at or"
        f" below the {_p} % point of the training set; what matches none is a failure."
    )
    _limit = f"a predicted property at or below the {_p} % point of the training set"
    DEFINITIONS[f"sr{_p}_all"] = (
        f"Share of ALL generated crystals that have {_limit}, valid or not; one without a"
        " prediction is a failure. Source: arXiv 2406.09263."
    )
    DEFINITIONS[f"sr{_p}_strict"] = (
        f"Share of ALL generated crystals that are valid and have {_limit}; invalid ones are"
        " failures."
    )
    DEFINITIONS[f"sr{_p}_unique"] = (
        f"sr{_p}_strict where every repetition of an earlier success is a failure (same matcher"
        " as uniqueness)."
    )
    DEFINITIONS[f"sr{_p}_best10"] = (
        f"Share of starts of which the best of ten candidates is valid and has {_limit}. The ten"
        " (eleven, where CDVAE's script runs with its defaults) lie along one optimisation and"
        f" stand candidate-major; ten independent draws are something else. Source: OptEval in"
        f" {_CDVAE}."
    )


def definition(key: str) -> str:
    """Return the definition of a metric key.

    Keys of the second family of coverage cut-offs end in ``@family``; those of a metric that is
    counted over the first samples end in their number, as in ``held_out_found@1000``; those of
    stability by one of several judges in its name, as in ``msun@chgnet``.

    Raises:
        KeyError: If there is no such metric.
    """
    name, _, suffix = key.partition("@")
    if name == "design_hits":
        return f"{DEFINITIONS[name]} Among the first {int(suffix):,} evaluations."
    if suffix.isdecimal():
        return f"{DEFINITIONS[name]} Among the first {int(suffix):,} samples."
    if name in SUN or name in _JUDGED:
        return DEFINITIONS[name] + (f" By the judge {suffix} alone." if suffix else "")
    return DEFINITIONS[name] + (f" Cut-offs of {suffix}." if suffix else "")
