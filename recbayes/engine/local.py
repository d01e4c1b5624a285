"""This process: tasks one after the other, or several at a time on threads."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from recbayes.engine.results import Task


class Local:
    """This process. Built by `engine("local")`.

    Attributes:
      workers: tasks that run at a time at most; None: as many as a study asks for.
    """

    name = "local"
    apart = False

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers

    def run(
        self,
        function: Task,
        shared: Any,
        numbers: Sequence[int],
        *,
        alike: Callable[[int], Hashable] | None = None,
        once: Callable[[Any], object] | None = None,
        at_once: int = 1,
        whole: bool = False,
    ) -> Iterator[tuple[int, Any]]:
        """See `Engine.run`; here all programs are compiled in one process, whatever the order."""
        if once is not None:
            once(shared)
        threads = min(at_once, self.workers or at_once)
        if threads == 1:
            yield from ((number, function(shared, number)) for number in numbers)
            return
        with ThreadPoolExecutor(threads) as pool:
            futures = {pool.submit(function, shared, number): number for number in numbers}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Nothing was started."""
