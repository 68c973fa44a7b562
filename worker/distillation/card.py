"""What goes with a student's weights for people: the model card, and how to prepare inputs."""

import json
import re
from collections.abc import Sequence

from pydantic import JsonValue

from app.contracts.dataset import Builtin
from app.contracts.export import ExportFormat
from app.contracts.job import JobSpec
from app.contracts.model import TrainedTeacher
from app.contracts.naming import published_name
from app.contracts.references import named_models
from app.contracts.report import Report
from app.contracts.report_figures import (
    QUALITIES,
    figures,
    interval_text,
    roles,
    shown_gain,
    shown_gain_interval,
)
from worker.distillation.dataset import InputDescription

_TASKS = {
    ("image", "classification"): "image-classification",
    ("table", "classification"): "tabular-classification",
    ("table", "multi_label"): "tabular-classification",
    ("table", "regression"): "tabular-regression",
}


_PRINTED = {
    "classification": "print([output_names[each] for each in logits.argmax(axis=1)])",
    "multi_label": (
        "print([[name for name, each in zip(output_names, row) if each > 0] for row in logits])"
    ),
    "regression": "print(output_names, predictions)",
}


def output_name(description: InputDescription) -> str:
    """Return what an exported student calls its output."""
    return "predictions" if description.task == "regression" else "logits"


def preprocessor_config(description: InputDescription) -> dict[str, JsonValue]:
    """Say how inputs are prepared: hardly, for the model standardises them itself."""
    if description.kind == "table":
        columns: list[JsonValue] = [
            column.model_dump(mode="json") for column in description.columns or []
        ]
        return {
            "note": "One number a column, in this order and as they stand in the table; of a "
            "column with categories one number a category, 1 for the row's and 0 for the others. "
            "The model standardises them itself.",
            "columns": columns,
        }
    channels, height, width = description.shape
    return {
        "note": "The model takes raw pixels from 0 to 255 as float32 (channels, height, width) "
        f"and standardises them itself. {_fitting(description)}",
        # No processor of the Hub fits them so: those that keep proportions round otherwise.
        "do_resize": False,
        "size": {"height": height, "width": width},
        "do_convert_rgb": channels == 3,  # noqa: PLR2004 (red, green, blue)
        "num_channels": channels,
        "do_rescale": False,
        "do_normalize": False,
    }


def _fitting(description: InputDescription) -> str:
    """Say what is done with an image of another size; `pictures.fitted` does it."""
    _, height, width = description.shape
    if height != width:
        return f"Images have {width} x {height} pixels; no other size has been learned from."
    return (
        f"An image of another size than {width} x {height} is best fitted so: it keeps its "
        f"proportions, its longer side becomes {width} pixels (bilinear, as Pillow does it), it "
        "lies in the middle of black, and what is transparent is black too."
    )


def model_card(spec: JobSpec, description: InputDescription, report: Report) -> str:
    """Return the README.md of a student's folder, as the Hugging Face Hub reads it."""
    name = _one_line(spec.name or f"{spec.student.architecture.name}-student")
    parts = [
        "---",
        *_front_matter(spec, description, report, name),
        "---",
        "",
        f"# {_escaped(name)}",
        "",
        (
            f"A `{report.student.architecture}` of {report.student.num_parameters:,} parameters, "
            f"distilled from {_teacher(report)}. {_answers(report)}"
        ),
        "",
        "## Results",
        "",
        *_results(report),
        "",
        *_comparison(report),
        *(f"- **Note**: {_escaped(warning)}" for warning in report.warnings),
        "",
        "## Use",
        "",
        *_usage(spec.export, description),
    ]
    return "\n".join(parts)


def _front_matter(
    spec: JobSpec, description: InputDescription, report: Report, name: str
) -> list[str]:
    """Return YAML; each value is JSON, which is YAML too, so nothing in it is markup."""
    task = _TASKS[description.kind, description.task]
    data = spec.dataset.name if isinstance(spec.dataset, Builtin) else spec.dataset.format.name
    test = report.student.test
    metrics = [
        ("accuracy", "Accuracy", test.accuracy),
        ("f1", "Macro F1", test.macro_f1),
        ("log_loss", "Log loss in nats", test.log_loss),
        ("rmse", "RMSE", test.rmse),
        ("mae", "MAE", test.mae),
        ("r_squared", "R2", test.r2),
    ]
    result = {
        "task": {"type": task},
        "dataset": {"name": data, "type": data, "split": "test"},
        "metrics": [
            {"type": metric, "name": title, "value": value}
            for metric, title, value in metrics
            if value is not None
        ],
    }
    tags = ["knowledge-distillation", *spec.export]
    bases = _base_models(spec)
    return [
        f"pipeline_tag: {task}",
        f"tags: {json.dumps(tags)}",
        *([f"base_model: {json.dumps(bases[0] if len(bases) == 1 else bases)}"] if bases else []),
        f"model-index: {json.dumps([{'name': name, 'results': [result]}])}",
    ]


def _base_models(spec: JobSpec) -> list[str]:
    """Return what the student comes from, as far as it is a model that can be asked for.

    The id of a registered one; the name of one that the job itself has trained and publishes, whose
    version is only known once the card is written.
    """
    named = list(dict.fromkeys(named_models(spec).values()))
    own = published_name(spec.name, "teacher") if isinstance(spec.teacher, TrainedTeacher) else None
    return named if own is None else [own, *named]


def _teacher(report: Report) -> str:
    teacher = report.teacher
    if teacher is None or teacher.num_parameters is None:
        return "recorded answers"
    return f"a `{teacher.architecture}` of {teacher.num_parameters:,}"


def _answers(report: Report) -> str:
    num_outputs = len(report.output_names)
    if report.task == "classification":
        return f"It tells {num_outputs} classes apart."
    if report.task == "multi_label":
        return f"It says yes or no to each of {num_outputs} labels."
    return f"It predicts {', '.join(f'`{_escaped(name)}`' for name in report.output_names)}."


def _results(report: Report) -> list[str]:
    columns = roles(report)
    return [
        f"| | {' | '.join(columns)} |",
        f"|---|{'---|' * len(columns)}",
        *(f"| {name} | {' | '.join(cells)} |" for name, cells in figures(report).items()),
        "",
        (
            "The baseline is the student's architecture trained as long without a teacher; "
            "intervals hold in 95 of 100 bootstrap samples of the test examples; latency is the "
            "median in PyTorch on the CPU of the machine that trained it."
        ),
    ]


def _comparison(report: Report) -> list[str]:
    lines = []
    fidelity = report.fidelity
    if fidelity is not None and fidelity.agreement is not None:
        lines.append(
            f"- The student gives the teacher's answer on {fidelity.agreement:.2%} of the test "
            f"answers; mean KL(teacher || student) {fidelity.mean_divergence:.4f} nats."
        )
    elif fidelity is not None:
        lines.append(
            f"- Student and teacher differ by {fidelity.rmse:.4f} standard deviations of the "
            "teacher's predictions (RMSE on test)."
        )
    if report.gain is not None:
        lines.append(
            f"- Gain over the baseline: {shown_gain(report, report.gain)} of "
            f"{QUALITIES[report.compared_by]} (95 % interval {shown_gain_interval(report)})."
        )
    if report.gap_recovered is not None:
        share = f"- Share of the gap to the teacher recovered: {report.gap_recovered:.0%}"
        if report.gap_interval is not None:
            share += f" (95 % interval {interval_text(report.gap_interval, '.0%')})"
        lines.append(f"{share}.")
    return lines


def _usage(formats: Sequence[ExportFormat], description: InputDescription) -> list[str]:
    shape = ", ".join(["1", *map(str, description.shape)])
    output = output_name(description)
    values = "pixels from 0 to 255" if description.kind == "image" else "values as in the table"
    make_inputs = f"inputs = np.zeros(({shape}), np.float32)  # {values}; any number of examples"
    lines = [
        (
            "Inputs are raw, the model standardises them itself; see `preprocessor_config.json`. "
            "The names of its outputs are in `config.json`, under `description`."
        ),
        *([_fitting(description)] if description.kind == "image" else []),
        "",
    ]
    if "onnx" in formats:
        lines += [
            "With `pip install onnxruntime`:",
            "",
            "```python",
            "import json",
            "from pathlib import Path",
            "",
            "import numpy as np",
            "import onnxruntime",
            "",
            'session = onnxruntime.InferenceSession("onnx/model.onnx")',
            make_inputs,
            f'({output},) = session.run(["{output}"], {{"inputs": inputs}})',
            'config = json.loads(Path("config.json").read_text())',
            'output_names = config["description"]["output_names"]',
            _PRINTED[description.task],
            "```",
            "",
        ]
    if "safetensors" in formats:
        lines += [
            "With `pip install stillhouse`, from `config.json` and `model.safetensors`:",
            "",
            "```python",
            "from pathlib import Path",
            "",
            "import numpy as np",
            "import torch",
            "",
            "from worker.distillation.build import load_model",
            "",
            'model = load_model(Path("."), "cpu")',
            make_inputs,
            f"{output} = model(torch.from_numpy(inputs))",
            "```",
            "",
        ]
    return lines


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escaped(text: str) -> str:
    """Keep a client's text from becoming markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|!])", r"\\\1", text)
