"""What goes with a student's weights for people: the model card, and how to prepare inputs."""

import json
import re
from collections.abc import Callable, Sequence

from pydantic import JsonValue

from app.contracts.dataset import Builtin
from app.contracts.export import ExportFormat
from app.contracts.job import JobSpec
from app.contracts.report import ModelReport, Report
from worker.distillation.dataset import InputDescription

_TASKS = {"image": "image-classification", "table": "tabular-classification"}


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
        "and standardises them itself.",
        "do_resize": True,
        "size": {"height": height, "width": width},
        "do_convert_rgb": channels == 3,  # noqa: PLR2004 (red, green, blue)
        "num_channels": channels,
        "do_rescale": False,
        "do_normalize": False,
    }


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
            f"distilled from a `{report.teacher.architecture}` of "
            f"{report.teacher.num_parameters:,}. It tells {len(report.output_names)} classes apart."
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
    task = _TASKS[description.kind]
    data = spec.dataset.name if isinstance(spec.dataset, Builtin) else spec.dataset.format.name
    test = report.student.test
    metrics = [
        ("accuracy", "Accuracy", test.accuracy),
        ("f1", "Macro F1", test.macro_f1),
        ("log_loss", "Log loss in nats", test.log_loss),
    ]
    result = {
        "task": {"type": task},
        "dataset": {"name": data, "type": data, "split": "test"},
        "metrics": [
            {"type": metric, "name": title, "value": value} for metric, title, value in metrics
        ],
    }
    tags = ["knowledge-distillation", *spec.export]
    return [
        f"pipeline_tag: {task}",
        f"tags: {json.dumps(tags)}",
        f"model-index: {json.dumps([{'name': name, 'results': [result]}])}",
    ]


def _results(report: Report) -> list[str]:
    models = [report.teacher, report.baseline, report.student]
    rows: dict[str, Callable[[ModelReport], str]] = {
        "test accuracy": lambda model: f"{model.test.accuracy:.2%}",
        "test errors": lambda model: f"{model.test.errors:,} of {model.test.num_examples:,}",
        "macro F1": lambda model: f"{model.test.macro_f1:.4f}",
        "log loss (nats)": lambda model: f"{model.test.log_loss:.4f}",
        "calibration error": lambda model: f"{model.test.calibration_error:.4f}",
        "parameters": lambda model: f"{model.num_parameters:,}",
        "bytes": lambda model: f"{model.bytes:,}",
        "latency of one example": lambda model: f"{model.latency_seconds * 1000:.3f} ms",
    }
    return [
        "| | teacher | baseline | student |",
        "|---|---|---|---|",
        *(
            f"| {name} | {' | '.join(say(model) if model else '-' for model in models)} |"
            for name, say in rows.items()
        ),
        "",
        (
            "The baseline is the student's architecture trained as long without a teacher; "
            "latency is the median in PyTorch on the CPU of the machine that trained it."
        ),
    ]


def _comparison(report: Report) -> list[str]:
    lines = [
        (
            f"- The student gives the teacher's answer on {report.fidelity.agreement:.2%} of "
            f"the test examples; mean KL(teacher || student) "
            f"{report.fidelity.mean_divergence:.4f} nats."
        )
    ]
    if report.gain is not None:
        lines.append(f"- Gain over the baseline: {100 * report.gain:+.2f} points of accuracy.")
    if report.gap_recovered is not None:
        lines.append(f"- Share of the gap to the teacher recovered: {report.gap_recovered:.0%}.")
    return lines


def _usage(formats: Sequence[ExportFormat], description: InputDescription) -> list[str]:
    shape = ", ".join(["1", *map(str, description.shape)])
    values = "pixels from 0 to 255" if description.kind == "image" else "values as in the table"
    make_inputs = f"inputs = np.zeros(({shape}), np.float32)  # {values}; any number of examples"
    lines = [
        (
            "Inputs are raw, the model standardises them itself; see `preprocessor_config.json`. "
            "The class names are in `config.json`, under `description`."
        ),
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
            '(logits,) = session.run(["logits"], {"inputs": inputs})',
            'config = json.loads(Path("config.json").read_text())',
            'output_names = config["description"]["output_names"]',
            "print([output_names[each] for each in logits.argmax(axis=1)])",
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
            "logits = model(torch.from_numpy(inputs))",
            "```",
            "",
        ]
    return lines


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escaped(text: str) -> str:
    """Keep a client's text from becoming markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|!])", r"\\\1", text)
