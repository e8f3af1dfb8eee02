"""Workers that leave processes behind wherever they can: the trees of the matrix. `tree.sh` is the same as a command."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable

BOMB_SECONDS = 60
"""After this a bomb that nobody could end is gone by itself: a failing test must not hurt the machine."""


def grow(variant: str, seconds: int, gate: str) -> None:
    """c1 (same group), c2 (a session of its own), g (a child of c2); ends when somebody opens the gate."""
    if variant == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    before = ["nohup"] if variant == "nohup" else []
    subprocess.Popen([*before, "sleep", str(seconds)])
    if variant == "daemon":
        _daemon(seconds)
    else:
        subprocess.Popen([*before, "sh", "-c", f"sleep {seconds} & wait"], start_new_session=True)
    os.close(os.open(gate, os.O_RDONLY))


def _daemon(seconds: int) -> None:
    """c2 by a double fork. It executes nothing, so its marker is the one that was written into the zygote's memory."""
    middle = os.fork()
    if middle:
        os.waitpid(middle, 0)
        return
    os.setsid()
    if os.fork() == 0:
        subprocess.Popen(["sleep", str(seconds)])
        signal.pause()
    os._exit(0)


def bomb(limit: int) -> None:
    """Every process forks until `limit` forks have been made. All ignore TERM; every second one leads a session of its own."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    reading, writing = os.pipe()
    os.write(writing, b"x" * limit)
    os.close(writing)
    signal.alarm(BOMB_SECONDS)
    while os.read(reading, 1):
        if os.fork() == 0:
            signal.alarm(BOMB_SECONDS)  # a child does not inherit it
            if os.getpid() % 2:
                os.setsid()
    signal.pause()


def escape(seconds: int, gate: str) -> None:
    """A daemon in a session of its own, without an environment. The processes between it and the worker end with the gate."""
    shell = f'setsid sh -c "sleep {seconds} & : <{gate}" & : <{gate}'
    subprocess.Popen(["env", "-i", "PATH=" + os.environ["PATH"], "sh", "-c", shell], start_new_session=True)
    signal.pause()


def stray(seconds: int) -> None:
    """A sleep without environment, session and parents that are the worker's, before anybody could have looked."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve("/bin/sleep", ["sleep", str(seconds)], {})
        os._exit(0)
    os.wait()  # a zombie would still tell whose session it was
    signal.pause()


def quoting(seconds: int) -> None:
    """The same, with its environment; a variable before the marker has the marker's name in its text."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve("/bin/sleep", ["sleep", str(seconds)], {"NOTE": "set CREWD_WORKER=x for tests", **os.environ})
        os._exit(0)
    os.wait()  # a zombie would still tell whose session it was
    signal.pause()


def hop(seconds: float) -> None:
    """A process that lives on in a child, and that in a child of its own: each is gone a moment after it was born."""
    if os.fork() == 0:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if os.fork():
                os._exit(0)
        os._exit(0)
    signal.pause()


def ghost(diary: str) -> None:
    """A child whose main thread has ended while another one works: its line in the process table says zombie."""
    code = (
        "import ctypes, signal, sys, threading, time\n"
        "def work():\n"
        "    while True:\n"
        "        open(sys.argv[1], 'a').write('x')\n"
        "        time.sleep(0.01)\n"
        f"signal.alarm({BOMB_SECONDS})\n"
        "threading.Thread(target=work).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    subprocess.Popen([sys.executable, "-c", code, diary])
    signal.pause()


def _orphan(work: Callable[[], object]) -> None:
    """Do this in a process in a session of its own, which nobody waits for."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            work()
        os._exit(0)
    os.wait()  # a zombie would still tell whose session it was


def _agent_words(seconds: int) -> list[str]:
    """As ssh-agent does: a process that may not be dumped, so that what is in its memory is hidden from its own user."""
    code = f"import ctypes, signal; signal.alarm({BOMB_SECONDS * 3}); ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); signal.pause()"
    return [sys.executable, "-S", "-c", code, str(seconds)]


def _become_agent(seconds: int, *, clean: bool) -> None:
    os.execve(sys.executable, _agent_words(seconds), {} if clean else dict(os.environ))


def agent(seconds: int) -> None:
    """An agent with its environment, which nobody may read."""
    _orphan(lambda: _become_agent(seconds, clean=False))
    signal.pause()


def cleaned_agent(seconds: int) -> None:
    """An agent without an environment."""
    _orphan(lambda: _become_agent(seconds, clean=True))
    signal.pause()


def adopted_by_the_zygote(seconds: int) -> None:
    """A process without an environment whose parent is the worker's own.

    Between the clone and the exec the child calls the system only: another thread may hold the lock of `malloc`. PyDLL: the
    child has no other thread that could give the GIL back.
    """
    clone = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    system, words = ctypes.PyDLL(None), [os.fsencode(word) for word in _agent_words(seconds)]
    argv, environment = (ctypes.c_char_p * (len(words) + 1))(*words, None), (ctypes.c_char_p * 1)(None)
    syscall, setsid, execve = system.syscall, system.setsid, system.execve
    if syscall(clone, 0x8000 | signal.SIGCHLD, 0, 0, 0, 0) == 0:  # CLONE_PARENT
        setsid()
        execve(words[0], argv, environment)
    signal.pause()


def shed(seconds: int) -> None:
    """A process that has got rid of everything that tells whose it is."""

    def become() -> None:
        hard = resource.getrlimit(resource.RLIMIT_RTTIME)[1]
        resource.setrlimit(resource.RLIMIT_RTTIME, (hard, hard))
        os.execve("/bin/sleep", ["sleep", str(seconds)], {})

    _orphan(become)
    signal.pause()


def hop_apart(seconds: float) -> None:
    """As `hop`, each in a session of its own."""
    if os.fork() == 0:
        _hop_on(seconds)
    signal.pause()


def late_chain(seconds: float) -> None:
    """The same, begun in the moment in which the worker ends."""
    if os.fork() == 0:
        _hop_on(seconds)


def _hop_on(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.fork():
            os._exit(0)
        os.setsid()
    os._exit(0)
