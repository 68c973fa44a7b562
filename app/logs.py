"""How every process of the service logs."""

import sys

import structlog
from structlog.tracebacks import ExceptionDictTransformer


def configure() -> None:
    """Write one JSON object a line to standard error, in every process of the service."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Without the values of variables, among which are keys.
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ],
        # The stream of the moment: whoever replaces `sys.stderr` gets the lines.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
