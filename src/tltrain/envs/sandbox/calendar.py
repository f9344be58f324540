"""A calendar: events by day, title and identifier."""

import re
from typing import Annotated

from tltrain.envs.toolkit import Toolkit, bad_value, refuse, tool

_TITLES = ("Budget review", "Dentist", "Team lunch", "Piano lesson", "Sprint planning", "Yoga class", "Book club")
_DAY = Annotated[str, "YYYY-MM-DD"]
_TIME = Annotated[str, "HH:MM"]


class Calendar(Toolkit):
    """Events with a title, a day and a start time; two events never start at the same moment."""

    name = "calendar"

    def __init__(self, seed: int):
        super().__init__(seed)
        titles = self.rng.sample(_TITLES, 5)
        starts = self.rng.sample([(day, hour) for day in range(10, 15) for hour in range(8, 18)], 5)
        self.events: dict[str, dict[str, str]] = {
            f"ev{self.rng.randint(100, 999)}{number}": {
                "title": title,
                "day": f"2025-03-{day:02d}",
                "start": f"{hour:02d}:00",
            }
            for number, (title, (day, hour)) in enumerate(zip(titles, starts, strict=True))
        }

    @tool
    def get_event(self, event_id: str) -> dict[str, str]:
        """Get one event by its id."""
        if event_id not in self.events:
            raise refuse(f"no event with id {event_id!r}")
        return self._show(event_id)

    @tool
    def get_events_by_day(self, day: _DAY) -> list[dict[str, str]]:
        """List the events of a day."""
        _check(day, r"\d{4}-\d{2}-\d{2}", "day", "YYYY-MM-DD")
        return [self._show(key) for key, event in self.events.items() if event["day"] == day]

    @tool
    def get_events_by_title(self, title: str) -> list[dict[str, str]]:
        """Find events whose title contains a text."""
        return [self._show(key) for key, event in self.events.items() if title.lower() in event["title"].lower()]

    @tool
    def create_event(self, title: str, day: _DAY, start: _TIME) -> dict[str, str]:
        """Add an event."""
        _check(day, r"\d{4}-\d{2}-\d{2}", "day", "YYYY-MM-DD")
        self._check_free(day, start)
        key = f"ev{len(self.events) + 1000}"
        self.events[key] = {"title": title, "day": day, "start": start}
        return self._show(key)

    @tool
    def move_event(self, event_id: str, day: _DAY, start: _TIME) -> dict[str, str]:
        """Move an event to another day and time."""
        _check(day, r"\d{4}-\d{2}-\d{2}", "day", "YYYY-MM-DD")
        if event_id not in self.events:
            raise refuse(f"no event with id {event_id!r}")
        self._check_free(day, start)
        self.events[event_id] |= {"day": day, "start": start}
        return self._show(event_id)

    @tool
    def delete_event(self, event_id: str) -> str:
        """Delete an event."""
        if event_id not in self.events:
            raise refuse(f"no event with id {event_id!r}")
        del self.events[event_id]
        return "deleted"

    def _show(self, event_id: str) -> dict[str, str]:
        return {"event_id": event_id} | self.events[event_id]

    def _check_free(self, day: str, start: str) -> None:
        _check(start, r"\d{2}:\d{2}", "start", "HH:MM")
        for event in self.events.values():
            if (event["day"], event["start"]) == (day, start):
                raise refuse(f"{day} {start} is taken by {event['title']!r}")


def _check(value: str, pattern: str, name: str, wanted: str) -> None:
    if not re.fullmatch(pattern, value):
        raise bad_value(f"{name} must be {wanted}, got {value!r}")
