"""How a failure is told."""

from app.contracts.message import MESSAGE, Failed
from worker.distillation.errors import BadInput


def test_a_failure_can_be_told_whatever_the_data_is_called() -> None:
    failure = BadInput("bad_data", "no such file: caf\udce9", "Rename caf\udce9.")
    told = MESSAGE.validate_json(Failed(error=failure.as_error()).model_dump_json())

    assert isinstance(told, Failed)
    assert told.error.message == str(failure) == r"no such file: caf\udce9"
    assert told.error.hint == failure.hint == r"Rename caf\udce9."
