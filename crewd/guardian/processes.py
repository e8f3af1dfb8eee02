"""The port to the machine's processes: the table, signals, reaping, start times. Linux first; psutil elsewhere.

Signals go through pidfds where the kernel has them, after the start time was checked again: never to a reused pid.

Tests: tests/guardian/test_escapes.py, tests/guardian/test_survivors.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from crewd.clock import SystemClock
from crewd.guardian.tree import Proc
from crewd.model.redact import clip
from crewd.model.rows import Survivor

LINUX = sys.platform == "linux"
_LIBC = ctypes.CDLL(None)
_TICKS = os.sysconf("SC_CLK_TCK") if LINUX else 100
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NAME = 15
_FALLOC_PUNCH_HOLE_KEEP_SIZE = 0x03
_CORE_FLAG = 0x80
_GIVE_WAY = 10
"""As `nice` counts: a tenth of what a session has otherwise. With it a steer waits least while many workers start."""
STAT_BYTES_MAX = 4_096
"""Of a line of the process table; its longest field is a name of 16 bytes (64 for kernel threads)."""
COMMAND_CHARS_MAX = 300
COMMAND_BYTES_MAX = 16_384
"""Of a command line that is read: enough for a secret to be recognised as one."""


def lacks() -> tuple[str, ...]:
    """What this platform cannot give, in words for `crew doctor`."""
    if LINUX:
        return ()
    return (
        "no child subreaper: a descendant that leaves its session and cleans its environment cannot be found",
        "no pidfds: a signal could hit a reused pid in the instant between check and kill",
        "no environment marker for forked workers: use start=spawn, and verify cancels by hand",
    )


def boot_id() -> str:
    """What changes when the machine restarts."""
    if LINUX:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return str(int(psutil.boot_time()))


def since_boot() -> float:
    """Seconds, on the clock of processes' starts."""
    if not LINUX:
        return SystemClock().wall()
    return float(Path("/proc/uptime").read_text().split()[0])


def become_subreaper() -> None:
    """Orphaned descendants become children of this process, not of init."""
    if LINUX:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def set_name(name: str) -> None:
    """How `ps` and `top` call this process (15 characters)."""
    if LINUX:
        _LIBC.prctl(_PR_SET_NAME, name.encode()[:15] + b"\0", 0, 0, 0)


def give_way() -> None:
    """On kernels with autogroup scheduling, give this session a lower weight. A session begun below keeps the normal one."""
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_GIVE_WAY))


def _parse(line: str) -> Proc:
    pid, _, rest = line.partition(" (")
    fields = rest.rpartition(")")[2].split()
    return Proc(
        int(pid), int(fields[1]), int(fields[2]), int(fields[3]), fields[0], int(fields[19]) / _TICKS,
        sum(map(int, fields[11:15])) / _TICKS, int(fields[21]) * _PAGE, int(fields[17]),
    )  # fmt: skip
    # proc(5): state, ppid, pgrp, session are fields 3 to 6, utime to cstime 14 to 17, threads 20, starttime 22, rss 24


def newest() -> int | None:
    """The process (or thread) that was started last on this machine; None where nobody can say. The numbers wrap round."""
    try:
        return int(Path("/proc/loadavg").read_bytes().split()[4])  # proc(5)
    except (OSError, ValueError, IndexError):
        return None


def look(pid: int) -> Proc | None:
    """One process, or None if it is gone."""
    if LINUX:
        try:
            file = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return _parse(os.read(file, STAT_BYTES_MAX).decode("utf-8", "replace"))
        except OSError:
            return None
        finally:
            os.close(file)
    try:
        return _from_psutil(psutil.Process(pid))
    except psutil.Error:
        return None


def is_at_work(pid: int) -> bool:
    """Whether a process runs, or waits for a processor: what is stopped, or waits for something else, is not."""
    proc = look(pid)
    return proc is not None and proc.state == "R"


def _from_psutil(process: psutil.Process) -> Proc:
    with process.oneshot():
        pid = process.pid
        state = "Z" if process.status() == psutil.STATUS_ZOMBIE else "S"
        times = process.cpu_times()
        cpu = times.user + times.system
        started, memory = process.create_time(), process.memory_info().rss
        threads = process.num_threads()
        return Proc(pid, process.ppid(), os.getpgid(pid), os.getsid(pid), state, started, cpu, memory, threads)


def table() -> dict[int, Proc]:
    """Every process of the machine."""
    if LINUX:
        found = (look(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 (hot path)
        return {proc.pid: proc for proc in found if proc is not None}
    procs: dict[int, Proc] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            procs[process.pid] = _from_psutil(process)
    return procs


def children() -> list[int]:
    """The children of this process, as fast as they can be had; none where the kernel does not list them."""
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:
        return []


def have_children(zygote: int) -> bool:
    """Whether this process may have another child than the zygote, or the zygote any."""
    try:
        ours = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return ours != [str(zygote)] or bool(Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split())
    except OSError:
        return True  # nobody can say without reading the whole table


def send(proc: Proc, number: int) -> bool:
    """Send a signal to exactly this process; False if it is gone (or not ours)."""
    try:
        if not LINUX:
            os.kill(proc.pid, number)
            return True
        handle = os.pidfd_open(proc.pid)
        try:
            now = look(proc.pid)
            if now is None or now.start != proc.start:
                return False
            signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill_group(group: int, members: Iterable[Proc]) -> bool:
    """KILL to a whole process group at once; False if nobody proves that it is still the group of these `members`.

    The kernel gives the number of a group away when nobody is in it. So a member holds it first: one that has ended and that
    only this process can reap, or one that is stopped and looked at again.
    """
    for proc in members:
        if not LINUX:
            now = look(proc.pid)
            held = now is not None and now.start == proc.start and now.group == group
        else:
            held = _holds(proc, group)
        if held:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
            return True
    return False


def _holds(proc: Proc, group: int) -> bool:
    """Whether this process is in the group, and stays in it until it is killed or reaped by us."""
    now = look(proc.pid)
    if now is None or now.start != proc.start or now.group != group:
        return False
    if now.state == "Z":
        return now.ppid == os.getpid()
    if not send(proc, signal.SIGSTOP):
        return False
    now = look(proc.pid)
    return now is not None and now.start == proc.start and now.group == group and not now.dead


def ended() -> Iterator[tuple[int, int]]:
    """(pid, wait status) of every child that has ended. It stays in the table until the next one is asked for.

    So the news is passed on before the process is gone, and what it was can still be looked up.
    """
    while True:
        try:
            if LINUX:
                over = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if over is None:
                    return
                by_signal = over.si_code != os.CLD_EXITED
                dumped = _CORE_FLAG if over.si_code == os.CLD_DUMPED else 0
                try:
                    yield over.si_pid, (over.si_status | dumped) if by_signal else over.si_status << 8
                finally:
                    os.waitpid(over.si_pid, 0)  # also when no other one is asked for
            else:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                yield pid, status
        except ChildProcessError:
            return


def reap_strangers(own: int | None) -> None:
    """For a process that is pid 1: reap orphans that have ended, but not its own child `own`."""
    for name in os.listdir("/proc"):  # noqa: PTH208 (as above)
        proc = look(int(name)) if name.isdigit() else None
        if proc is not None and proc.ppid == os.getpid() and proc.dead and proc.pid != own:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(proc.pid, os.WNOHANG)


def describe(proc: Proc, now_since_boot: float) -> Survivor:
    """A survivor as people need it: pid, command line, age, state."""
    return Survivor(proc.pid, command_of(proc.pid) or "?", max(0.0, now_since_boot - proc.start), proc.state)


def command_of(pid: int) -> str:
    """The command line of a process, as text without secrets; empty if there is none. A process may say that it has any."""
    try:
        if not LINUX:
            return clip(" ".join(psutil.Process(pid).cmdline()), COMMAND_CHARS_MAX)
        with Path(f"/proc/{pid}/cmdline").open("rb", buffering=0) as file:
            words = file.read(COMMAND_BYTES_MAX).replace(b"\0", b" ")
        return clip(words.decode("utf-8", "replace").strip(), COMMAND_CHARS_MAX)
    except (OSError, psutil.Error):
        return ""


def punch(descriptor: int, keep_bytes: int) -> int:
    """Free the head of a log so that `keep_bytes` stay; offsets remain true. Bytes freed, 0 where not possible."""
    if not LINUX:
        return 0
    head = (os.fstat(descriptor).st_size - keep_bytes) // 4096 * 4096
    if head <= 0:
        return 0
    offset, length = ctypes.c_int64(0), ctypes.c_int64(head)
    return head if _LIBC.fallocate(descriptor, _FALLOC_PUNCH_HOLE_KEEP_SIZE, offset, length) == 0 else 0
