"""A worker thread that does the newest job only, without Qt: jobs that were overtaken are dropped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Job = TypeVar("Job")


class NewestWorker(Generic[Job]):
    """Run `work(job)` in a thread of its own for the newest job given to `submit`.

    What `work` raises goes to `failed`, in the worker's thread; the worker lives on.
    """

    def __init__(self, name: str, work: Callable[[Job], None], failed: Callable[[Exception], None]) -> None:
        self._work, self._failed = work, failed
        self._job: Job | None = None
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Do this job next, in place of one that still waits."""
        with self._wake:
            self._job = job
            self._wake.notify()

    def close(self, timeout: float = 2.0) -> bool:
        """End the thread after the job it is at; true when it ended in time."""
        with self._wake:
            self._closing, self._job = True, None
            self._wake.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._wake:
                while self._job is None and not self._closing:
                    self._wake.wait()
                if self._closing:
                    return
                job, self._job = self._job, None
            try:
                self._work(job)  # type: ignore[arg-type]
            except Exception as error:  # whatever it is, the window must say it and live on
                self._failed(error)
            del job
