"""Triton's entry point; the card beside this folder says what is loaded."""

from services.serving.triton_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
