"""Keeping files: written whole or not at all, read with a clear error, one writer per folder.

Everything that this package leaves on disk goes through this room, so that a kill, a full disk or a
second process never leaves half a file behind.

- ``writing``: files that appear whole or not at all, and files that grow.
- ``reading``: JSON and arrays, with the name of the file in every error.
- ``lines``: files that grow by a line per result.
- ``keeping``: results that are made once, and folders that belong to one run.
- ``digests``: whether files or settings are still the same.
- ``locks``: one writer per folder.
- ``sqlite``: what SQLite files share.
- ``names``: names of files.
"""

from pyg_crysdiff.storage.digests import content_digest, digest_of, facts_digest, file_digest
from pyg_crysdiff.storage.keeping import (
    check_same,
    differences,
    in_words,
    kept,
    read_keyed,
    whole,
)
from pyg_crysdiff.storage.lines import JsonLines, whole_lines
from pyg_crysdiff.storage.locks import only_writer
from pyg_crysdiff.storage.names import file_name, user_path
from pyg_crysdiff.storage.reading import load_arrays, read_json, read_record
from pyg_crysdiff.storage.writing import (
    append_text,
    replacing,
    write_from,
    write_json,
    write_text,
)

__all__ = [
    "JsonLines",
    "append_text",
    "check_same",
    "content_digest",
    "differences",
    "digest_of",
    "facts_digest",
    "file_digest",
    "file_name",
    "in_words",
    "kept",
    "load_arrays",
    "only_writer",
    "read_json",
    "read_keyed",
    "read_record",
    "replacing",
    "user_path",
    "whole",
    "whole_lines",
    "write_from",
    "write_json",
    "write_text",
]
