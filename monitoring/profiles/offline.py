"""whylogs' report pages, made to open without a network.

The pages ask four content networks for jquery, d3, bootstrap, handlebars and a font. The first three come with the
whylogs package; its copy of handlebars does not parse, so that one is in ``vendor`` beside its licence. All are put
into the page, the font left out, and a content security policy keeps the page from asking anybody for anything.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'"
_LINK = re.compile(r"<link\b[^>]*>")
_SCRIPT = re.compile(r"<script\b[^>]*\bsrc\s*=\s*\"([^\"]*)\"[^>]*>\s*</script>")
_PACKAGE = files("whylogs.viz").joinpath("html")
_STYLES = _PACKAGE.joinpath("css", "bootstrap.min.css")
_LIBRARIES = {
    "handlebars": Path(__file__).parent / "vendor" / "handlebars-4.7.8.min.js",
    "jquery": _PACKAGE.joinpath("js", "jquery-3.6.0.min.js"),
    "d3": _PACKAGE.joinpath("js", "d3.min.js"),
}
_NAMESPACE = re.compile(r"(https?)://(?!www\.w3\.org/)")


def offline(page: str) -> str:
    """Return a page of whylogs with all that it needs inside.

    Raises
    ------
    ValueError
        If it asks for a script that is not known.
    """
    styles = f"<style>{_as_text(_STYLES.read_text(encoding='utf-8'))}</style>"
    head = f'<head>\n<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    page = _LINK.sub("", page).replace("<head>", f"{head}\n{styles}", 1)
    return _SCRIPT.sub(lambda found: f"<script>{_as_text(_library(found[1]))}</script>", page)


def _library(address: str) -> str:
    for name, file in _LIBRARIES.items():
        if name in address:
            return file.read_text(encoding="utf-8")
    raise ValueError(f"whylogs' page asks for {address}, which is not known here")


def _as_text(library: str) -> str:
    """Return a library whose addresses, in its licence and its messages, are only read by people."""
    return _NAMESPACE.sub(r"\1 ", library)
