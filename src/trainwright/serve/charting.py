"""The charting library that pages draw with where JavaScript is on: Plotly's own file, out of its installed package.

Nothing is fetched from elsewhere and nothing is built: the package `plotly` carries the file. Its address holds its version, so
that a browser may keep it for good. Where the package is missing, pages have no address to load, and the charts that the server
drew stay.
"""

import gzip
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import FileResponse

FOREVER = "public, max-age=31536000, immutable"
_STYLE_ID = re.compile(rb'if\(!document\.getElementById\("([0-9a-f]{64})"\)\)')
SCRIPT_TYPE = "text/javascript; charset=utf-8"


@cache
def find_library() -> Path | None:
    """The library's file; None where its package is not installed. The package itself is not imported."""
    spec = find_spec("plotly")
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    paths = (Path(folder) / "package_data" / "plotly.min.js" for folder in folders)
    return next((path for path in paths if path.is_file()), None)


@cache
def name_library() -> str | None:
    """What the library is called below /static/, with its version; None where there is none."""
    try:
        return None if find_library() is None else f"plotly-{version('plotly')}.min.js"
    except PackageNotFoundError:  # a folder that somebody put there: of which version, nobody can say
        return None


@cache
def list_style_ids() -> tuple[str, ...]:
    """Ids of style elements that the library makes when it is loaded, unless the page has an element of that id already.

    They are for maps, which we do not draw, and our pages allow no style that is not in a sheet: charts.js puts an empty
    element in their place.
    """
    path = find_library()
    return () if path is None else tuple(sorted({found.decode() for found in _STYLE_ID.findall(path.read_bytes())}))


def send_library(request: Request) -> Response:
    """The file, to be kept for good; compressed once, for browsers that take that."""
    path = find_library()
    assert path is not None, "asked for by the name that `name_library` gave"
    headers = {"Cache-Control": FOREVER, "X-Content-Type-Options": "nosniff", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        compressed = _compress(path)
        return Response(compressed, media_type=SCRIPT_TYPE, headers={**headers, "Content-Encoding": "gzip"})
    return FileResponse(path, media_type=SCRIPT_TYPE, headers=headers)


@cache
def _compress(path: Path) -> bytes:
    return gzip.compress(path.read_bytes(), compresslevel=6, mtime=0)
