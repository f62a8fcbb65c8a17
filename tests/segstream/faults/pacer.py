"""Sends a video over UDP at its own pace, again and again, as a camera would: run by test_target_fps.py.

python pacer.py FILE PORT
"""

import sys
import time

import av


def main() -> None:
    path, port = sys.argv[1:3]
    begin, shift = time.monotonic(), 0.0
    with av.open(f"udp://127.0.0.1:{port}?pkt_size=1316", "w", format="mpegts") as out:
        sent = None
        while True:
            with av.open(path) as container:
                stream = container.streams.video[0]
                if sent is None:
                    sent = out.add_stream_from_template(stream)
                last = 0.0
                for packet in container.demux(stream):
                    if packet.dts is None:
                        continue
                    at = float(packet.dts * packet.time_base) + shift
                    time.sleep(max(0.0, begin + at - time.monotonic()))
                    packet.dts += round(shift / packet.time_base)
                    packet.pts += round(shift / packet.time_base)
                    packet.stream = sent
                    out.mux_one(packet)
                    last = at
            shift = last + 0.04


main()
