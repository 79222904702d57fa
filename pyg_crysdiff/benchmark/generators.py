"""The generators of a benchmark run: trained here, or read from checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pyg_crysdiff.benchmark.names import file_stem
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.splits import Splits
from pyg_crysdiff.models import LoadedModel, load_checkpoint
from pyg_crysdiff.training import train


def generators(
    settings: Settings, data: Splits, say: Callable[[str], None], progress: bool
) -> Iterator[tuple[str, LoadedModel, dict[str, Any]]]:
    """Yield name, model and facts of its training, one after the other.

    What an earlier run with the same settings has trained is not trained again.
    """
    for name in settings.models:
        say(f"{name}: training, at most {settings.budget_minutes:g} min")
        folder = settings.out / "models" / file_stem(name)
        config = settings.training_config(name)
        result = train(config, folder, data=(data.train, data.val), progress=progress)
        facts = {
            "training_seconds": round(result.seconds, 1),
            "epochs": result.epochs,
            "num_parameters": result.num_parameters,
        }
        yield name, load_checkpoint(result.checkpoint), facts
    for name, path in settings.checkpoints:
        model = load_checkpoint(path)
        kept = ("training_seconds", "epochs", "num_parameters")
        facts = {key: model.card[key] for key in kept if key in model.card}
        yield name, model, {"checkpoint_file": str(path), **facts}
