"""An RTSP server for the tests, run by the system's Python, which has GStreamer's bindings.

    python3 rtsp_server.py PORT [silent-after SECONDS] [audio]

Serves a test picture in H.264 at 25 frames per second at rtsp://127.0.0.1:PORT/test and prints "ready". With
`silent-after` it goes on without sending anything after that time. It ends when its standard input is closed.
"""

import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402


def main() -> None:
    port = sys.argv[1]
    silent_after = float(sys.argv[sys.argv.index("silent-after") + 1]) if "silent-after" in sys.argv else None
    Gst.init(None)
    loop = GLib.MainLoop()
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    # A valve that shuts is a camera that keeps its connection and sends nothing.
    video = (
        "videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=96,framerate=25/1 ! valve name=valve"
        " ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=12"
        " ! rtph264pay name=pay0 pt=96 config-interval=1"
    )
    audio = " audiotestsrc is-live=true ! audioconvert ! alawenc ! rtppcmapay name=pay1 pt=8"
    factory.set_launch("( " + video + (audio if "audio" in sys.argv else "") + " )")
    factory.set_shared(True)

    def configure(_: object, media: object) -> None:
        if silent_after is not None:
            valve = media.get_element().get_by_name("valve")  # type: ignore[attr-defined]
            GLib.timeout_add(int(silent_after * 1000), lambda: valve.set_property("drop", True))

    factory.connect("media-configure", configure)
    server.get_mount_points().add_factory("/test", factory)
    server.attach(None)

    def wait_for_end() -> None:
        sys.stdin.read()
        loop.quit()

    threading.Thread(target=wait_for_end, daemon=True).start()
    print("ready", flush=True)
    loop.run()


main()
