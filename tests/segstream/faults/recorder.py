"""Records a looped video until it is stopped: run by test_outputs.py, which kills it.

python recorder.py SOURCE OUT MILLISECONDS [--limit BYTES] [--plain]

Prints "N" after the Nth frame has been written. SIGINT and SIGTERM finish the file; `--limit` lets the system refuse to
write more than so many bytes into a file. With `--plain` it calls `segstream.record` and handles no signal.
"""

import resource
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import segstream
from segstream.errors import SegstreamError
from segstream.pipeline import Lane, Pipeline, stop_on_signals
from segstream.sinks import VideoOptions, VideoSink
from segstream.sources import SourceOptions, open_source
from tests.segstream.media import Quick


class Counting(Quick):
    def __call__(self, frame, previous=None):
        print(self.calls, flush=True)
        return super().__call__(frame)


def main() -> int:
    path, out, milliseconds = sys.argv[1:4]
    if "--limit" in sys.argv:
        limit = int(sys.argv[sys.argv.index("--limit") + 1])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if "--plain" in sys.argv:
        engine = Counting(float(milliseconds))
        try:
            segstream.record(path, out, model=engine, loop=True)
        except KeyboardInterrupt:
            print(engine.calls, flush=True)
            return 130
    source = open_source(path, SourceOptions(loop=True))
    try:
        sink = VideoSink(out, source, VideoOptions(overwrite=True))
        count = 0

        def written(*_: object) -> None:
            nonlocal count
            count += 1
            print(count, flush=True)

        pipeline = Pipeline(Lane(source, [sink]), Quick(float(milliseconds)), on_result=written)
        with stop_on_signals(pipeline) as state:
            pipeline.start()
            pipeline.wait()
        return 130 if state.interrupted else 0
    except SegstreamError as error:
        print(error, file=sys.stderr)
        return error.exit_code


sys.exit(main())
