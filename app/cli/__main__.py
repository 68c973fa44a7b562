"""`python -m app.cli` is `stillhouse`."""

from app.cli import app

app(prog_name="stillhouse")
