"""Families of models behind one protocol."""

import inspect
import subprocess
import sys

import pytest

from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.diffusion import Sampler
from pyg_crysdiff.models import Generator, build_model
from pyg_crysdiff.models.build import FAMILIES
from pyg_crysdiff.training import compose_config
from tests.helpers import small_config, toy_set

SMALL = ["family=structrepdiff", "unet.dim=16", "process.num_steps=20"]


@pytest.fixture(params=FAMILIES)
def model(request):
    configs = {"joint": small_config(), "structrepdiff": compose_config(SMALL)}
    return build_model(configs[request.param], DataStatistics.from_dataset(toy_set(12), ["energy"]))


def test_every_family_has_what_the_protocol_promises(model):
    assert isinstance(model, Generator)
    assert model.family in FAMILIES
    assert model.num_steps == 20
    assert model.properties == ("energy",)
    assert model.elements.tolist() == list(model.statistics.elements)
    for name in ("paper", "fast"):
        model.check_sampler(model.sampler(name))
    assert model.sampler().steps == 20  # fast, within T
    with pytest.raises(ValueError, match=r"steps must lie in 1\.\.20"):
        model.check_sampler(Sampler("ancestral", 21))
    own = inspect.signature(type(model).generate).parameters
    assert list(own) == list(inspect.signature(Generator.generate).parameters)


def test_the_joint_family_stands_without_the_other():
    code = (
        "import sys, pyg_crysdiff.sampling, pyg_crysdiff.training\n"
        "from pyg_crysdiff.models import load_checkpoint\n"
        "load_checkpoint('perov5-cds')\n"
        "assert not [name for name in sys.modules if 'structrepdiff' in name]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_moved_is_found_under_its_old_name():
    from pyg_crysdiff.diffusion import joint, kinds
    from pyg_crysdiff.models import build, build_process

    with pytest.warns(DeprecationWarning, match=r"Solver is pyg_crysdiff.diffusion.kinds.Solver"):
        assert joint.Solver is kinds.Solver

    with pytest.warns(DeprecationWarning, match="is pyg_crysdiff.models.joint.build_process"):
        assert build.build_process is build_process
