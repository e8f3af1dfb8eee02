"""Take a home: make its directories, check that nobody else can use them, and hold its lock.

Tests: tests/test_lifecycle.py, tests/test_homes.py.
"""

from __future__ import annotations

import fcntl
import os

from crewd.model.errors import Unavailable
from crewd.model.home import Home
from crewd.private_files import check_socket, make_directory, open_file


def take_home(home: Home) -> int:
    """Make the home's directories, check that they are ours alone, and lock. The descriptor holds the lock for life.

    Raises UsageError for a directory or a lock that others could use, Unavailable if another crewd serves this home.
    """
    for directory in (home.root, home.run, home.logs):
        make_directory(directory)
    for socket in (home.clients_socket, home.workers_socket, home.guardian_socket, home.files_socket):
        check_socket(socket)
    lock = open_file(home.daemon_lock, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(lock, 32).decode("ascii", "replace").strip()
        os.close(lock)
        raise Unavailable(f"another crewd (pid {pid}) serves {home.root}", hint="crew daemon status") from None
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock
