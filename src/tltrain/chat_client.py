"""A client of OpenAI-compatible chat endpoints: one question, one readable answer, retries between."""

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from tltrain.errors import UsageError

if TYPE_CHECKING:
    import openai

Reply = TypeVar("Reply")

_MAX_WAIT_S = 60.0
_RETRIED_STATUS = frozenset({408, 409, 429})
_HOPELESS_STATUS = frozenset({401, 404})


class ChatSettings(BaseModel):
    """Where an endpoint is, and how long to try."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(pattern=r"^https?://")
    """Such as http://localhost:8000/v1."""
    model: str = Field(min_length=1)
    api_key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; the key itself is never written anywhere. May be unset for a server
    that asks for none."""
    extra_body: dict[str, Any] = {}
    """Further fields of every request, such as {"max_tokens": 2000}."""
    timeout_s: float = Field(default=60, gt=0)
    """Seconds without a byte until a request counts as failed."""
    max_retries: int = Field(default=4, ge=0)
    """Retries of one request after HTTP 408, 409, 429, 5xx, a time-out, a lost connection or an unreadable answer."""
    backoff_s: float = Field(default=1.0, ge=0)
    """Seconds before the first retry; doubled for each further one, unless the server says how long to wait."""


class NoReply(Exception):  # noqa: N818 - an outcome of one question, which callers count
    """No usable reply after all retries, or one that no retry would better; the text says why."""


class UnreadableReply(Exception):  # noqa: N818 - may pass by itself
    """Raised by a reader of replies: the body is not what was asked for, and another try may give it."""


class ChatClient:
    """Asks one endpoint.

    Args:
        settings: of the endpoint.
        section: what the settings are called where the user wrote them, for messages.
    """

    def __init__(self, settings: ChatSettings, *, section: str):
        import openai

        self._settings = settings
        self._section = section
        self._client = openai.OpenAI(
            base_url=settings.base_url,
            api_key=os.environ.get(settings.api_key_variable) or "none",
            timeout=settings.timeout_s,
            max_retries=0,  # retried here, where an unreadable answer counts as a failure too
        )

    def ask(self, request: dict[str, Any], read: Callable[[str], Reply]) -> Reply:
        """Send one chat completion request and read its answer.

        Args:
            request: fields of the request beside the model and `extra_body`.
            read: turns the body of the answer into the reply; raises `UnreadableReply` to have it tried again.

        Raises:
            NoReply: no usable answer after all retries.
            UsageError: the endpoint refuses the key, or knows no such model.
        """
        full = {"model": self._settings.model, **request, "extra_body": self._settings.extra_body}
        reason, wait_s = "", None
        for attempt in range(self._settings.max_retries + 1):
            if attempt:
                time.sleep(min(wait_s or self._settings.backoff_s * 2 ** (attempt - 1), _MAX_WAIT_S))
            try:
                return read(self._complete(full))
            except UnreadableReply as failure:
                reason, wait_s = str(failure), None
            except _Retriable as failure:
                reason, wait_s = str(failure), failure.wait_s
        raise NoReply(reason)

    def _complete(self, request: dict[str, Any]) -> str:
        """The body of the endpoint's answer."""
        import openai

        try:
            return self._client.chat.completions.with_raw_response.create(**request).http_response.text
        except openai.APITimeoutError:
            raise _Retriable(f"no answer within timeout_s={self._settings.timeout_s:g}") from None
        except openai.APIConnectionError as error:
            raise _Retriable(f"no connection: {error.__cause__ or error}") from None
        except openai.APIStatusError as error:
            raise self._status_failure(error) from None

    def _status_failure(self, error: "openai.APIStatusError") -> Exception:
        reason = f"HTTP {error.status_code}: {' '.join(error.response.text.split())[:200]}"
        if error.status_code in _RETRIED_STATUS or error.status_code >= 500:
            return _Retriable(reason, wait_s=_seconds(error.response.headers.get("retry-after")))
        if error.status_code in _HOPELESS_STATUS:
            section, settings = self._section, self._settings
            return UsageError(
                f"{section}.base_url={settings.base_url} answers {reason}; check the address, "
                f"{section}.model={settings.model} and the key in {settings.api_key_variable}"
            )
        return NoReply(reason)


class _Retriable(Exception):  # noqa: N818 - may pass by itself
    """A request that may succeed if made again."""

    def __init__(self, reason: str, wait_s: float | None = None):
        super().__init__(reason)
        self.wait_s = wait_s


def _seconds(header: str | None) -> float | None:
    """Seconds of a Retry-After header; None where it is absent or a date."""
    return float(header) if header and header.isdecimal() else None
