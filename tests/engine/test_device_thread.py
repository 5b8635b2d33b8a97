"""Functions run one at a time, in order, in one thread, and errors reach their caller."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from musicgen.engine.device_thread import DeviceThread


def test_everything_runs_in_one_thread_one_after_another() -> None:
    device, inside, most, threads = DeviceThread("cpu"), list[int](), list[int](), set[int]()

    def work() -> None:
        inside.append(1)
        most.append(len(inside))
        threads.add(threading.get_ident())
        inside.pop()

    with ThreadPoolExecutor(6) as callers:
        for _ in callers.map(lambda _: device.run(work), range(600)):
            pass
    assert len(most) == 600 and max(most) == 1
    assert len(threads) == 1 and threading.get_ident() not in threads


def test_what_came_first_runs_first() -> None:
    device, order, begun = DeviceThread("cpu"), list[int](), threading.Event()
    first = threading.Event()

    def hold() -> None:
        begun.set()
        first.wait(20)

    with ThreadPoolExecutor(9) as callers:
        callers.submit(device.run, hold)
        assert begun.wait(20)
        assert device._thread is not None
        for number in range(8):
            callers.submit(device.run, order.append, number)
            while device._thread._work_queue.qsize() <= number:
                pass
        first.set()
    assert order == list(range(8))


def test_a_failure_is_the_caller_s_own() -> None:
    device = DeviceThread("cpu")
    with pytest.raises(ZeroDivisionError):
        device.run(lambda: 1 // 0)
    assert device.run(divmod, 7, 2) == (3, 1)


def test_a_closed_one_takes_nothing_more() -> None:
    device = DeviceThread("cpu")
    device.run(int)
    device.close()
    with pytest.raises(RuntimeError):
        device.run(int)


def test_a_gpu_s_work_is_done_where_it_comes_from() -> None:
    device = DeviceThread("cuda:0")
    assert device.run(threading.get_ident) == threading.get_ident()
    device.close()
