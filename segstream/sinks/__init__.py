"""Sinks: where results go. Each has `write(result, picture)`, `close()` and `abort()`."""

from segstream.sinks.base import Sink
from segstream.sinks.jsonl import JsonlSink
from segstream.sinks.masks import MaskSink
from segstream.sinks.rle import coco_rle
from segstream.sinks.video import VideoOptions, VideoSink

__all__ = ["JsonlSink", "MaskSink", "Sink", "VideoOptions", "VideoSink", "coco_rle"]
