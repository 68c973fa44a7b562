"""Read the data, check that the spec fits it, divide it, and measure its mean and deviation.

Shapes: N = examples, C = channels, F = features.
"""

import json
import time
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from app.contracts.dataset import FileDataset, Split
from app.contracts.job import JobSpec, Phase, Progress
from worker.distillation.cautions import cautions, overlaps, unchosen
from worker.distillation.data_files import PART_OF, read_data
from worker.distillation.dataset import Dataset, InputDescription, Part, RawData, Tell
from worker.distillation.feasibility import check_trainings
from worker.distillation.fit import check_fit, check_held_out, check_targets, check_task
from worker.distillation.reporting import Reporter
from worker.distillation.schemes import check_scheme
from worker.distillation.split import divide, divide_at_random, divide_labels
from worker.distillation.workspace import Workspace

CAUTIONS_FILE = "cautions.json"
"""Beside the data: warnings that belong into the report, whoever prepared it."""
BLOCK_BYTES = 64 * 2**20
"""Of float64 values that are summed at once, whatever the size of an image."""


def run(spec: JobSpec, workspace: Workspace, reporter: Reporter) -> None:
    """Write the folder `prepared`. Raises BadInput where the data or the spec cannot work."""
    check_scheme(spec)
    with workspace.writing("prepared") as folder:
        data = read_data(spec.dataset, workspace, folder, _percent_told(reporter))
        check_fit(spec, list(data.inputs.shape[1:]))
        check_task(spec, data)
        ids = _parts(spec.dataset.split, data)
        if data.task != "classification":
            check_targets(data, ids["train"])
            check_held_out(data, ids)
        dataset = Dataset(data.inputs, data.labels, ids, _description(data, ids["train"]))
        check_trainings(spec, workspace, dataset, reporter)
        found = [
            *cautions(data, ids),
            *overlaps(data.inputs, ids, _brought(spec)),
            *unchosen(ids, dataset.transfer_set(spec.transfer.omit_classes).ids),
        ]
        for caution in found:
            reporter.warn(caution)
        (folder / CAUTIONS_FILE).write_text(json.dumps(found, indent=2))
        dataset.save(folder)


def warn_again(workspace: Workspace, reporter: Reporter) -> None:
    """Warn of what an earlier run has found when it prepared the data, if it has kept that."""
    kept = workspace.stage("prepared") / CAUTIONS_FILE
    for caution in json.loads(kept.read_bytes()) if kept.is_file() else []:
        reporter.warn(caution)


def _parts(split: Split, data: RawData) -> dict[Part, npt.NDArray[np.int64]]:
    """Return the ids of each part, ascending; validation that the data brings is left as it is."""
    if data.validation is None:
        return _divided(split, data)
    others = np.flatnonzero(~data.validation)
    test = None if data.test is None else data.test[others]
    rest = replace(data, labels=data.labels[others], test=test)
    ids = _divided(split.model_copy(update={"validation": 0}), rest)
    drawn: dict[Part, npt.NDArray[np.int64]] = {part: others[each] for part, each in ids.items()}
    return drawn | {"validation": np.flatnonzero(data.validation)}


def _divided(split: Split, data: RawData) -> dict[Part, npt.NDArray[np.int64]]:
    if data.task == "classification":
        return divide(data.labels.astype(np.int64), data.output_names, split, data.test)
    if data.task == "multi_label":
        return divide_labels(data.labels.astype(np.float32), split, data.test)
    return divide_at_random(len(data.labels), split, data.test)


def _brought(spec: JobSpec) -> set[Part]:
    """Return the parts that have a file of their own."""
    if not isinstance(spec.dataset, FileDataset):
        return set()
    return {PART_OF[field] for field in spec.dataset.files if field in PART_OF}


def _percent_told(reporter: Reporter) -> Tell:
    started = time.monotonic()

    def tell(done: int, total: int) -> None:
        reporter.progress(
            lambda: Progress(
                phase=Phase.PREPARING,
                step=100 * done // max(total, 1),
                steps=100,
                seconds_left=(time.monotonic() - started) * (total - done) / done if done else None,
            )
        )

    return tell


def _description(data: RawData, train: npt.NDArray[np.int64]) -> InputDescription:
    shape = list(data.inputs.shape[1:])
    mean, std = _mean_and_std(data.inputs, train)
    return InputDescription(
        kind="table" if len(shape) == 1 else "image",
        shape=shape,
        mean=mean.tolist(),
        std=std.tolist(),
        task=data.task,
        output_names=data.output_names,
        columns=data.columns,
        **_target_scale(data, train),
    )


def _target_scale(data: RawData, train: npt.NDArray[np.int64]) -> dict[str, list[float]]:
    """Return mean and deviation of regression's targets on the train part."""
    if data.task != "regression":
        return {}
    targets = data.labels[train].astype(np.float64)
    return {
        "output_mean": targets.mean(axis=0).tolist(),
        "output_std": targets.std(axis=0).tolist(),
    }


def _mean_and_std(
    inputs: npt.NDArray[np.uint8] | npt.NDArray[np.float32], ids: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return mean and deviation of each channel or feature over ``ids``, some rows at a time.

    Twice through the rows: a sum of squares alone would lose what is left after subtraction.
    What does not vary, or by less than float32 can tell, has the deviation 1.
    """
    axes = (0, *range(2, inputs.ndim))
    num_values = len(ids) * int(np.prod(inputs.shape[2:], dtype=np.int64))
    at_once = max(1, BLOCK_BYTES // (8 * int(np.prod(inputs.shape[1:], dtype=np.int64))))
    blocks = [ids[start : start + at_once] for start in range(0, len(ids), at_once)]
    mean = sum(inputs[rows].sum(axis=axes, dtype=np.float64) for rows in blocks) / num_values
    around = mean.reshape(-1, *[1] * (inputs.ndim - 2))
    variance = sum(np.square(inputs[rows] - around).sum(axis=axes) for rows in blocks) / num_values
    std = np.sqrt(variance)
    constant = std <= np.finfo(np.float32).eps * np.abs(mean)
    return mean, np.where(constant, 1.0, std)
