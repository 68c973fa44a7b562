"""OpenAI's own client sends, lists, reads and deletes files, to a folder and to S3."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.unit.app.served import serve

CONTENT = b"a,label\n" + b"1,x\n2,y\n" * 1_200_000
PART_BYTES = 4_000_000


@pytest.fixture(params=["folder", "s3"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[openai.OpenAI]:
    url = str(request.getfixturevalue("s3_url")) if request.param == "s3" else None
    with (
        serve(tmp_path, storage_url=url) as served,
        openai.OpenAI(
            base_url=f"{served.url}/v1", api_key=served.key_file.read_text(), max_retries=0
        ) as client,
    ):
        yield client


def test_a_file_goes_there_and_back(client: openai.OpenAI) -> None:
    made = [
        client.files.create(file=(f"{name}.csv", CONTENT), purpose="fine-tune") for name in "abc"
    ]
    other = client.files.create(file=("d.csv", b"1"), purpose="batch")

    assert client.files.retrieve(made[0].id) == made[0]
    assert isinstance(made[0].created_at, int)
    assert (made[0].object, made[0].status) == ("file", "processed")
    assert client.files.content(made[1].id).read() == CONTENT
    assert [file.id for file in client.files.list(purpose="fine-tune", order="asc", limit=2)] == [
        file.id for file in made
    ]
    assert next(iter(client.files.list())) == other

    deleted = client.files.delete(made[0].id)
    assert (deleted.id, deleted.deleted) == (made[0].id, True)
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made[0].id)


def test_a_file_goes_in_parts(client: openai.OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "measurements.csv"
    path.write_bytes(CONTENT)

    upload = client.uploads.upload_file_chunked(
        file=path,
        mime_type="text/csv",
        purpose="fine-tune",
        part_size=PART_BYTES,
        md5=hashlib.md5(CONTENT, usedforsecurity=False).hexdigest(),
    )

    assert upload.status == "completed"
    assert upload.file is not None
    assert upload.file.bytes == len(CONTENT)
    assert client.files.content(upload.file.id).read() == CONTENT


def test_a_wrong_digest_and_a_cancelled_upload_arrive_as_the_client_s_own_errors(
    client: openai.OpenAI,
) -> None:
    upload = client.uploads.create(
        bytes=4, filename="a.csv", mime_type="text/csv", purpose="fine-tune"
    )
    part = client.uploads.parts.create(upload.id, data=b"abc\n")
    with pytest.raises(openai.UnprocessableEntityError, match="the parts together have") as error:
        client.uploads.complete(upload.id, part_ids=[part.id], md5="0" * 32)
    assert error.value.param == "md5"

    assert client.uploads.cancel(upload.id).status == "cancelled"
    with pytest.raises(openai.ConflictError):
        client.uploads.parts.create(upload.id, data=b"abc\n")
