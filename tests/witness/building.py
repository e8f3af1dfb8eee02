"""How the witnesses are built: with the C compiler of the machine and the libzmq of pyzmq's wheel."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import zmq

COMPILER = shutil.which("cc") or shutil.which("gcc")
LIBRARIES = sorted((Path(zmq.__file__).parent.parent / "pyzmq.libs").glob("libzmq*.so*"))
"""The libzmq that the wheel of pyzmq brings; its functions are declared in wire.h itself."""
needs_a_compiler = pytest.mark.skipif(COMPILER is None or not LIBRARIES, reason="needs a C compiler and a wheel of pyzmq")


def built(name: str, directory: Path) -> str:
    """Compile `name`.c of this directory; the path of the program."""
    source, program, library = Path(__file__).with_name(f"{name}.c"), directory / name, LIBRARIES[0]
    subprocess.run(
        [str(COMPILER), "-Wall", "-Werror", str(source), str(library), f"-Wl,-rpath,{library.parent}", "-o", str(program)],
        check=True, timeout=120,
    )  # fmt: skip
    return str(program)
