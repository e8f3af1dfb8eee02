"""The worker under stress, what it is called with, and one trial of it in a fresh folder.

Tests: tests/testing/stress/test_search.py.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import hashlib
import inspect
import itertools
import math
import mimetypes
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psutil

from crewd.model.errors import UsageError
from crewd.model.redact import compile_patterns
from crewd.model.workflow import WorkerSpec
from crewd.protocol import codec
from crewd.protocol.bootstrap import Bootstrap
from crewd.testing.stress import apart
from crewd.testing.stress.history import History, after
from crewd.testing.stress.stage import TASK, Stage
from crewd.testing.stress.trial import HEAD_BYTES, Act, File, Point, Trial
from crewd.worker.call import load, wants_context
from crewd.worker.declare import capabilities_of

PATIENCE_SECONDS = 30.0
"""Real time that an act may take; the waits of the SDK take none of it."""
TEMPORARY = ("*.tmp", "*.part", "*.partial", "*~", ".#*", "*.swp", "tmp????????")
"""Names of files that nobody should find when the worker is over."""
OUTPUT_CHARS = 2_000
STACK_CHARS = 2_000
FILES_MAX = 10_000
WATCHED_MAX = 200


@dataclass(frozen=True)
class Target:
    """A worker `module:function` (or the function itself) and how to call it.

    `files`: a folder that is copied to where the worker runs. `appends`: names (patterns) of files that it writes line by
    line, in which a beginning is as good as the whole; `*.log` always are. `applied`: given the folder, the texts of the
    steers whose effect can be seen there. `patience`: seconds of real time for one act.
    """

    worker: str | Callable[..., Any]
    args: Mapping[str, object] = field(default_factory=dict)
    files: Path | None = None
    appends: Sequence[str] = ()
    applied: Callable[[Path], Sequence[str]] | None = None
    patience: float = PATIENCE_SECONDS

    def __post_init__(self) -> None:
        if not isinstance(self.args, Mapping):
            raise UsageError(f"the arguments {self.args!r} are no dict", hint="Target('module:function', {'name': value})")
        if isinstance(self.appends, str) or not all(isinstance(each, str) for each in self.appends):
            raise UsageError(f"appends={self.appends!r} is no list of patterns", hint="appends=['*.txt']")
        if not isinstance(self.patience, int | float) or not 0 < self.patience < math.inf:
            raise UsageError(f"a patience of {self.patience!r} is not possible", hint="seconds, more than 0")
        if self.files is not None and not Path(self.files).is_dir():
            raise UsageError(f"files={str(self.files)!r} is no folder", hint="a folder with the files that the worker finds")

    def seen(self, work: Path) -> tuple[str, ...] | None:
        """What `applied` says of a folder; None if there is none."""
        if self.applied is None:
            return None
        texts = self.applied(work)
        if isinstance(texts, str) or not isinstance(texts, Iterable):
            raise UsageError(f"applied() has returned {texts!r}", hint="it returns a list of the texts of steers")
        return tuple(texts)

    @property
    def name(self) -> str:
        """`module:function`."""
        if isinstance(self.worker, str):
            return self.worker
        named = getattr(self.worker, "func", self.worker)  # of a partial
        if not hasattr(named, "__qualname__"):
            named = type(named)
        return f"{named.__module__}:{named.__qualname__}"

    def function(self) -> Callable[..., Any]:
        """The function. Raises UsageError if there is none, or if it takes other arguments."""
        function = self._found()
        context = (None,) if wants_context(function, dict(self.args)) else ()
        try:
            signature = inspect.signature(function)
        except ValueError:  # some functions written in C do not say what they take
            return function
        try:
            signature.bind(*context, **self.args)
        except TypeError as error:
            hint = "--arg NAME=JSON, or Target(..., args)"
            raise UsageError(f"{self.name} cannot be called so: {error}", hint=hint) from None
        return function

    def _found(self) -> Callable[..., Any]:
        if callable(self.worker):
            return self.worker
        if not isinstance(self.worker, str):
            raise UsageError(f"{self.worker!r} is no worker", hint="a function, or 'module:function'")
        module, _, name = self.worker.partition(":")
        if not name:
            raise UsageError(f"{self.worker!r} names no function", hint="write MODULE:FUNCTION")
        if module.endswith(".py"):
            hint = f"run it from the module's folder, as {Path(module).stem}:{name}"
            raise UsageError(f"{self.worker!r} names a file, and not a module", hint=hint)
        try:
            return load(self.worker)
        except ImportError as error:
            raise UsageError(
                f"{self.worker} cannot be loaded: {error}", hint="run it from where the module can be imported"
            ) from None
        except (Exception, SystemExit) as error:  # what a module does when it is imported is its own
            raise UsageError(
                f"{self.worker} cannot be loaded: {type(error).__name__}: {error}", hint=f"it is raised {_raised_in(error)}"
            ) from error

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What it declares to take."""
        return capabilities_of(self.function())


def _raised_in(error: BaseException) -> str:
    """Where an import was ended: the innermost place that is not the import's own machinery."""
    if isinstance(error, SyntaxError):
        return f"in {error.filename}, line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    return f"in {frames[-1].filename}, line {frames[-1].lineno}" if frames else "when it is imported"


class Place:
    """The folder of one trial: `work`, `shared`, `attempt/N` and `tmp/N`."""

    def __init__(self, root: Path, target: Target) -> None:
        self.root = root
        self.work, self.shared = root / "work", root / "shared"
        if target.files is not None:
            shutil.copytree(target.files, self.work, symlinks=True)
        self.work.mkdir(exist_ok=True)
        self.shared.mkdir()
        self.home = root / "home"
        self.home.mkdir()
        self.given = tuple(f"work/{path.relative_to(self.work).as_posix()}" for path in self.work.rglob("*") if path.is_file())

    def watched(self) -> Watched:
        """What is in `work` now, to see later what was written to."""
        return Watched(self.work)

    def act(self, epoch: int) -> tuple[Path, Path]:
        """The attempt's directory and its folder for temporary files."""
        made = self.root / "attempt" / str(epoch), self.root / "tmp" / str(epoch)
        for path in made:
            path.mkdir(parents=True)
        return made

    def files(self) -> dict[str, File]:
        """What is there now."""
        found: dict[str, File] = {}
        for path in sorted(self.root.glob("*/**/*")):
            parts = path.relative_to(self.root).parts
            if parts[0] in {"tmp", "home"} or not path.is_file() or path.is_symlink():
                continue
            name = "/".join(parts if parts[0] != "attempt" else ("attempt", *parts[2:]))
            with path.open("rb") as file:
                head = file.read(HEAD_BYTES)
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[name] = File(path.stat().st_size, head, digest)
            if len(found) > FILES_MAX:
                raise UsageError(f"the worker leaves more than {FILES_MAX} files", hint="give it less to do")
        return found

    def temporary(self, acts: Sequence[Act]) -> list[str]:
        """Temporary files of acts that were not killed, and files whose names say that they are temporary."""
        found = []
        for epoch, act in enumerate(acts, 1):
            if act.end != "crashed":
                found += [f"$TMPDIR/{path.name}" for path in sorted((self.root / "tmp" / str(epoch)).iterdir())]
        return found

    def strip(self, act: Act, epoch: int) -> Act:
        """Without the names of this very folder, so that two trials can be compared."""
        raw = msgspec.json.encode(act.result).decode()
        for path, name in ((self.root / "attempt" / str(epoch), "<attempt>"), (self.root, "<folder>")):
            raw = raw.replace(str(path), name)
        return msgspec.structs.replace(act, result=msgspec.json.decode(raw))


class Watched:
    """The files of a folder as they were: which of them nobody has written to since, though they may be gone by then."""

    def __init__(self, folder: Path) -> None:
        self._open: dict[str, tuple[int, int]] = {}
        for path in sorted(folder.rglob("*"))[:WATCHED_MAX]:
            if path.is_file() and not path.is_symlink():
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                self._open[f"work/{path.relative_to(folder).as_posix()}"] = descriptor, os.fstat(descriptor).st_mtime_ns

    def untouched(self) -> tuple[str, ...]:
        """Those whose bytes were not written again. Call it once."""
        found = []
        for name, (descriptor, before) in self._open.items():
            if os.fstat(descriptor).st_mtime_ns == before:
                found.append(name)
            os.close(descriptor)
        self._open.clear()
        return tuple(found)


def looks_temporary(name: str) -> bool:
    """Whether the name of a file says that it is not meant to stay."""
    return any(fnmatch.fnmatch(name.rpartition("/")[2], pattern) for pattern in TEMPORARY)


def try_out(target: Target, history: History, *, here: bool = False) -> Trial:
    """One trial. `here`: in this very process, for a debugger; then nothing is killed that hangs, and a crash is refused."""
    if here and history.crashes:
        raise UsageError("a crash needs a process of its own", hint="leave out here=True, or the crash")
    function = target.function()
    traces = apart.Traces()
    with tempfile.TemporaryDirectory(prefix="crewd-stress-") as name:
        place = Place(Path(os.path.realpath(name)), target)
        acts: list[Act] = []
        left: list[psutil.Process] = []
        while not acts or (acts[-1].end == "crashed" and not acts[-1].cancelled_at):
            try:
                act = _act(target, function, place, history, acts, traces, here=here)
            except BaseException:  # somebody interrupts the test
                _kill(traces.left())
                raise
            acts.append(place.strip(act, len(acts) + 1))
            history = after(history, sum(len(each.points) for each in acts))
            left = traces.left()
            if left and acts[-1].end in {"crashed", "stuck"}:
                _kill(left)  # as crewd does with what a killed worker leaves
                left = []
        names = [_named(process) for process in left]
        _kill(left)
        output = place.root / "output"
        files, kept = place.files(), place.watched()
        temporary = tuple(place.temporary(acts))
        applied = target.seen(place.work)
        resumed, resumed_files = None, files
        if not here and resumes(history, acts):
            resumed = place.strip(_act(target, function, place, History(), acts, traces, here=here), len(acts) + 1)
            _kill(traces.left())
            resumed_files = place.files()
        return Trial(
            acts=tuple(acts),
            files=files,
            temporary=temporary,
            processes=tuple(names),
            output=output.read_text(errors="replace")[-OUTPUT_CHARS:] if output.exists() else "",
            applied=applied,
            resumed=resumed,
            resumed_files=resumed_files if resumed is not None else {},
            given=place.given,
            untouched=kept.untouched(),
        )


def resumes(history: History, acts: Sequence[Act]) -> bool:
    """Whether a trial goes on with the worker being resumed: it was cancelled, and nothing else could change its end."""
    return acts[-1].end == "cancelled" and not acts[-1].idle and not history.messages and not history.answers


def saved(acts: Sequence[Act]) -> object:
    """The last checkpoint of the acts before, as crewd hands it to the next attempt; None if there is none."""
    return next((act.checkpoint for act in reversed(acts) if act.checkpoint is not None), None)


@functools.cache
def _prepare() -> None:
    """Make once what each act would make for itself: acts are forks of this process."""
    for each in (codec.from_worker, codec.to_worker):
        each.prepare()
    compile_patterns()
    mimetypes.init()


def _act(
    target: Target,
    function: Callable[..., Any],
    place: Place,
    history: History,
    acts: Sequence[Act],
    traces: apart.Traces,
    *,
    here: bool,
) -> Act:
    epoch = len(acts) + 1
    directory, temporary = place.act(epoch)
    bootstrap = Bootstrap(
        task=TASK, epoch=epoch, token="", endpoint="", directory=str(directory), shared=str(place.shared), cwd=str(place.work),
        goal="", text="", reads=(), output="", worker=WorkerSpec(call=target.name, args=dict(target.args)),
        checkpoint=saved(acts),
    )  # fmt: skip
    points, answers = sum(len(act.points) for act in acts), sum(act.answered for act in acts)

    def work(line: apart.ParentLink) -> bytes:
        def crash(act: Act) -> None:
            line.leave(msgspec.msgpack.encode(act))

        def at(point: Point) -> None:
            line.at(msgspec.msgpack.encode(point))

        def told(grace_seconds: float, act: Act) -> None:
            line.told(grace_seconds, msgspec.msgpack.encode(act))

        stage = Stage(bootstrap, history, points, answers, on_point=at, on_cancel=told, crash=crash)
        return msgspec.msgpack.encode(stage.run(function))

    if here:
        with _moved(place.work, temporary, traces.marker):
            return Stage(bootstrap, history, points, answers, crash=lambda _act: None).run(function)
    _prepare()
    said = apart.apart(work, place.work, temporary, traces, target.patience)
    came = tuple(msgspec.msgpack.decode(point, type=Point) for point in said.points)
    act = msgspec.msgpack.decode(said.data, type=Act) if said.data else Act("stuck", points=came)
    if said.how == "gone":
        return msgspec.structs.replace(act, end="vanished", points=came)
    return act if act.end != "stuck" else msgspec.structs.replace(act, stack=_stack(place))


def _stack(place: Place) -> str:
    """Where the threads of the last act were, innermost call first, without the frames of crewd itself."""
    path = place.root / apart.STACK
    text = path.read_text(errors="replace") if path.exists() else ""
    found: list[str] = []
    for thread in reversed(text.split("\n\n")):  # the main thread is the last one there
        frames = [line.strip() for line in thread.splitlines() if line.startswith("  File")]
        found += itertools.takewhile(lambda frame: "/crewd/" not in frame, frames)
    return "\n".join(found)[:STACK_CHARS]


@contextlib.contextmanager
def _moved(folder: Path, temporary: Path, marker: str) -> Iterator[None]:
    names = ("TMPDIR", "HOME", "PYTHONBREAKPOINT", apart.MARKER)
    cwd, environment = Path.cwd(), {name: os.environ.get(name) for name in names}
    apart.settle_in(folder, temporary, marker)
    os.environ.pop("PYTHONBREAKPOINT")
    if environment["PYTHONBREAKPOINT"] is not None:
        os.environ["PYTHONBREAKPOINT"] = environment["PYTHONBREAKPOINT"]
    try:
        yield
    finally:
        os.chdir(cwd)
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        tempfile.tempdir = None


def _named(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        if process.cmdline() == psutil.Process().cmdline():
            return f"{process.pid} a fork of the worker"
        return f"{process.pid} {' '.join(process.cmdline())[:80] or process.name()}"
    return str(process.pid)


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
