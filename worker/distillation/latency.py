"""How long an exported student takes for one example, under ONNX Runtime as people deploy it."""

import statistics
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

WARM_UPS = 5
RUNS = 101
SECONDS = 1.0  # a large model is timed less often


def latencies(path: Path, example: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Return the median and the 95th percentile, in seconds, on one thread of the CPU.

    Of up to 101 runs, as many as end within a second, after five that are not counted.
    ``example`` is one raw input with its batch: (1, *shape).
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for _ in range(WARM_UPS):
        session.run(None, {"inputs": example})
    seconds: list[float] = []
    while len(seconds) < RUNS and sum(seconds) < SECONDS:
        start = time.perf_counter()
        session.run(None, {"inputs": example})
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), float(np.percentile(seconds, 95))
