from .conditioners import CDI, CDS, AdaCDI, AdaCDS, AdaLN
from .conditioning import ConditionEmbedding, Conditioner
from .denoiser import CachingDenoiser, Denoiser
from .layout import PairLayout
from .transformer import CrystalTransformer

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
