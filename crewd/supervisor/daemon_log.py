"""crewd's own log: JSON lines in a file that is rotated, and readable lines on stderr. No secret of a known shape is in it.

Tests: tests/test_secrets.py, tests/test_lifecycle.py.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

from loguru import logger

from crewd.model.home import Home
from crewd.model.redact import redact
from crewd.private_files import check_plain


def start_log(home: Home, level: str) -> None:
    """Send what is logged to the file of the home, and from `level` on to stderr; also of the standard library's loggers."""

    def clean(record: Any) -> None:
        if record["exception"] is not None:
            record["message"] += "\n" + "".join(traceback.format_exception(*record["exception"]))
            record["exception"] = None
        record["message"] = redact(record["message"])

    class ToLoguru(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logger.opt(exception=record.exc_info).log(record.levelname, record.getMessage())

    check_plain(home.daemon_log)
    logger.remove()
    logger.configure(patcher=clean)
    line = "<dim>{time:HH:mm:ss.SSS}</dim> <level>{level: <7}</level> {message}"
    if sys.stderr is not None:  # it is None if it was closed before the start
        logger.add(sys.stderr, level=level.upper(), format=line, backtrace=False, diagnose=False)  # diagnose shows values
    place = str(home.daemon_log).replace("{", "{{").replace("}", "}}")  # loguru formats the name of the file
    logger.add(place, level="DEBUG", serialize=True, rotation="10 MB", retention=5, enqueue=True, diagnose=False)
    logging.basicConfig(handlers=[ToLoguru()], level=logging.INFO, force=True)
    logging.getLogger("pykka").setLevel(logging.WARNING)
