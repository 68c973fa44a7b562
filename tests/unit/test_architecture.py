"""The house rules that import-linter and ruff cannot state."""

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import pytest

from app.contracts.dataset import AnyDataset, AnyFormat
from app.contracts.export import EXPORT_FORMATS
from app.contracts.job import Phase
from app.contracts.model import AnyArchitecture
from app.contracts.objective import AnyLoss

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "worker" / "distillation"
SOURCES = [*ROOT.glob("app/**/*.py"), *ROOT.glob("worker/**/*.py")]
VAGUE = re.compile(r"(^|_)(utils?|helpers?|common|manager|base|misc)(_|$)", re.IGNORECASE)


def names(union: Any, field: str) -> set[str]:  # noqa: ANN401 (an annotated union has no type)
    """Return what a discriminated union can be told apart by."""
    return {spec.model_fields[field].default for spec in get_args(get_args(union)[0])}


def modules(folder: str) -> set[str]:
    return {path.stem for path in (ENGINE / folder).glob("[!_]*.py")}


def naming(word: str, paths: Iterable[Path]) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in paths if word in path.read_text()}


def test_the_web_process_never_loads_torch() -> None:
    code = "import app.main, sys; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_celerys_process_never_loads_torch() -> None:
    code = "import worker.tasks, sys; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_every_loss_a_spec_offers_has_a_file() -> None:
    assert modules("losses") == names(AnyLoss, "loss")


def test_every_architecture_a_spec_offers_has_a_file() -> None:
    assert modules("models") == names(AnyArchitecture, "name")


def test_every_data_format_a_spec_offers_has_a_file() -> None:
    other_sources = names(AnyDataset, "source") - {"file"}

    assert modules("data") == names(AnyFormat, "name") | other_sources


def test_every_export_format_a_spec_offers_has_a_file() -> None:
    assert modules("exporters") == set(EXPORT_FORMATS)


def test_every_phase_of_a_job_has_a_stage() -> None:
    assert len(modules("stages")) == len(Phase)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_stay_small_and_say_what_they_are(path: Path) -> None:
    text = path.read_text()
    lines = len(text.splitlines())

    assert lines <= 300, f"{path.relative_to(ROOT)} has {lines} lines; split it by reason to change"
    assert text.startswith('"""')


def test_the_map_names_every_folder() -> None:
    drawn = {
        line.split("`")[1]
        for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines()
        if line.startswith("| `")
    }
    folders = {
        str(init.parent.relative_to(ROOT))
        for top in ("app", "worker", "migrations")
        for init in ROOT.glob(f"{top}/**/__init__.py")
    }
    assert folders == drawn


def test_no_value_is_renamed_on_its_way() -> None:
    """A loss's settings are named by its contract and by itself, and by nothing in between."""
    for setting, contract, loss in (
        ("other_weight", "response_losses", "decoupled"),
        ("between_weight", "response_losses", "dist"),
        ("angle_weight", "feature_losses", "relational"),
        ("margin", "feature_losses", "activation_boundary"),
    ):
        assert naming(f"{setting}: float", SOURCES) | naming(f"spec.{setting}", SOURCES) == {
            f"app/contracts/{contract}.py",
            f"worker/distillation/losses/{loss}.py",
        }


def test_only_the_settings_read_the_environment() -> None:
    reading = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if re.search(r"environ(\.get\(|\[)\s*[\"']STILLHOUSE|getenv", path.read_text())
    }
    assert reading == set()


def test_no_module_or_class_has_a_vague_name() -> None:
    classes = {
        name
        for path in SOURCES
        for name in re.findall(r"^class (\w+)", path.read_text(), re.MULTILINE)
    }
    words = {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name) for name in classes}
    words |= {path.stem for path in SOURCES}

    assert sorted(word for word in words if VAGUE.search(word)) == []
