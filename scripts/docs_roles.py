"""MkDocs hook: the reStructuredText roles and formulas of docstrings in Markdown pages."""

import re
from typing import Any

_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):(?=<code|<a)")
_INLINE = re.compile(r":math:<code>(.*?)</code>", re.DOTALL)
_BLOCK = re.compile(r"<p>\.\. math::\s*(.*?)</p>(?:\s*<pre><code>(.*?)</code></pre>)?", re.DOTALL)


def on_page_content(html: str, **_: Any) -> str:
    r"""Drop role names; turn formulas into \( \) and \[ \], which MathJax renders."""
    html = _ROLE.sub("", html)
    html = _INLINE.sub(lambda m: rf"\({m.group(1)}\)", html)
    return _BLOCK.sub(lambda m: rf"\[{m.group(1)} {m.group(2) or ''}\]", html)
