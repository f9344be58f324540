"""Settings of `generate`."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tltrain.chat_client import ChatSettings
from tltrain.envs.sandbox.environment import ErrorStyle
from tltrain.generate.toolsets import split_kits


class ScriptedSettings(BaseModel):
    """The teacher that ships: no model, seeded, errs on purpose."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["scripted"] = "scripted"
    silent_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the mistakes that give no error, such as reading the wrong thing; kept small, as no audit of feedback
    can find them."""


class EndpointSettings(ChatSettings):
    """A model behind an OpenAI-compatible chat endpoint with tools."""

    kind: Literal["endpoint"] = "endpoint"
    temperature: float | None = Field(default=0.7, ge=0, le=2)
    """None leaves it to the endpoint, for models that take no temperature."""
    system_prompt: str = "Do what the user asks with the tools. When it is done, answer in one or two sentences."
    """Sent to the teacher, not kept in the trajectory; empty sends none."""
    max_turns: int = Field(default=10, ge=1)
    """Replies per task; a conversation that is not at its answer by then is kept as it stands."""
    num_parallel: int = Field(default=4, ge=1)
    """Tasks done at the same time."""


class GenerateConfig(BaseModel):
    """Everything that decides what `generate` makes.

    Raises (on construction):
        ValidationError: a field out of its range, or kits that cannot be split as asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_train: int = Field(default=1200, ge=1)
    """Training trajectories; the paper trains on 1,217."""
    num_test: int = Field(default=200, ge=0)
    """Test trajectories, all calls right, on kits that training never sees."""
    seed: int = 0
    mistake_rate: float = Field(default=0.17, ge=0, lt=0.5)
    """Share of wrong calls among the calls of the scripted teacher; 17% is what the paper counts in data of GPT-4."""
    failure_rate: float = Field(default=0.02, ge=0, lt=1)
    """Share of training calls that meet a service failure."""
    train_kits: tuple[str, ...] | None = None
    """Kits to train on; None: all that are not for testing."""
    test_kits: tuple[str, ...] = ("shop", "devices", "notes")
    kit_tools: tuple[int, int] | None = None
    """Fewest and most tools of its kit that a list shows, beside up to 2 of other kits; tasks come to lists that show
    all they need. None: all tools of the kit."""
    max_calls: int | None = Field(default=None, ge=1)
    """Most calls that a training task takes without mistakes; None: any, which is 1 to 4. Short tasks show more choices
    of a tool in the same time."""
    multi_call_share: float | None = Field(default=None, ge=0, le=1)
    """Share of the training tasks that take more than one call, as far as there are such; None: as the templates
    come, about a third."""
    toolsets_per_kit: int = Field(default=3, ge=1)
    """Different tool lists of each kit; few, because trajectories of one list share their longest prefix."""
    renamed_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the training tool lists whose tools go by other names, see `rename_tools`."""
    styles: tuple[ErrorStyle, ...] = Field(default=tuple(ErrorStyle), min_length=1)
    """Wordings of errors, drawn for each trajectory."""
    teacher: Annotated[ScriptedSettings | EndpointSettings, Field(discriminator="kind")] = ScriptedSettings()

    @model_validator(mode="after")
    def _check_kit_tools(self) -> Self:
        if self.kit_tools is not None and not 2 <= self.kit_tools[0] <= self.kit_tools[1]:
            raise ValueError(
                f"kit_tools={list(self.kit_tools)}: give the fewest (2 or more), then the most, as in [3, 5]"
            )
        return self

    @model_validator(mode="after")
    def _check_kits(self) -> Self:
        split_kits(self.test_kits, self.train_kits)
        return self
