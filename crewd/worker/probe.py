"""The worker with which `crew doctor --probe` tries everything out: it listens until it is told to stop.

Tests: tests/supervisor/gateway/test_doctor.py.
"""

from __future__ import annotations

from crewd.worker.context import Context
from crewd.worker.declare import worker

SECONDS = 60.0
"""It does not live longer than this, whatever becomes of the doctor."""


@worker(steer=True, follow_up=False)
def probe(ctx: Context) -> str:
    """The text of the last steer, when its time is over."""
    text = ""
    for second in range(int(SECONDS)):
        ctx.progress(second, SECONDS)
        if steer := ctx.safe_point(wait=1.0):
            text = steer.text
    return text
