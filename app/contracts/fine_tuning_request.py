"""A job in the shape of OpenAI's fine-tuning API: what is asked for."""

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    WithJsonSchema,
    field_validator,
)

from app.contracts.job import Metadata, Name
from app.contracts.strict import Strict

OTHER_METHODS = ("supervised", "dpo", "reinforcement")
NO_INTEGRATIONS = (
    "not taken; webhooks (POST /v1/webhooks) tell another service what happens to jobs, and the "
    "metrics of one are at /v1/distillation/jobs/{id}/metrics"
)


def _none_where_auto(value: object) -> object:
    return None if value == "auto" else value


def _or_auto(number: str) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": number}, {"const": "auto"}, {"type": "null"}]})


AutoInteger = Annotated[int | None, BeforeValidator(_none_where_auto), _or_auto("integer")]
Multiplier = Annotated[float, Field(gt=0, le=1e6)]
AutoMultiplier = Annotated[Multiplier | None, BeforeValidator(_none_where_auto), _or_auto("number")]


class Hyperparameters(Strict):
    """OpenAI's names for three settings of `training`; `auto` is the native default."""

    n_epochs: AutoInteger = Field(None, description="`training.epochs`.")
    batch_size: AutoInteger = Field(None, description="`training.batch_size`.")
    learning_rate_multiplier: AutoMultiplier = Field(
        None, description="Times the default rate of the optimizer: `training.optimizer.lr`."
    )


class Distillation(BaseModel):
    """Parts of a native job spec (`POST /v1/distillation/jobs`), each as it is there.

    What is not given has a default: of the teacher, a larger architecture of the student's family.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    hyperparameters: Hyperparameters = Hyperparameters()

    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    @property
    def parts(self) -> dict[str, JsonValue]:
        return self.__pydantic_extra__


class Method(Strict):
    """How the student learns."""

    type: Literal["distillation"]
    distillation: Distillation = Distillation()

    @field_validator("type", mode="before")
    @classmethod
    def _is_distillation(cls, value: object) -> object:
        if value in OTHER_METHODS:
            raise ValueError(
                f"given {value!r}; this service distils: expected 'distillation', with what else "
                "is to be said in `distillation`, or no `method`"
            )
        return value


class FineTuningRequest(Strict):
    """A job, as OpenAI's clients ask for one."""

    model: str = Field(
        min_length=1,
        max_length=200,
        description="The student: an architecture's name, or a model to go on from: its id, NAME, "
        "NAME@VERSION or NAME@ALIAS.",
    )
    training_file: str = Field(
        min_length=1,
        max_length=200,
        description="An uploaded file, or the name of a built-in dataset. A table has a column "
        "`label` unless `method.distillation.dataset.format` says otherwise.",
    )
    validation_file: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="An uploaded file of the same format whose examples choose the best epoch; "
        "without it a share of `training_file` does.",
    )
    suffix: Name | None = Field(None, description="The job's name.")
    seed: int | None = Field(None, description="`training.seed`.")
    metadata: Metadata | None = None
    hyperparameters: Hyperparameters = Hyperparameters()
    method: Method = Method(type="distillation")
    integrations: list[JsonValue] | None = Field(None, max_length=0, description="None are there.")

    @field_validator("integrations", mode="before")
    @classmethod
    def _is_empty(cls, value: object) -> object:
        if value:
            raise ValueError(NO_INTEGRATIONS)
        return value
