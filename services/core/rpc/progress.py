"""Long work in a thread, told to the caller as a stream."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import structlog

from abdomenatlas.type.v1.array_pb2 import Progress
from services.core.errors import AtlasError

log = structlog.get_logger()

Report = Callable[[str, float], None]
"""Called by the work: a stage and the done share of the whole, 0 to 1."""

Result = TypeVar("Result")
Message = TypeVar("Message")

HEARTBEAT_SECONDS = 5.0


async def stream(
    work: Callable[[Report], Result],
    *,
    wrap_progress: Callable[[Progress], Message],
    wrap_result: Callable[[Result], Message],
) -> AsyncIterator[Message]:
    """Run `work(report)` in a thread and yield what it reports, then its result.

    The last report is repeated every few seconds, so that a watcher tells slow work from a dead connection. If the
    caller goes away the work ends in its own time and what it commits stays; how it fails then is logged.
    """
    loop = asyncio.get_running_loop()
    reports: asyncio.Queue[Progress] = asyncio.Queue()

    def report(stage: str, fraction: float) -> None:
        loop.call_soon_threadsafe(reports.put_nowait, Progress(stage=stage, fraction=fraction))

    task = asyncio.create_task(asyncio.to_thread(work, report))
    last = Progress()
    try:
        while not task.done() or not reports.empty():
            waiter = asyncio.create_task(reports.get())
            try:
                await asyncio.wait({task, waiter}, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            finally:
                has_report = not waiter.cancel()
            if has_report:
                last = waiter.result()
            if has_report or not task.done():
                yield wrap_progress(last)
    except BaseException:  # the caller went away
        task.add_done_callback(_log_failure)
        raise
    yield wrap_result(await task)


def _log_failure(task: asyncio.Task[Any]) -> None:
    error = task.exception() if not task.cancelled() else None
    if isinstance(error, AtlasError):
        log.info("abandoned work failed", reason=error.reason.value, message=error.message, field=error.field)
    elif error:
        log.error("abandoned work failed", exc_info=error)
