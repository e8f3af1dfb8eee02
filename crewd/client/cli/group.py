"""Verbs below a verb, such as `crew teams ls`: other words that people try for one of them are understood, or answered."""

from __future__ import annotations

import difflib

import click

_WORDS = {
    "list": ("ls", "show"), "ls": ("show",), "create": ("new",), "add": ("new",), "init": ("new",), "delete": ("rm",),
    "remove": ("rm",), "mv": ("rename",), "move": ("rename",), "cat": ("show",), "view": ("show",), "info": ("show", "status"),
    "describe": ("show",), "inspect": ("show",), "lint": ("validate", "check"), "validate": ("check",), "check": ("validate",),
    "up": ("start",), "down": ("stop",), "shutdown": ("stop",), "log": ("logs",), "ps": ("status",), "reset": ("unset",),
}  # fmt: skip
"""For a word: the verbs that it may mean, of which a group has one or none."""


class Group(click.Group):
    """A verb that is followed by one of its own verbs."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, for a word of `_WORDS` too. UsageError that names the verbs there are, or the nearest one."""
        name = args[0]
        meant = next((verb for verb in (name, *_WORDS.get(name, ())) if verb in self.commands), None)
        if meant is None:
            near = difflib.get_close_matches(name, self.commands, 1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(sorted(self.commands))}."
            raise click.UsageError(f"crew {self.name} has no verb {name!r}. {hint}", ctx)
        return super().resolve_command(ctx, [meant, *args[1:]])
