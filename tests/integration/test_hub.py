"""The Hugging Face Hub's own client, unmodified, against a served API."""

import hashlib
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import onnxruntime
import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.integration.cutting import cutting
from tests.onnx_files import tiny_onnx
from tests.pages import examples, run_bash
from tests.unit.app.conftest import JOBS, spec
from tests.unit.app.served import Served, report, serve

DOCS = Path(__file__).parents[2] / "docs" / "models.md"
WEIGHTS = random.Random(0).randbytes(24_000_000)  # noqa: S311 (more than the client holds back)
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "onnx/model.onnx": tiny_onnx()}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("api")) as made:
        yield made


@pytest.fixture(scope="module")
def token(served: Served) -> str:
    return served.key_file.read_text()


@pytest.fixture(scope="module")
def repository(served: Served, token: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return publish(served, token, tmp_path_factory.mktemp("outputs"))


def publish(served: Served, token: str, outputs: Path) -> str:
    """Let a job deliver the files as its student; return the repository's name."""
    headers = {"Authorization": f"Bearer {token}"}
    httpx2.post(f"{served.url}{JOBS}", json=spec(name="digits"), headers=headers).raise_for_status()
    for path, content in FILES.items():
        target = outputs / "student" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    served.succeed(served.claim(), outputs, report())
    models = httpx2.get(f"{served.url}/v1/models", headers=headers).json()["data"]
    student = next(model for model in models if model["role"] == "student")
    project = httpx2.get(f"{served.url}/v1/api_keys", headers=headers).json()["data"][0]
    return f"{project['project_id']}/{student['id']}"


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }


@pytest.fixture
def hub(served: Served, token: str) -> HfApi:
    return HfApi(endpoint=served.url, token=token)


def test_a_snapshot_has_every_file_and_byte(hub: HfApi, repository: str, tmp_path: Path) -> None:
    folder = Path(hub.snapshot_download(repository, cache_dir=tmp_path))
    assert files_in(folder) == FILES
    assert folder.name == hub.model_info(repository).sha


def test_a_commit_is_a_revision(
    served: Served, hub: HfApi, repository: str, tmp_path: Path
) -> None:
    commit = hub.model_info(repository).sha
    again = snapshot_download(
        repository, revision=commit, endpoint=served.url, token=hub.token, cache_dir=tmp_path
    )
    assert Path(again).name == commit
    assert hub.list_repo_files(repository, revision=commit) == sorted(FILES)


def test_a_name_is_a_repository_and_its_alias_a_revision(
    served: Served, hub: HfApi, token: str, repository: str, tmp_path: Path
) -> None:
    httpx2.put(
        f"{served.url}/v1/model_aliases/digits@production",
        json={"version": 1},
        headers={"Authorization": f"Bearer {token}"},
    ).raise_for_status()
    named = f"{repository.partition('/')[0]}/digits"
    folder = Path(hub.snapshot_download(named, revision="production", cache_dir=tmp_path))
    assert files_in(folder) == FILES
    assert folder.name == hub.model_info(repository).sha == hub.model_info(named).sha
    assert hub.list_repo_files(named, revision=folder.name) == sorted(FILES)


def test_one_file_is_kept_under_its_sha256(
    served: Served, token: str, repository: str, tmp_path: Path
) -> None:
    path = hf_hub_download(
        repository, "model.safetensors", endpoint=served.url, token=token, cache_dir=tmp_path
    )
    assert Path(path).read_bytes() == WEIGHTS
    assert Path(path).resolve().name == hashlib.sha256(WEIGHTS).hexdigest()


def test_a_range_gives_the_rest_of_a_file(served: Served, token: str, repository: str) -> None:
    answer = httpx2.get(
        f"{served.url}/{repository}/resolve/main/model.safetensors",
        headers={"Authorization": f"Bearer {token}", "Range": "bytes=1000-"},
    )
    assert (answer.status_code, answer.content) == (206, WEIGHTS[1000:])


def test_what_is_missing_is_told_apart(hub: HfApi, repository: str, tmp_path: Path) -> None:
    with pytest.raises(EntryNotFoundError):
        hub.hf_hub_download(repository, "none.bin", cache_dir=tmp_path)
    with pytest.raises(RevisionNotFoundError):
        hub.model_info(repository, revision="v9")
    with pytest.raises(RepositoryNotFoundError):
        hub.model_info(f"{repository}0")


def test_another_project_is_as_good_as_none(hub: HfApi, repository: str) -> None:
    with pytest.raises(RepositoryNotFoundError):
        hub.model_info(f"other/{repository.split('/')[1]}")


def test_a_download_that_is_cut_is_taken_up_where_it_ended(
    served: Served, token: str, repository: str, tmp_path: Path
) -> None:
    with cutting(served.url, after_bytes=15_000_000) as proxy:
        folder = Path(
            snapshot_download(repository, endpoint=proxy.url, token=token, cache_dir=tmp_path)
        )
    assert files_in(folder) == FILES
    assert [start > 0 for start in proxy.asked_from] == [True]


def test_from_s3_it_is_the_same_after_a_cut_too(
    s3_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with cutting(os.environ["AWS_ENDPOINT_URL"], after_bytes=15_000_000) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        with serve(tmp_path, storage_url=s3_url) as served:
            key = served.key_file.read_text()
            repository = publish(served, key, tmp_path / "outputs")
            hub = HfApi(endpoint=served.url, token=key)
            folder = Path(hub.snapshot_download(repository, cache_dir=tmp_path / "cache"))
    assert files_in(folder) == FILES
    assert [start > 0 for start in proxy.asked_from] == [True]


def test_the_hub_s_command_downloads_a_model(
    served: Served, token: str, repository: str, tmp_path: Path
) -> None:
    subprocess.run(
        [Path(sys.executable).with_name("hf"), "download", repository, "--local-dir", "student"],
        cwd=tmp_path,
        env=os.environ | {"HF_ENDPOINT": served.url, "HF_TOKEN": token, "HF_HOME": str(tmp_path)},
        check=True,
        capture_output=True,
    )
    assert files_in(tmp_path / "student") == FILES


def test_what_was_downloaded_answers_as_the_service_does(
    served: Served, hub: HfApi, token: str, repository: str, tmp_path: Path
) -> None:
    path = hub.hf_hub_download(repository, "onnx/model.onnx", cache_dir=tmp_path)
    (example,) = (one for one in examples("docs/models.md") if "/predict" in one)
    model = repository.split("/")[1]
    told = run_bash(example, served.variables | {"MODEL": model})
    inputs = np.array([[0.5, 2], [3, -1]], np.float32)
    (own,) = onnxruntime.InferenceSession(path).run(None, {"inputs": inputs})
    assert json.loads(told)["answers"]["values"] == np.asarray(own).tolist()


def test_the_example_of_the_documentation_runs(
    served: Served, token: str, repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    *_, code = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    for word, value in {
        "http://127.0.0.1:8000": served.url,
        "PROJECT/MODEL": repository,
        "KEY": token,
    }.items():
        assert word in code
        code = code.replace(word, value)
    exec(code, {})  # noqa: S102 (our own documentation)
    assert (tmp_path / "student" / "model.safetensors").read_bytes() == WEIGHTS
