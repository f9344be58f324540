"""Notes: short texts with tags, found by word or by tag."""

import re
from typing import TypedDict

from tltrain.envs.toolkit import Toolkit, bad_value, refuse, tool
from tltrain.types import Json

_TEXTS = {
    "Bike": "Front tyre needs a new tube before Saturday.",
    "Boiler": "Plumber said the valve leaks a little.",
    "Passport": "Bring two photos and the old passport to window 4.",
    "Garden": "Water the tomatoes every evening in August.",
    "Printer": "Paper jams come from tray 2, use the upper one.",
    "Dentist": "Ask about the crown on the left side.",
    "Recipe": "Four eggs, butter, thyme and a pinch of salt.",
    "Wifi": "Guest network is called Willow.",
    "Car": "Oil change due at 90000 km.",
    "Gifts": "Grandma would like a blue scarf.",
}
_TAGS = ("home", "work", "family", "health", "travel", "urgent", "ideas")
_MAX_TAGS = 3
_MAX_TEXT = 120


class Note(TypedDict):
    """One note."""

    title: str
    text: str
    tags: list[str]
    pinned: bool


class Notes(Toolkit):
    """Six notes; two tags mark two notes each, two mark one each, and the other tags none."""

    name = "notes"

    def __init__(self, seed: int):
        super().__init__(seed)
        first, second, third, fourth = self.rng.sample(_TAGS, 4)
        marks = [(first, False), (first, False), (second, True), (second, False), (third, False), (fourth, True)]
        self.rng.shuffle(marks)
        titles = self.rng.sample(sorted(_TEXTS), len(marks))
        numbers = sorted(self.rng.sample(range(11, 100), len(marks)))
        self.notes: dict[str, Note] = {
            str(number): {"title": title, "text": _TEXTS[title], "tags": [tag], "pinned": pinned}
            for number, title, (tag, pinned) in zip(numbers, titles, marks, strict=True)
        }

    @tool
    def create_note(self, title: str, text: str, tags: list[str] | None = None) -> dict[str, Json]:
        """Write a new note."""
        tags = tags or []
        for tag in tags:
            _check_tag(tag)
        if len(text) > _MAX_TEXT:
            raise bad_value(f"text must have at most {_MAX_TEXT} characters, got {len(text)}")
        if len(tags) > _MAX_TAGS:
            raise refuse(f"a note has at most {_MAX_TAGS} tags, got {len(tags)}")
        if any(note["title"].lower() == title.lower() for note in self.notes.values()):
            raise refuse(f"a note with title {title!r} exists")
        note_id = max((int(key) for key in self.notes), default=10) + 1
        self.notes[str(note_id)] = {"title": title, "text": text, "tags": list(dict.fromkeys(tags)), "pinned": False}
        return {"note_id": note_id, "title": title}

    @tool
    def get_note(self, note_id: int) -> dict[str, Json]:
        """Read one note by its id."""
        note = self._note(note_id)
        return {"note_id": note_id, "title": note["title"], "text": note["text"], "pinned": note["pinned"]}

    @tool
    def search_notes_by_text(self, text: str) -> list[dict[str, Json]]:
        """Find notes whose text contains a word."""
        return [
            {"note_id": int(key), "title": note["title"]}
            for key, note in self.notes.items()
            if text.lower() in note["text"].lower()
        ]

    @tool
    def search_notes_by_tag(self, tag: str) -> list[dict[str, Json]]:
        """Find notes that carry a tag."""
        return [
            {"note_id": int(key), "title": note["title"]} for key, note in self.notes.items() if tag in note["tags"]
        ]

    @tool
    def add_tag(self, note_id: int, tag: str) -> dict[str, Json]:
        """Put one more tag on a note."""
        _check_tag(tag)
        tags = self._note(note_id)["tags"]
        if tag in tags:
            raise refuse(f"note {note_id} has the tag {tag!r} already")
        if len(tags) >= _MAX_TAGS:
            raise refuse(f"note {note_id} has {_MAX_TAGS} tags, no more fit")
        tags.append(tag)
        return {"note_id": note_id, "tags": list(tags)}

    @tool
    def pin_note(self, note_id: int, pinned: bool) -> dict[str, Json]:
        """Pin or unpin a note."""
        self._note(note_id)["pinned"] = pinned
        return {"note_id": note_id, "pinned": pinned}

    @tool
    def delete_note(self, note_id: int) -> str:
        """Delete a note that is not pinned."""
        if self._note(note_id)["pinned"]:
            raise refuse(f"note {note_id} is pinned")
        del self.notes[str(note_id)]
        return "deleted"

    def _note(self, note_id: int) -> Note:
        note = self.notes.get(str(note_id))
        if note is None:
            raise refuse(f"no note with id {note_id}")
        return note


def _check_tag(tag: str) -> None:
    if not re.fullmatch(r"[a-z]+", tag):
        raise bad_value(f"a tag must be one lower-case word, got {tag!r}")
