"""Functions that must behave in a worker as they do in a Python of their own: see `worker/test_alone.py`."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass


def _square(number: int) -> int:
    return number * number


def pool_fork() -> list[int]:
    return _pool("fork")


def pool_spawn() -> list[int]:
    return _pool("spawn")


def pool_forkserver() -> list[int]:
    return _pool("forkserver")


def _pool(method: str) -> list[int]:
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map_async(_square, [1, 2, 3]).get(60)


def forked_and_ended_at_once() -> list[int]:
    """Each child is sent TERM while it is still on its way out of the fork."""
    ended = []
    for _ in range(50):
        pid = os.fork()
        if pid == 0:
            time.sleep(1_000)
            os._exit(0)
        os.kill(pid, signal.SIGTERM)
        ended.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return ended


def executor_of_processes() -> list[int]:
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(_square, [1, 2, 3]))


def executor_of_threads_left_open() -> int:
    pool = concurrent.futures.ThreadPoolExecutor(2)
    return pool.submit(_square, 4).result()


def child_process() -> int | None:
    process = multiprocessing.get_context("spawn").Process(target=_square, args=(2,))
    process.start()
    process.join(60)
    return process.exitcode


def process_names() -> list[object]:
    return [multiprocessing.current_process().name, multiprocessing.parent_process(), multiprocessing.current_process().daemon]


def _put(queue: multiprocessing.Queue[int]) -> None:
    queue.put(7)


def queue_between_processes() -> int:
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[int] = context.Queue()
    process = context.Process(target=_put, args=(queue,))
    process.start()
    found = queue.get(timeout=120)
    process.join(60)
    return found


def shared_memory() -> bool:
    from multiprocessing import shared_memory as shm

    block = shm.SharedMemory(create=True, size=16)
    try:
        return block.size >= 16
    finally:
        block.close()
        block.unlink()


def reads_input() -> str:
    return sys.stdin.read()


def input_raises() -> str:
    try:
        return input()
    except EOFError:
        return "EOFError"


def child_that_inherits_input() -> str:
    return subprocess.run(["cat"], stdin=sys.stdin, capture_output=True, text=True, check=True).stdout


def signals() -> list[str]:
    numbers = (signal.SIGINT, signal.SIGPIPE, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1)
    return [str(signal.getsignal(number)).split(" at ")[0] for number in numbers]


def mask() -> list[int]:
    return sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def own_handler() -> list[int]:
    heard: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    os.kill(os.getpid(), signal.SIGUSR1)
    return [int(number) for number in heard]


def broken_pipe() -> str:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        os.write(writing, b"x")
    except BrokenPipeError:
        return "BrokenPipeError"
    finally:
        os.close(writing)
    return "none"


def at_exit() -> str:
    atexit.register(print, "goodbye", flush=True)
    return "returned"


def thread_that_goes_on() -> str:
    def later() -> None:
        time.sleep(0.3)
        print("later", flush=True)  # noqa: T201 (its output is looked at)

    threading.Thread(target=later).start()
    return "returned"


def daemon_thread_is_left() -> str:
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    return "returned"


def main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def logs() -> str:
    logging.getLogger("x").warning("said")
    logging.basicConfig(level=logging.INFO)
    return logging.getLevelName(logging.getLogger().level)


def runs_a_loop() -> str:
    async def inner() -> str:
        process = await asyncio.create_subprocess_exec("echo", "hi", stdout=subprocess.PIPE)
        out, _ = await process.communicate()
        return out.decode()

    return asyncio.run(inner())


def main_module() -> list[object]:
    main = sys.modules["__main__"]
    return [main.__name__, getattr(main, "__file__", None)]


def recursion() -> int:
    return sys.getrecursionlimit()


def path_begins() -> str:
    return sys.path[0]


def session_is_interactive() -> list[bool]:
    return [sys.stdin.isatty(), sys.stdout.isatty(), hasattr(sys, "ps1")]


@dataclass
class Point:
    x: int
    y: int


def raises_after_output() -> str:
    with contextlib.suppress(ValueError):
        raise ValueError("caught")
    return "fine"
