"""The formats a student is delivered in.

The engine writes each with the module of the same name in ``worker/distillation/exporters``.
"""

from typing import Literal, get_args

ExportFormat = Literal["safetensors", "onnx"]

EXPORT_FORMATS: tuple[str, ...] = get_args(ExportFormat)
