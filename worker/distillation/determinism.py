"""Make a training a function of its spec and the machine's type, and leave no trace of it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

MOST_THREADS = 8
"""More seldom help at this size; and the number, which decides bits, varies less by machine."""


@contextmanager
def reproducible(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """Fix the number of threads and, where ``deterministic``, every algorithm.

    Random generators and all of torch's settings are afterwards as they were. What a GPU needs
    besides, `choose_device` has set for the whole process.
    """
    with ExitStack() as restore:
        devices = [device] if device.type == "cuda" else []
        restore.enter_context(torch.random.fork_rng(devices=devices))
        restore.callback(torch.set_num_threads, torch.get_num_threads())
        # Not `use_deterministic_algorithms`: that loads torch's compiler, which takes 0.7 s.
        restore.callback(torch.set_deterministic_debug_mode, torch.get_deterministic_debug_mode())
        # A tenth of a training would go into filling memory that is written before it is read.
        memory: Any = torch.utils.deterministic
        filled = memory.fill_uninitialized_memory
        restore.callback(setattr, memory, "fill_uninitialized_memory", filled)
        memory.fill_uninitialized_memory = False
        cudnn = torch.backends.cudnn
        restore.callback(setattr, cudnn, "deterministic", cudnn.deterministic)
        restore.callback(setattr, cudnn, "benchmark", cudnn.benchmark)
        cudnn.deterministic, cudnn.benchmark = deterministic, not deterministic
        torch.set_num_threads(min(torch.get_num_threads(), MOST_THREADS))
        torch.set_deterministic_debug_mode("error" if deterministic else "default")
        yield
