from .data import assert_dataset
from .networks import assert_conditioner, assert_denoiser
from .processes import assert_process

__all__ = ["assert_conditioner", "assert_dataset", "assert_denoiser", "assert_process"]
