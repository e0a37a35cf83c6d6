"""Independent work side by side, each piece on one core.

torch splits a large operation over cores, which helps little where operations are small. Here whole
pieces of work go to threads of their own, and every operation in them runs on one core; torch lets
go of Python's lock while it computes. What comes out does not depend on which thread was faster.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Found = TypeVar("Found")

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def side_by_side(tasks: Sequence[Callable[[], Found]]) -> list[Found]:
    """What each task returns, in their order; gradients are not recorded inside.

    With one thread (`torch.get_num_threads`), or one task, they run where they are called. What the
    first task that fails raises is raised here.
    """
    count = min(torch.get_num_threads(), len(tasks))
    if count < 2:
        with torch.no_grad():
            return [task() for task in tasks]
    pool = _pool(count)
    futures = [pool.submit(_without_gradient, task) for task in tasks]
    return [future.result() for future in futures]


def _without_gradient(task: Callable[[], Found]) -> Found:
    with torch.no_grad():
        return task()


def _pool(count: int) -> ThreadPoolExecutor:
    """Threads of this process whose operations take one core each."""
    key = (os.getpid(), count)
    if key not in _pools:
        threads = torch.get_num_threads()
        one = torch.set_num_threads
        _pools[key] = ThreadPoolExecutor(count, "assent", initializer=one, initargs=(1,))
        # Each thread that torch meets takes the number that was set last, anywhere.
        for future in [_pools[key].submit(torch.get_num_threads) for _ in range(count)]:
            future.result()
        torch.set_num_threads(threads)
    return _pools[key]
