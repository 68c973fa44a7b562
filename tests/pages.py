"""The examples of a page of docs, and how they are run."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def examples(page: str, language: str = "bash") -> list[str]:
    """Return what a page of `docs`, or `README.md`, has in that language, as it is printed."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def run_bash(script: str, variables: dict[str, str], folder: Path | None = None) -> str:
    """Run a script to a good end; return what it printed. `stillhouse` is the one under test."""
    return _run(["/bin/bash", "-euo", "pipefail", "-c", script], folder, variables)


def run_python(program: str, variables: dict[str, str], folder: Path | None = None) -> str:
    return _run([sys.executable, "-c", program], folder, variables)


def _run(command: list[str], folder: Path | None, variables: dict[str, str]) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}{done.stderr}"
    return done.stdout
