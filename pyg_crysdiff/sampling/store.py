"""Samples on disk: written batch by batch, resumable, in one order in every format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.io import crystal_to_cif, save_cdvae, write_extxyz


class SampleStore:
    """A folder with the samples of one request.

    ``samples.extxyz`` (with provenance per structure), ``cif/00000.cif`` and so on, and the
    CDVAE-type ``samples.pt`` are brought up to date after every batch. ``parts/`` holds the
    exact double-precision arrays of each batch, from which an interrupted run goes on.

    Args:
        folder: Output folder.
        request: Everything that decides what is generated; JSON-able.

    Raises:
        ValueError: If the folder holds samples of another request.
    """

    def __init__(self, folder: str | Path, request: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self._parts = self.folder / "parts"
        self._parts.mkdir(parents=True, exist_ok=True)
        path = self.folder / "request.json"
        now = json.loads(json.dumps(request))
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            different = sorted(k for k in {*now, *before} if now.get(k) != before.get(k))
            if different:
                raise ValueError(
                    f"{self.folder} holds samples of another request (different: {different}); "
                    "choose another output folder or delete this one"
                )
        else:
            path.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")

    @staticmethod
    def batches(folder: str | Path, num_samples: int) -> list[int] | None:
        """Return the batch sizes of the samples in a folder, None where it holds none.

        A run that goes on, or another shard of it, cuts the samples as the first one did, also on
        a machine with another amount of memory.
        """
        try:
            text = (Path(folder) / "request.json").read_text(encoding="utf-8")
            lengths = [int(n) for n in json.loads(text)["batches"]]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return lengths if sum(lengths) == num_samples and min(lengths) > 0 else None

    def read(self, batch: int) -> list[Crystal] | None:
        """Return a finished batch, or None; a part damaged by a crash counts as not done."""
        path = self._part(batch)
        if not path.is_file():
            return None
        try:
            arrays = load_file(path)
            infos = json.loads(bytes(arrays["info"]).decode())
        except (SafetensorError, KeyError, ValueError, OSError):
            path.unlink()
            return None
        cuts = np.cumsum(arrays["num_atoms"])[:-1]
        return [
            Crystal(lattice, frac, numbers, info)
            for lattice, frac, numbers, info in zip(
                arrays["lattice"],
                np.split(arrays["frac_coords"], cuts),
                np.split(arrays["atomic_numbers"], cuts),
                infos,
                strict=True,
            )
        ]

    def write(self, batch: int, crystals: Sequence[Crystal]) -> None:
        """Keep a finished batch; the file appears whole or not at all."""
        path = self._part(batch)
        temporary = path.with_suffix(".tmp")
        infos = json.dumps([c.info for c in crystals]).encode()
        save_file(
            {
                "lattice": np.stack([c.lattice for c in crystals]),
                "frac_coords": np.concatenate([c.frac_coords for c in crystals]),
                "atomic_numbers": np.concatenate([c.atomic_numbers for c in crystals]),
                "num_atoms": np.array([len(c) for c in crystals]),
                "info": np.frombuffer(infos, dtype=np.uint8),
            },
            temporary,
        )
        temporary.replace(path)

    def export(self, crystals: Sequence[Crystal], first: int) -> None:
        """Bring the files for people up to date.

        Args:
            crystals: All crystals so far, in order.
            first: Index of the first crystal that the files may not have yet.
        """
        cifs = self.folder / "cif"
        cifs.mkdir(exist_ok=True)
        for index in range(first, len(crystals)):
            text = crystal_to_cif(crystals[index])
            (cifs / f"{index:05d}.cif").write_text(text, encoding="utf-8")
        write_extxyz(crystals[first:], self.folder / "samples.extxyz", append=first > 0)
        save_cdvae(crystals, self.folder / "samples.pt")

    def _part(self, batch: int) -> Path:
        return self._parts / f"{batch:05d}.safetensors"
