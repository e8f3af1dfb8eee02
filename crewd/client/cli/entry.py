"""Where `crew` begins, and ends: it imports next to nothing before it can hear Ctrl-C."""

from __future__ import annotations

import atexit
import codecs
import contextlib
import io
import os
import sys
import threading
from typing import NoReturn


def main() -> None:
    """Run the verb that the command line names, and exit."""
    try:
        _say_all_text()
        from crewd.client.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        _exit(130)
    except SystemExit as asked:
        if isinstance(asked.code, int | None):
            _exit(asked.code or 0)
        raise
    _exit(0)


def _say_all_text() -> None:
    """Let each text be written: in UTF-8 where the locale is C, which has ASCII alone; else with the escapes of JSON."""
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        encoding = codecs.lookup(stream.encoding).name
        if encoding == "ascii":
            stream.reconfigure(encoding="utf-8", errors=stream.errors)
        elif encoding != "utf-8":
            codecs.register_error("crewd", _escaped)
            stream.reconfigure(errors="crewd")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)), error.end


def _exit(code: int) -> NoReturn:
    """As the interpreter does at its end, but for taking all modules apart: that is a fifth of the time of a short command."""
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()  # noqa: SLF001 (nothing public does it before the end)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or there is none: nobody reads it
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
