"""Networks: the crystal Transformer and its conditioners."""

from pyg_crysdiff.nn.conditioners import CDI, CDS, AdaCDI, AdaCDS, AdaLN
from pyg_crysdiff.nn.conditioning import ConditionEmbedding, Conditioner
from pyg_crysdiff.nn.denoiser import CachingDenoiser, Denoiser
from pyg_crysdiff.nn.layout import PairLayout
from pyg_crysdiff.nn.transformer import CrystalTransformer

__all__ = [
    "CDI",
    "CDS",
    "AdaCDI",
    "AdaCDS",
    "AdaLN",
    "CachingDenoiser",
    "ConditionEmbedding",
    "Conditioner",
    "CrystalTransformer",
    "Denoiser",
    "PairLayout",
]
