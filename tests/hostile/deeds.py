"""What hostile workers do, as Python callables: called as `hostile.deeds:NAME` by the tests beside this file."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

import psutil

from crewd.worker import Context

SECONDS_MAX = 30
"""After this, what a deed has left behind is gone by itself: a failing test must not hurt the machine."""


def _did(ctx: Context) -> None:
    """The tests wait for this file."""
    (ctx.directory / "did").write_text("")


def _orphan(argv: list[bytes], environment: dict[bytes, bytes]) -> None:
    """Execute this in a session of its own, as a process that nobody of the worker's is the parent of."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve(b"/bin/sleep", argv, environment)
        os._exit(0)
    os.wait()


def stray_with_no_text(ctx: Context) -> None:
    """A process of unknown owner whose command line is not UTF-8 and steers a terminal."""
    hard = resource.getrlimit(resource.RLIMIT_RTTIME)[1]
    resource.setrlimit(resource.RLIMIT_RTTIME, (hard, hard))
    _orphan([b"caf\xe9\xff\x1b]0;owned\x07\n)", str(SECONDS_MAX).encode()], {})
    _did(ctx)
    ctx.sleep(SECONDS_MAX)


def bears(ctx: Context, text: str) -> None:
    """A process in a session of its own whose marker is another one."""
    hard = resource.getrlimit(resource.RLIMIT_RTTIME)[1]
    resource.setrlimit(resource.RLIMIT_RTTIME, (hard, hard))
    _orphan([b"sleep", str(SECONDS_MAX).encode()], {b"CREWD_WORKER": text.encode()})
    _did(ctx)
    ctx.sleep(SECONDS_MAX)


def in_home(ctx: Context, name: str, what: str) -> None:
    """Something of this kind in a place of crewd's home."""
    path = Path(os.environ["CREWD_HOME"]) / name.replace(
        "RECORD", hashlib.sha256(f"{ctx.task}#{ctx.epoch}".encode()).hexdigest()[:32]
    )
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    match what:
        case "folder":
            path.mkdir(parents=True)
        case "pipe":
            os.mkfifo(path)
        case "garbage":
            path.write_bytes(b"\xc1garbage" * 100)
        case "deep":
            path.write_bytes(b"\x91" * 500_000)
        case "loop":
            path.symlink_to(path.name)
        case "file":
            path.write_bytes(b"")
        case _:
            path.symlink_to(what)
    _did(ctx)


def large_environment(ctx: Context, megabytes: int) -> None:
    """A process in a session of its own whose environment is so large: it has moved its place in memory."""
    hard = resource.getrlimit(resource.RLIMIT_RTTIME)[1]
    code = (
        "import ctypes, mmap, signal, struct, sys\n"
        f"signal.alarm({SECONDS_MAX})\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "size = int(sys.argv[1]) << 20\n"
        "area = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
        "at = ctypes.addressof(ctypes.c_char.from_buffer(area))\n"
        "stat = [int(x) if x.lstrip('-').isdigit() else 0 for x in open('/proc/self/stat').read().rpartition(')')[2].split()]\n"
        "f = lambda n: stat[n - 3]\n"
        "brk = libc.sbrk; brk.restype = ctypes.c_void_p; now = brk(0)\n"
        "old = f(26), f(27), f(45), f(46), f(47), now, f(28), f(48), f(49)\n"
        "where = struct.pack('<11QQII', *old, at, at + size, 0, 0, 0xFFFFFFFF)\n"
        "ok = libc.prctl(35, 14, where, len(where), 0)\n"
        "open(sys.argv[2], 'w').write(f'{ok} {ctypes.get_errno()}')\n"
        "signal.pause()\n"
    )
    if os.fork() == 0:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_RTTIME, (hard, hard))
        if os.fork() == 0:
            os.execve(sys.executable, [sys.executable, "-S", "-c", code, str(megabytes), str(ctx.directory / "told")], {})
        os._exit(0)
    os.wait()
    _did(ctx)
    ctx.sleep(SECONDS_MAX)


def elsewhere(ctx: Context, away: str) -> None:
    """The directory of the step leads elsewhere when the next attempt begins."""
    step = ctx.directory.parent
    step.rename(step.with_name("moved"))
    step.symlink_to(away)
    raise RuntimeError("again")


def sparse(ctx: Context, size: int, name: str) -> None:
    """An output file that claims to be large."""
    sys.stdout.write("API_KEY=hunter22xyz\n")
    sys.stdout.flush()
    os.truncate(ctx.directory / name, size)
    _did(ctx)


ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31mred\u202eevil\x00\r\x08end"


def writes_on_the_screen(ctx: Context) -> dict[str, str]:
    """Texts that steer a terminal, wherever a worker can say one."""
    sys.stderr.write(ESCAPES)
    sys.stdout.write(ESCAPES)
    with ctx.operation("tool", name="x" + ESCAPES):
        ctx.progress(1, note=ESCAPES)
    with contextlib.suppress(Exception):
        ctx.confirm(ESCAPES, timeout=0.01)
    raise RuntimeError(ESCAPES)


def says_who_it_is(ctx: Context) -> list[str]:
    """What else than its own files a worker has open."""
    ours = {"0", "1", "2"}
    found = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(each.readlink()) if each.name not in ours else "")
    return sorted(filter(None, found))


def bears_a_strange_name(ctx: Context) -> None:
    """A tree whose processes are called like crewd's own, or so that the process table is misread."""
    for name in (b"crewd-guardian", b"crewd-zygote", b"a) S 1 1 1 (\n", b") Z 1 1 1 1"):
        if os.fork() == 0:
            os.setsid()
            ctypes.CDLL(None).prctl(15, name + b"\0", 0, 0, 0)
            if os.fork():
                os._exit(0)
            signal.alarm(SECONDS_MAX)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.pause()
            os._exit(0)
    _did(ctx)
    ctx.sleep(SECONDS_MAX)


def a_subreaper_of_its_own(ctx: Context) -> None:
    """It takes in its orphans itself, and its children die with nobody."""
    libc = ctypes.CDLL(None)
    libc.prctl(36, 1, 0, 0, 0)
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            libc.prctl(36, 1, 0, 0, 0)
            if os.fork() == 0:
                os.setsid()
                os.execve("/bin/sleep", ["sleep", str(SECONDS_MAX)], {})
            os._exit(0)
    _did(ctx)
    ctx.sleep(SECONDS_MAX)


def plays_with_its_files(ctx: Context, what: str) -> None:
    """Something else stands in the place of each file that a worker has, and of its exit record."""
    mine = ctx.directory
    name = hashlib.sha256(f"{ctx.task}#{ctx.epoch}".encode()).hexdigest()[:32]
    record = Path(os.environ["CREWD_HOME"]) / "exits" / f"{name}.msgpack"
    for path in (*(mine / name for name in ("stdout", "stderr", "exit", "unsent_reports", "times", "result.json")), record):
        path.unlink(missing_ok=True)
        match what:
            case "pipe":
                os.mkfifo(path)
            case "folder":
                path.mkdir()
            case "link":
                path.symlink_to("/etc/hostname")
            case _:
                path.write_bytes(b"\xc1")
                os.truncate(path, 1 << 40)
    ctx.sleep(SECONDS_MAX)


def storms(ctx: Context, seconds: float) -> None:
    """Processes that end at once, as fast as it can start them, each left to the guardian."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.fork() == 0:
            os.fork()
            os._exit(0)
        os.wait()
    ctx.sleep(SECONDS_MAX)


def stops_its_guardian(ctx: Context, seconds: float) -> None:
    """The guardian is the parent of the process that it was forked from. If it is killed meanwhile, nobody continues it."""
    guardian = psutil.Process(os.getppid()).ppid()
    if psutil.Process(guardian).name() == "crewd-guardian":
        os.kill(guardian, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(guardian, signal.SIGCONT)
    ctx.sleep(SECONDS_MAX)
