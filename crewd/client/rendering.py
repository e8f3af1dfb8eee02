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
from crewd.model.errors import CrewdError


class Rendered(msgspec.Struct, frozen=True):
    """What a renderer has printed, and which it was: `EXTENSION.NAME`. `cut` says that only the first MiB is here."""

    renderer: str
    text: str
    cut: bool = False


def render(artifact: str, data: bytes) -> Rendered | None:
    """The artifact as the first renderer for its name shows it; None if there is none that is enabled.

    Extensions are asked in the order of the alphabet, and the renderers of each in the order of its file. Raises CrewdError if
    the renderer fails.
    """
    initialise_extensions()
    off = disabled()
    for kind, name, extension in commands_of_extensions():
        whole = f"{extension.name}.{name}"
        if kind != "renderer" or f"renderer:{whole}" in off:
            continue
        renderer = extension.declared.renderers[name]
        if fnmatchcase(artifact, renderer.artifact):
            ended = run_once(extension, renderer.run, renderer.timeout_seconds, data, only_beginning=True)
            if ended.code != 0:
                hint = f"crew artifact get shows it as it is; crew disable renderer:{whole} --reason WHY"
                raise CrewdError(f"the renderer {whole} has failed: {ended.error}", hint=hint)
            return Rendered(whole, ended.output.decode("utf-8", "replace"), ended.cut)
    return None
