"""Settings: the only reader of the environment (``STILLHOUSE_*``)."""

import os
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

DATA_FOLDER = Path("stillhouse-data")

FOR_CHILDREN = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV"),
    *("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"),
)
"""The only variables that processes see which have no use for keys or addresses."""
FOR_TRAINERS = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
"""What a trainer sees beside them."""


def environment_for_child(*more: str) -> dict[str, str]:
    """Return this process's environment for one that is not trusted: ``FOR_CHILDREN`` and more."""
    return {name: os.environ[name] for name in (*FOR_CHILDREN, *more) if name in os.environ}


def _separated(value: object) -> object:
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


class Settings(BaseSettings):
    """What an operator may set; each as ``STILLHOUSE_`` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="STILLHOUSE_", frozen=True)

    database_url: str = Field(
        f"sqlite:///{DATA_FOLDER}/stillhouse.db",
        description="`sqlite:///PATH` or `postgresql+psycopg://USER:PASSWORD@HOST/NAME`.",
    )
    broker_url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="Redis or Valkey, with `maxmemory-policy noeviction`.",
    )
    storage_url: str = Field(
        str(DATA_FOLDER / "blobs"),
        description="A folder, or `s3://BUCKET/PREFIX` with the usual `AWS_*` variables.",
    )
    pepper_file: Path = Field(
        DATA_FOLDER / "pepper",
        description="A secret that API keys are stored under and webhooks' secrets made from; made "
        "when it does not exist. The same on every machine that runs the API or the deliverer.",
    )
    work_folder: Path = Field(
        DATA_FOLDER / "work", description="Where a worker keeps the folders of its attempts."
    )
    worker_gpus: int = Field(
        0,
        ge=0,
        le=1,
        description="GPUs of one worker process; `stillhouse worker` sets it. With 1 it does not "
        "start unless torch finds one.",
    )
    worker_metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Where the first worker of a machine answers Prometheus, the next one at the "
        "next port; 0 for nowhere.",
    )
    worker_metrics_host: str = Field(
        "127.0.0.1", description="The address of that; whoever reaches it needs no key."
    )
    lease_seconds: float = Field(
        60, gt=0, description="How long a worker may be silent before its job is taken back."
    )
    renew_seconds: float = Field(10, gt=0, description="How often a worker renews its lease.")
    reap_seconds: float = Field(5, gt=0, description="How often the reconciler looks around.")
    terminate_seconds: float = Field(
        30, gt=0, description="How long a cancelled trainer may take to end before it is killed."
    )
    hang_seconds: float = Field(
        300,
        gt=0,
        description="A trainer that makes no step for so long, and for ten times as long as its "
        "steps take, is killed and its job tried again.",
    )
    trainer: str = Field(
        "worker.distillation",
        pattern=r"^worker\.[a-z_]+$",
        description="The module that runs a job. `worker.rehearsal` only takes time and "
        "checkpoints: for trying out an installation.",
    )
    webhook_networks: Annotated[
        tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_separated)
    ] = Field(
        (),
        description="Private networks that webhooks may be sent to, over `http` and on any port "
        "too; separated by commas, as `10.1.0.0/16,127.0.0.1/32`.",
    )
    backoff_seconds: float = Field(
        10, ge=0, description="Wait before the second attempt; doubles with each further one."
    )

    key_requests_per_minute: int = Field(
        30_000, ge=0, description="Requests with one API key; 0 for as many as come."
    )
    address_requests_per_minute: int = Field(
        3_000,
        ge=0,
        description="Requests from one address without a key that is known; 0 for as many as come.",
    )
    audit_days: int = Field(
        365, ge=1, le=36_500, description="How long entries of the audit log are kept."
    )

    @model_validator(mode="after")
    def _renews_in_time(self) -> Self:
        if self.renew_seconds > self.lease_seconds / 2:
            raise ValueError(
                f"renew_seconds is {self.renew_seconds:g}; with a lease of {self.lease_seconds:g} "
                f"it may be at most {self.lease_seconds / 2:g}, or healthy workers lose their jobs"
            )
        return self


class ClientSettings(BaseSettings):
    """What a user of the command line may set, in the same way."""

    model_config = SettingsConfigDict(env_prefix="STILLHOUSE_", frozen=True)

    url: str | None = Field(
        None, description="The service that `stillhouse jobs` and its kin talk to."
    )
    api_key: SecretStr | None = Field(None, description="The key that they show it.")
