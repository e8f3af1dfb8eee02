"""crewd runs crews of worker processes and gives each one a control channel that can be trusted.

This module is what a client needs and no more: importing it loads neither the supervisor nor the store.

    import crewd

    with crewd.connect() as crew:
        run = crew.call("mypackage.jobs:index", {"root": "."})
        run.steer("skip docs/")
        print(run.result(timeout=900))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crewd.client import aio as aio
    from crewd.client.blocking import Crew as Crew
    from crewd.client.blocking import RunHandle as RunHandle
    from crewd.client.blocking import connect as connect
    from crewd.protocol.errors import CrewdError as CrewdError

__version__ = "0.1.0"

_LAZY = {
    "connect": ("crewd.client.blocking", "connect"),
    "Crew": ("crewd.client.blocking", "Crew"),
    "RunHandle": ("crewd.client.blocking", "RunHandle"),
    "aio": ("crewd.client.aio", None),
    "CrewdError": ("crewd.protocol.errors", "CrewdError"),
}
__all__ = ["Crew", "CrewdError", "RunHandle", "__version__", "aio", "connect"]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that `crew --version` pays for nothing."""
    try:
        module_name, attribute = _LAZY[name]
    except KeyError:
        message = f"module 'crewd' has no attribute {name!r}"
        raise AttributeError(message) from None
    module = importlib.import_module(module_name)
    return module if attribute is None else getattr(module, attribute)
