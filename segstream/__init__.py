"""segstream: real-time semantic segmentation of video that spends its computation where the picture is complex.

`segstream.Segmenter()(image)` segments one uint8 [H, W, 3] RGB image; `segstream.stream` and `segstream.record` take
whole videos.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Frame", "Result", "Segmenter", "SegstreamError", "__version__", "record", "stream"]

# In a checkout kernels/, training/ and ui/ stand beside this folder; installed, they are inside it.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "pyproject.toml").is_file() and (_checkout / "kernels").is_dir():
    __path__.append(str(_checkout))

if TYPE_CHECKING:
    from segstream.errors import SegstreamError
    from segstream.frames import Frame, Result
    from segstream.pipeline import record, stream
    from segstream.segmenter import Segmenter

# Loaded on first use, so that `import segstream` needs neither PyAV nor torch nor Qt.
_LAZY = {
    "Frame": "segstream.frames",
    "Result": "segstream.frames",
    "Segmenter": "segstream.segmenter",
    "SegstreamError": "segstream.errors",
    "record": "segstream.pipeline",
    "stream": "segstream.pipeline",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'segstream' has no attribute {name!r}")
