"""The `stillhouse` command: runs the service, and talks HTTP to it like any client."""

import typer

from app.cli import (
    aliases,
    catalog,
    files,
    jobs,
    keys,
    knowledge,
    models,
    projects,
    service,
    webhooks,
)
from app.cli.demo import demo

app = typer.Typer(
    help="Knowledge distillation as a service that you host yourself.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(demo)
app.command()(service.up)
app.command()(service.api)
app.command()(service.worker)
app.command()(service.reconciler)
app.command()(service.deliverer)
app.command()(service.migrate)
app.command()(catalog.architectures)
app.command()(catalog.losses)
app.add_typer(keys.commands, name="keys")
app.add_typer(projects.commands, name="projects")
app.add_typer(jobs.commands, name="jobs")
app.add_typer(files.commands, name="files")
models.commands.add_typer(aliases.commands, name="alias")
app.add_typer(models.commands, name="models")
app.add_typer(knowledge.commands, name="knowledge")
app.add_typer(webhooks.commands, name="webhooks")
app.command("download")(files.download_files)
