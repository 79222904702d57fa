"""Known crystals, from a data set, a file of one's own or a database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pyg_crysdiff.cli.samples import read_samples

if TYPE_CHECKING:
    from pyg_crysdiff.data import Crystal, CrystalDataset
    from pyg_crysdiff.known import Database


def known_parts(
    name: str, options: dict[str, Any]
) -> tuple[dict[str, list[Crystal]], CrystalDataset]:
    """Open all parts of a data set, or a file whose crystals carry the property.

    Args:
        name: What :func:`pyg_crysdiff.data.parts.open_parts` reads, as ``perov5`` or a file.
        options: Options of ``load_dataset`` for a data set with a name.

    Returns:
        Name of the part to its crystals; and one part as data set, which has the property's name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or has no numeric property.
    """
    from pyg_crysdiff.data.parts import open_parts  # noqa: PLC0415  (imports PyG)

    try:
        parts = open_parts(name, **options)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"--lookup: {error}") from error
    first = next(iter(parts.values()))
    if first.property_name is None:
        raise ValueError(f"--lookup {name}: its crystals carry no numeric property to look up")
    return {part: dataset.crystals() for part, dataset in parts.items()}, first


def known_crystals(name: str | None, options: dict[str, Any]) -> Sequence[Crystal] | Database:
    """Return the crystals that nothing new may be.

    Args:
        name: Name of a data set or a folder split by files (its train part, or ``:val``), a file
            or folder, or a database of known crystals; None for none.
        options: Options of ``load_dataset`` for a data set with a name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read.
    """
    from pyg_crysdiff.data import Crystal  # noqa: PLC0415
    from pyg_crysdiff.known import Database  # noqa: PLC0415
    from pyg_crysdiff.known.sources import is_database  # noqa: PLC0415

    if name is None:
        return []
    if is_database(name):
        return Database(name)
    from pyg_crysdiff.data.parts import open_part  # noqa: PLC0415  (imports PyG)

    if (part := open_part(name, "train", **options)) is not None:
        return part.crystals()
    return [c for c in read_samples(name) if isinstance(c, Crystal)]
