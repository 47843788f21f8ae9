"""The errors of the code are those of the contract."""

from abdomenatlas.type.v1.error_pb2 import ErrorReason
from services.core.errors import Reason

PREFIX = "ERROR_REASON_"


def test_the_code_has_exactly_the_reasons_of_the_contract() -> None:
    contract = {name.removeprefix(PREFIX) for name in ErrorReason.DESCRIPTOR.values_by_name} - {"UNSPECIFIED"}
    assert {reason.value for reason in Reason} == contract
    assert all(reason.name == reason.value for reason in Reason)
