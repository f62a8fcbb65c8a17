"""Sources: everything a `Frame` can come from. `open_source` takes what a user types and finds the right one."""

from segstream.sources.base import Source, SourceInfo, SourceOptions, SourceWarnings
from segstream.sources.cameras import Camera, list_cameras
from segstream.sources.names import redact
from segstream.sources.spec import open_source

__all__ = [
    "Camera",
    "Source",
    "SourceInfo",
    "SourceOptions",
    "SourceWarnings",
    "list_cameras",
    "open_source",
    "redact",
]
