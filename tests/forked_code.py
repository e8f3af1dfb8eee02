"""What crewd reads in when it starts; `tests.forked` has it read in once."""

import asyncio
import gc
import multiprocessing.popen_spawn_posix
import multiprocessing.queues

import loguru

import crewd.guardian.entry
import crewd.store.database
import crewd.store.health
import crewd.supervisor.examine
import crewd.supervisor.front
import crewd.supervisor.gateway.wire
import crewd.supervisor.guardian_link
import crewd.supervisor.program
import crewd.supervisor.tree
import crewd.worker.host

READ_IN = (asyncio, crewd, loguru, multiprocessing)

gc.freeze()
