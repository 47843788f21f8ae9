"""Every log line names its service and, within a call, the request."""

import json
import threading

import pytest
import structlog

from services.core.rpc import logs, request_id


def test_a_thread_of_its_own_logs_under_the_service(capsys: pytest.CaptureFixture[str]) -> None:
    """Threads do not inherit what is bound to their maker."""
    logs.configure("info", "StorageService")
    try:
        thread = threading.Thread(target=lambda: structlog.get_logger().info("swept"))
        thread.start()
        thread.join()
        with request_id.bound("trial-7"):
            structlog.get_logger().info("call", method="GetVolume")
    finally:
        structlog.reset_defaults()
    swept, call = map(json.loads, capsys.readouterr().err.splitlines())
    assert (swept["service"], swept["event"], swept["level"]) == ("StorageService", "swept", "info")
    assert (call["service"], call["request_id"], call["method"]) == ("StorageService", "trial-7", "GetVolume")
