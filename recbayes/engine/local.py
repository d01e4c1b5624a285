"""This process: tasks one after the other, or several at a time on threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from recbayes.engine.results import Work


class Local:
    """This process. Built by `engine("local")`.

    Attributes:
      workers: tasks that run at a time at most; None: as many as a study asks for.
    """

    name = "local"
    apart = False

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers

    def run(self, work: Work, numbers: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """See `Engine.run`; here all programs are compiled in one process, whatever the order."""
        if work.once is not None:
            work.once(work.shared)
        threads = min(work.at_once, self.workers or work.at_once)
        if threads == 1:
            yield from ((number, work.function(work.shared, number)) for number in numbers)
            return
        with ThreadPoolExecutor(threads) as pool:
            futures = {pool.submit(work.function, work.shared, number): number for number in numbers}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Nothing was started."""
