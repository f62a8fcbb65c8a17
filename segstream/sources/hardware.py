"""Hardware decoding, used only after it has decoded a frame: a decoder that is listed may still not work."""

from __future__ import annotations

from collections.abc import Callable

import av
from av.codec.hwaccel import HWAccel, hwdevices_available

from segstream.errors import SegstreamError
from segstream.sources.base import SourceWarnings

_missing: dict[str, str] = {}  # devices that could not be opened, with the reason: they are not tried again


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
            elif trial(HWAccel("cuda", allow_software_fallback=False)):
                return HWAccel("cuda", allow_software_fallback=True)
            else:
                reason = "the codec is not supported"
        except (PermissionError, av.error.ExternalError) as error:
            reason = _missing["cuda"] = f"the device cannot be opened: {error}"
        except (av.error.FFmpegError, SegstreamError, StopIteration, ValueError, RuntimeError, OSError) as error:
            reason = str(error)
    if wanted == "cuda":
        warnings.add(f"hardware decoding does not work here ({reason}), so software decodes")
    return None
