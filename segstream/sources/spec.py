"""From what a user types to the source that reads it."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote_to_bytes

from segstream.errors import SourceError, UsageError
from segstream.sources.base import Source, SourceOptions
from segstream.sources.names import printable

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif", ".avif", ".jp2"}
NETWORK_SCHEMES = {"rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "udp", "rtp", "srt", "tcp"}
_URL = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+)://")
Spec = str | int | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def open_source(spec: Spec, options: SourceOptions | None = None) -> Source:
    """Open a source.

    Args:
        spec: a video file, an image, a folder, a glob, a list of images, a camera (0, "0", "/dev/video0"), a URL
            (rtsp, http, hls, rtmp, udp, srt), "demo" or "demo:WIDTHxHEIGHT" (a drawn street), or "lavfi:GRAPH".
        options: see `SourceOptions`.

    Raises:
        SourceError: it is not there or cannot be read.
        UsageError: the spec means nothing.
    """
    options = options or SourceOptions()
    if isinstance(spec, bool) or spec is None:
        raise UsageError(f"{spec!r} is not a source; give a file, folder, camera, URL or demo")
    if isinstance(spec, int):
        return _camera(str(spec), options)
    if not isinstance(spec, (str, os.PathLike)):
        return _images([Path(entry) for entry in spec], f"list of {len(spec)} images", options)
    text = os.fspath(spec)
    if isinstance(spec, str):
        if not text:
            raise UsageError("the source is empty; give a file, folder, camera, URL or demo")
        if text == "demo" or text.startswith("demo:"):
            from segstream.sources.demo import DemoSource

            return DemoSource(text, options)
        if text.startswith("lavfi:"):
            return _lavfi(text.removeprefix("lavfi:"), options)
        if text.isdecimal() and not os.path.exists(text):
            return _camera(text, options)
        scheme = _URL.match(text)
        if scheme:
            return _url(text, scheme.group(1).lower(), options)
    return _path(text, options)


def local_path(spec: str) -> str:
    """The path that a file:// URL stands for, its escapes decoded (%20 is a blank); any other spec as it is.

    The names of files may hold bytes that are not UTF-8, and what looks like a query or a fragment is part of the name.
    """
    scheme = _URL.match(spec)
    if scheme is None or scheme.group(1).lower() != "file":
        return spec
    path = spec[scheme.end() :]
    if path.lower().startswith("localhost/"):
        path = path[len("localhost") :]
    return os.fsdecode(unquote_to_bytes(os.fsencode(path)))


def _path(text: str, options: SourceOptions) -> Source:
    name = printable(os.path.basename(text.rstrip("/\\")) or text)
    path = Path(text)
    if re.match(r"^/dev/video\d+$", text) or text.startswith("video="):
        return _camera(text, options)
    if path.is_dir():
        images = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES)
        if not images:
            raise SourceError(f"{printable(text)} is a folder without images; give a folder of images or a video file")
        return _images(images, name, options)
    if not path.exists() and glob.has_magic(text):
        found = sorted(Path(entry) for entry in glob.glob(text, recursive=True) if os.path.isfile(entry))
        if not found:
            raise SourceError(f"nothing matches {printable(text)}; check the pattern")
        videos = [entry for entry in found if entry.suffix.lower() not in IMAGE_SUFFIXES]
        if len(found) == 1 and videos:
            return _path(str(found[0]), options)
        if videos:
            raise SourceError(
                f"{printable(text)} matches {printable(videos[0].name)}, which is no image; give several videos as "
                "several sources"
            )
        return _images(found, name, options)
    if not path.exists():
        raise SourceError(f"{printable(text)} does not exist; check the path")
    if path.suffix.lower() in IMAGE_SUFFIXES and not _is_animated(path):
        return _images([path], name, options)
    from segstream.sources.files import FileSource

    # "file:" keeps FFmpeg from reading a colon in the name as a protocol.
    return FileSource(f"file:{text}", name, options)


def _is_animated(path: Path) -> bool:
    """Whether a GIF is a video."""
    if path.suffix.lower() != ".gif":
        return False  # FFmpeg plays no other kind of animated image
    from PIL import Image

    try:
        with Image.open(path) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:  # damaged, which whoever reads it will say
        return False


def _images(paths: list[Path], name: str, options: SourceOptions) -> Source:
    from segstream.sources.images import ImagesSource

    return ImagesSource(paths, name, options)


def _camera(device: str, options: SourceOptions) -> Source:
    from segstream.sources.live import open_camera

    return open_camera(device, options)


def _url(url: str, scheme: str, options: SourceOptions) -> Source:
    if scheme == "file":
        return _path(local_path(url), options)
    if scheme not in NETWORK_SCHEMES:
        raise UsageError(f"{scheme}:// is not a kind of source; the kinds are {', '.join(sorted(NETWORK_SCHEMES))}")
    from segstream.sources.live import open_network

    return open_network(url, options)


def _lavfi(graph: str, options: SourceOptions) -> Source:
    if "realtime" in graph:
        from segstream.sources.live import open_lavfi

        return open_lavfi(graph, options)
    from segstream.sources.files import FileSource

    return FileSource(graph, f"lavfi:{graph}", options, kind="lavfi", format="lavfi")
