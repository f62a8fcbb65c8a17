"""Hardware decoding, used only after it has decoded a frame: a decoder that is listed may still not work."""

from __future__ import annotations

from collections.abc import Callable

import av
from av.codec.hwaccel import HWAccel, hwdevices_available

from segstream.errors import SegstreamError
from segstream.sources.base import SourceWarnings

_missing: dict[str, str] = {}  # devices that could not be opened, with the reason: they are not tried again


def _device_error() -> str | None:
    """Why there is no CUDA device, or None. Asked before any file is opened for the trial."""
    try:
        HWAccel("cuda", allow_software_fallback=False).create(av.Codec("h264", "r"))
    except (av.error.FFmpegError, ValueError, RuntimeError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def choose_hwaccel(wanted: str, trial: Callable[[HWAccel], bool], warnings: SourceWarnings) -> HWAccel | None:
    """A hardware decoder that works for this source, or None for software.

    Args:
        wanted: "auto", "off" or "cuda".
        trial: decodes one frame with the decoder and says whether the hardware did it.
        warnings: told the reason if "cuda" was asked for and does not work.
    """
    if wanted == "off":
        return None
    reason = _missing.get("cuda")
    if reason is None:
        try:
            if "cuda" not in hwdevices_available():
                reason = _missing["cuda"] = "this build of PyAV has no CUDA"
            elif (device := _device_error()) is not None:
                reason = _missing["cuda"] = f"the device cannot be opened: {device}"
            elif trial(HWAccel("cuda", allow_software_fallback=False)):
                return HWAccel("cuda", allow_software_fallback=True)
            else:
                reason = "the codec is not supported"
        except (av.error.FFmpegError, SegstreamError, StopIteration, ValueError, RuntimeError, OSError) as error:
            reason = str(error)
    if wanted == "cuda":
        warnings.add(f"hardware decoding does not work here ({reason}), so software decodes")
    return None
