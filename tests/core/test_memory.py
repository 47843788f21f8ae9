"""Work waits for memory, and what can never fit is refused before it starts."""

import threading

import pytest

from services.core.errors import AtlasError, Reason
from services.core.memory import MemoryGate, total_bytes


def test_work_that_can_never_fit_is_refused_by_name() -> None:
    with pytest.raises(AtlasError, match="big volume") as caught, MemoryGate(10).hold(11, what="big volume"):
        pass
    assert caught.value.reason == Reason.VOLUME_TOO_LARGE


def test_work_waits_until_others_are_done() -> None:
    gate, entered = MemoryGate(10), threading.Event()

    def second() -> None:
        with gate.hold(6, what="second"):
            entered.set()

    thread = threading.Thread(target=second)
    with gate.hold(6, what="first"):
        thread.start()
        assert not entered.wait(0.2)
    assert entered.wait(5)
    thread.join()


def test_memory_is_given_back_after_a_failure() -> None:
    gate = MemoryGate(10)
    with pytest.raises(RuntimeError), gate.hold(10, what="failing"):
        raise RuntimeError
    with gate.hold(10, what="next"):
        pass


def test_a_gate_that_closes_lets_nobody_wait() -> None:
    """Who waits is refused, for now; who is inside goes on; what fits still comes in."""
    gate, refused = MemoryGate(10), threading.Event()

    def second() -> None:
        with pytest.raises(AtlasError, match="stopping") as caught, gate.hold(6, what="second"):
            pass
        assert caught.value.reason == Reason.SHUTTING_DOWN
        assert caught.value.is_passing
        refused.set()

    thread = threading.Thread(target=second)
    with gate.hold(6, what="first"):
        thread.start()
        assert not refused.wait(0.2)
        gate.close()
        assert refused.wait(5)
        with gate.hold(4, what="third"):
            pass
    thread.join()


def test_the_machine_has_memory() -> None:
    assert total_bytes() > 2**27
