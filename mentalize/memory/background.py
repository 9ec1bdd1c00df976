"""Background: a thread for work that nobody waits for."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

_Job = tuple[Future[None], Callable[[], None]]
_LAST_JOB_SECONDS = 60.0


class Background:
    """Does jobs one after another, from the first one on until it is stopped or the process ends.

    A long job asks `stopping` now and then, and gives up: the process does not wait for it.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._stop: Callable[[], object] | None = None

    @property
    def stopping(self) -> bool:
        """Whether jobs are to give up."""
        return self._stopping.is_set()

    def submit(self, job: Callable[[], None]) -> Future[None]:
        """Do this when all before it is done. After `stop` it is not done."""
        future: Future[None] = Future()
        with self._lock:
            if self.stopping:
                future.cancel()
                return future
            if self._stop is None:
                thread = threading.Thread(target=_work, args=(self._jobs,), name="mentalize-index", daemon=True)
                thread.start()
                self._stop = weakref.finalize(self, _end, self._jobs, self._stopping, thread)
        self._jobs.put((future, job))
        return future

    def stop(self) -> None:
        """Give up what is under way, and wait until it has."""
        self._stopping.set()
        if self._stop is not None:
            self._stop()


def _work(jobs: SimpleQueue[_Job | None]) -> None:
    while (next_job := jobs.get()) is not None:
        future, job = next_job
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(job())
            except BaseException as error:  # nobody may be waiting: it is shown as any thread's is
                future.set_exception(error)
                threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, None)))


def _end(jobs: SimpleQueue[_Job | None], stopping: threading.Event, thread: threading.Thread) -> None:
    stopping.set()
    jobs.put(None)
    if thread is not threading.current_thread():
        thread.join(_LAST_JOB_SECONDS)
