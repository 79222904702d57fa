"""Names of columns and paths in Hydra's overrides: taken as they are, whatever signs they hold.

Hydra's grammar gives meaning to parentheses, colons, commas, ``$``, ``~`` and words such as ``1e3``
or ``true``, and knows no letters beyond ASCII outside of quotes. In an override whose value is
text, none of that is meant: ``data.properties=[E form (eV/atom)]`` names one column.
"""

from __future__ import annotations

import re

from hydra.core.override_parser.types import Quote, QuotedString

_TEXTS = {
    "data.name", "data.cif_column", "data.root", "data.source", "data.folder", "data.path", "init",
    "focus.property",
}  # fmt: skip
_LISTS = {"properties", "data.properties"}
_OPENING, _CLOSING = "([{", ")]}"
# Signs that open an interpolation for Hydra, where no user of Hydra means one by it.
_LITERAL = re.compile(r"\$\{(?!oc\.[a-z_.]+:|hydra:|[a-z_]+(\.[a-z_]+)*\})")


def literal_override(override: str) -> str:
    """Put the value of a text override into quotes, where it does not stand in them.

    Text are the names of data, columns and files: ``data.name``, ``data.properties`` and the like.
    A list is written ``[one, two]``; an entry with a comma stands in quotes. ``null`` is no text,
    nor is an interpolation of Hydra's such as ``${oc.env:HOME}``. Other overrides are returned as
    they are.
    """
    key, equals, value = override.partition("=")
    name, value = key.strip().lstrip("+"), value.strip()
    if not equals or value in ("", "null") or name not in _TEXTS | _LISTS:
        return override
    if name in _LISTS and value.startswith("[") and value.endswith("]"):
        return f"{key}=[{','.join(_quoted(item) for item in _items(value[1:-1]))}]"
    return f"{key}={_quoted(value)}"


def _items(text: str) -> list[str]:
    """Cut at the commas outside of brackets and of quotes that begin an entry."""
    items, depth, quote = [""], 0, ""
    for previous, sign in zip(f"\0{text}", text, strict=False):
        if quote:
            quote = "" if sign == quote and previous != "\\" else quote
        elif sign in "'\"" and not items[-1].strip():
            quote = sign
        elif sign == "," and depth == 0:
            items.append("")
            continue
        else:
            depth = max(0, depth + (sign in _OPENING) - (sign in _CLOSING))
        items[-1] += sign
    whole = [item.strip() for item in items]
    return [] if whole == [""] else whole


def _quoted(text: str) -> str:
    """Return text for Hydra's grammar; what the user has put in quotes or escaped stays."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text
    plain = re.sub(r"\\([\\()\[\]{}:=, \t])", r"\1", text)
    return QuotedString(_LITERAL.sub(r"\${", plain), Quote.single).with_quotes()
