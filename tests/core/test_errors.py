"""Refusals travel between processes whole."""

import pickle

from services.core.errors import AtlasError, Reason


def test_a_refusal_of_another_process_comes_back_whole() -> None:
    error = AtlasError(Reason.FILE_TRUNCATED, "It ends early.", field="ct.nii.gz", remedy="Fetch it again.")
    back = pickle.loads(pickle.dumps(error))
    assert str(back) == str(error) == "ct.nii.gz: It ends early. Fetch it again."
    assert (back.reason, back.field, back.remedy) == (error.reason, error.field, error.remedy)
