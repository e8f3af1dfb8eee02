"""Shows an artifact by the renderer of an extension: a command that reads the artifact and prints what people read.

Tests: tests/client/test_extension_commands.py.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import msgspec

from crewd.client.disabled import disabled
from crewd.client.extension_run import run_once
from crewd.client.initialised import initialise_extensions
from crewd.client.inventory import commands_of_extensions
from crewd.model.errors import CrewdError, UsageError

RENDERED_BYTES_MAX = 16 << 20


class Rendered(msgspec.Struct, frozen=True):
    """What a renderer has printed, and which it was: `EXTENSION.NAME`."""

    renderer: str
    text: str


def render(artifact: str, data: bytes) -> Rendered | None:
    """The artifact as the first renderer for its name shows it; None if there is none that is enabled.

    Extensions are asked in the order of the alphabet, and the renderers of each in the order of its file. Raises CrewdError if
    the renderer fails. What it prints after the first MiB is left out.
    """
    initialise_extensions()
    off = disabled()
    for kind, name, extension in commands_of_extensions():
        whole = f"{extension.name}.{name}"
        if kind != "renderer" or f"renderer:{whole}" in off:
            continue
        renderer = extension.declared.renderers[name]
        if fnmatchcase(artifact, renderer.artifact):
            if len(data) > RENDERED_BYTES_MAX:
                hint = "crew artifact get -o FILE writes it as it is"
                raise UsageError(f"{artifact} has {len(data):,} bytes, {RENDERED_BYTES_MAX:,} can be shown", hint=hint)
            ended = run_once(extension, renderer.run, renderer.timeout_seconds, data)
            if ended.code != 0:
                hint = f"crew artifact get shows it as it is; crew disable renderer:{whole} --reason WHY"
                raise CrewdError(f"the renderer {whole} has failed: {ended.error}", hint=hint)
            return Rendered(whole, ended.output.decode("utf-8", "replace"))
    return None
