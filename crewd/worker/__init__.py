"""What runs inside a worker process: the SDK for its code, and the runtimes that host it.

    from crewd.worker import Context, worker

    @worker(steer=True, follow_up=True)
    def index(ctx: Context, root: str) -> dict:
        for number, path in enumerate(files(root)):
            ctx.progress(number, note=path)
            if steer := ctx.safe_point():       # raises Cancelled; hands over one steer at a time, oldest first
                apply(steer.text)
        return {"files": number}

Rule 1: user code runs on the main thread; the link to crewd has a thread of its own, so a busy worker still hears a cancel.
Rule 2: this room never imports the supervisor or the store.
"""

from crewd.worker.aio import AsyncContext
from crewd.worker.call import PermanentError
from crewd.worker.context import Context
from crewd.worker.declare import worker
from crewd.worker.message import Letter, Message
from crewd.worker.token import CancellationToken, Cancelled

__all__ = ["AsyncContext", "CancellationToken", "Cancelled", "Context", "Letter", "Message", "PermanentError", "worker"]
