"""Commands that run the service: all of it, or one part."""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.cli import options

LOOPBACK = ("127.0.0.1", "::1", "localhost")

console = Console(soft_wrap=True)
complaints = Console(stderr=True, soft_wrap=True)


def up(
    data: Annotated[Path, typer.Option(help="Folder that all of it is kept in.")] = options.DATA,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
) -> None:
    """Run the whole service on this machine, on 127.0.0.1, until Ctrl-C.

    Valkey, the API, the reconciler, the deliverer and the workers run as one tree of processes;
    what dies is started again, and nothing is left running.
    """
    from app.local.embedded import CannotStart, Embedded

    service = Embedded(data, port)
    service.tree.heed_signals()
    try:
        with service.running():
            if service.first_key is not None:
                console.print(f"Your first API key, shown once: [bold]{service.first_key}[/]")
            console.print(f"It is kept in {service.key_file}, and the logs in {service.logs}.")
            console.print(f"Stillhouse is ready at [bold]{service.url}[/]; Ctrl-C stops it.")
            service.tree.tend_until()
            console.print("Stopping ...")
    except CannotStart as reason:
        complaints.print(f"[red]Cannot start:[/] {reason}")
        raise typer.Exit(1) from None


def api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    tls_cert: Annotated[Path | None, typer.Option(exists=True, dir_okay=False)] = None,
    tls_key: Annotated[Path | None, typer.Option(exists=True, dir_okay=False)] = None,
    *,
    behind_tls_proxy: Annotated[
        bool, typer.Option("--behind-tls-proxy", help="A proxy in front of it does TLS.")
    ] = False,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            help="Address or network of a proxy whose X-Forwarded-For is believed; again for more."
        ),
    ] = None,
) -> None:
    """Run the API alone. Keys travel in the clear without TLS, so off loopback TLS is a must."""
    if (tls_cert is None) != (tls_key is None):
        raise typer.BadParameter("--tls-cert and --tls-key go together")
    if host not in LOOPBACK and tls_cert is None and not behind_tls_proxy:
        raise typer.BadParameter(
            f"--host {host} is not this machine alone; give --tls-cert and --tls-key, or "
            "--behind-tls-proxy where a proxy in front does TLS"
        )
    for proxy in trusted_proxy or ():
        _check_network(proxy)
    import uvicorn

    from app import logs

    logs.configure()
    uvicorn.run(
        "app.main:create_app",
        factory=True,
        host=host,
        port=port,
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
        # Whoever is believed here chooses the address that limits and the audit log go by.
        proxy_headers=bool(trusted_proxy),
        forwarded_allow_ips=trusted_proxy or [],
        server_header=False,
        # The application logs its requests itself, with their ids.
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=5,
    )


def _check_network(text: str) -> None:
    try:
        ip_network(text)
    except ValueError as error:
        raise typer.BadParameter(f"--trusted-proxy: {error}") from None


def worker() -> None:
    """Run the workers of this machine: one for each GPU, each seeing only its own, or one."""
    from app.config import Settings
    from app.local.tree import Tree
    from app.local.workers import worker_commands

    tree = Tree()
    tree.heed_signals()
    try:
        for command in worker_commands(Settings()):
            tree.start(command)
        tree.tend_until()
    finally:
        tree.stop()


def reconciler() -> None:
    """Run the reconciler: takes back the jobs of lost workers, and rings for those that wait."""
    from app.config import Settings
    from app.reconciler import run

    run(Settings())


def deliverer() -> None:
    """Run the deliverer: sends events to webhooks' receivers."""
    from app.config import Settings
    from app.deliverer import run

    run(Settings())


def migrate() -> None:
    """Bring the database's tables up to date and try the storage; harmless to run again."""
    from app.config import Settings
    from app.db import schema
    from app.db.session import Database
    from app.storage import Storage

    settings = Settings()
    database = Database(settings.database_url)
    try:
        schema.upgrade(database)
    finally:
        database.close()
    console.print("The tables are up to date.")
    Storage(settings.storage_url).prepare()
    console.print("The storage can be written.")
