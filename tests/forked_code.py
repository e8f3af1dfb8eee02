"""What crewd reads in, and makes once, when it starts; `tests.forked` has that done once for all tests."""

import asyncio
import functools
import gc
import io
import mimetypes
import multiprocessing.popen_spawn_posix
import multiprocessing.queues
import multiprocessing.synchronize
import sysconfig
from typing import Any

import loguru

import crewd.__main__
import crewd.guardian.entry
import crewd.protocol.files
import crewd.store.database
import crewd.store.health
import crewd.supervisor.examine
import crewd.supervisor.files_link
import crewd.supervisor.front
import crewd.supervisor.gateway.wire
import crewd.supervisor.guardian_link
import crewd.supervisor.poller
import crewd.supervisor.program
import crewd.supervisor.serve
import crewd.supervisor.service
import crewd.supervisor.tree
import crewd.worker.host
from crewd.model.redact import compile_patterns
from crewd.protocol import codec, files, guardian

READ_IN = (asyncio, crewd, loguru, multiprocessing)

compile_patterns()
for each in (codec.requests, codec.replies, codec.from_worker, codec.to_worker):
    each.prepare()
tables: list[dict[str, type[Any]]] = [guardian.ORDERS, guardian.NOTICES, files.FILE_REQUESTS, files.FILE_REPLIES]
for kinds in tables:
    guardian.StreamCodec[Any](kinds)
mimetypes.init()
sysconfig.get_path = functools.cache(sysconfig.get_path)  # type: ignore[assignment]  # loguru asks 36 times for each sink
loguru.logger.remove(loguru.logger.add(io.StringIO()))
gc.freeze()
