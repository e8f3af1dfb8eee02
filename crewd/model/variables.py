"""The names of environment variables that crewd itself gives to a worker. Nobody else may set them.

Tests: tests/test_lifecycle.py, tests/test_adaptive.py.
"""

from __future__ import annotations

import re

from crewd.model.errors import UsageError
from crewd.model.limits import ARGUMENT_BYTES_MAX

MARKER = "CREWD_WORKER"
"""In the environment of every process of a worker: home key, task and epoch."""
GOAL = "CREWD_GOAL"
TASK = "CREWD_TASK"
TEXT = "CREWD_TEXT"
"""What the text of the step says; not set if it is no possible value of a variable (see `is_possible`)."""
OUTPUTS = "CREWD_OUTPUTS"
"""The directory of the files that steps leave for each other."""
BOOTSTRAP = "CREWD_BOOTSTRAP"
"""The file in which a command that speaks the protocol finds what it needs."""
PARENT_TOKEN = "CREWD_PARENT_TOKEN"  # noqa: S105 (the name of a variable)
"""What proves to crewd that a client is a process of the worker that it names as the parent of a run."""
INPUT_PREFIX = "CREWD_INPUT_"
"""Before the name of an input, in capitals."""
_OWN = frozenset({MARKER, GOAL, TASK, TEXT, OUTPUTS, BOOTSTRAP, PARENT_TOKEN})


def is_own(name: str) -> bool:
    """Whether crewd sets a variable of this name, so that any other value would be lost."""
    return name in _OWN or name.startswith(INPUT_PREFIX)


def is_possible(name: str, value: str) -> bool:
    """Whether a variable can have this value: Linux takes no NUL byte, and at most 131,071 bytes with the name (execve(2))."""
    return "\0" not in value and len(f"{name}={value}".encode("utf-8", "replace")) <= ARGUMENT_BYTES_MAX


def check_variable(what: str, name: str) -> None:
    """UsageError, which begins with `what`, for a name that no variable can have, or that crewd sets itself."""
    if not name or re.search(r"[=\s\0]", name):
        raise UsageError(f"{what}: {name!r} is no name of a variable", hint="use a name like API_KEY")
    if is_own(name):
        raise UsageError(f"{what}: crewd sets the variable {name} itself", hint="use another name")
