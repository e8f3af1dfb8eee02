"""Modules that are imported when they are used: each worker of the suite would read them in, and most never need them."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Late:
    """Stands for a module. It is not imported by what looks for tests in the module that names it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pytest asks for `_mock_name`
            raise AttributeError(name)
        return getattr(import_module(self._name), name)
