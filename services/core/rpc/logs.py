"""Structured logs: one JSON object a line on standard error, with the id of the request in hand."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from services.core.rpc import request_id


def configure(level: str, service: str) -> None:
    """Set up structlog for this process. Every line names `service`, whatever thread it comes from."""

    def add_service(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {"service": service, **event}

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_service,
            _add_request_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _add_request_id(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if current := request_id.current():
        event["request_id"] = current
    return event
