"""Names that are shown: no credentials, nothing that is not text."""

from __future__ import annotations

import pytest

from segstream.sources import SourceWarnings, redact
from segstream.sources.names import printable


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://user:secret@10.0.0.1:554/cam", "rtsp://10.0.0.1:554/cam"),
        ("http://host/a.m3u8?token=secret", "http://host/a.m3u8?..."),
        ("rtsp://user:sec@ret@[::1]:8554/x#secret", "rtsp://[::1]:8554/x"),
        ("rtsp://user:secret@host:notaport/x", "rtsp://..."),
    ],
)
def test_credentials_are_left_out(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_credentials_in_ffmpegs_messages() -> None:
    warnings = SourceWarnings()
    warnings.add("Failed to open http://user:secret@host/a.ts", errors=1)
    assert "secret" not in (warnings.summary() or "")
    assert "http://host/a.ts" in (warnings.summary() or "")
    warnings.add("Error when loading first segment 'https://u:p@host/b.ts?token=secret&x=1' of 3")
    assert "secret" not in (warnings.summary() or "") and "'https://host/b.ts?...' of 3" in (warnings.summary() or "")


def test_bytes_that_are_no_text() -> None:
    assert printable(b"caf\xe9.mp4".decode("utf-8", "surrogateescape")) == "caf\\xe9.mp4"


def test_a_password_with_an_at_sign_is_left_out_of_warnings_whole() -> None:
    warnings = SourceWarnings()
    warnings.add("cannot open http://user:p@ss@host/x")
    assert warnings.messages == ["cannot open http://host/x"]
