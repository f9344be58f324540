"""Contacts and the messages that go back and forth between them and the user."""

import re
from typing import Annotated

from tltrain.envs.toolkit import Toolkit, bad_value, refuse, tool

_FIRST_NAMES = ("Ana", "Bruno", "Chen", "Dalia", "Emil", "Farah", "Goran", "Helga", "Ivo", "Kirsi")
_LAST_NAMES = ("Silva", "Novak", "Okafor", "Lindgren", "Haddad", "Moreau", "Suzuki")
_CITIES = ("Porto", "Graz", "Lyon", "Turku", "Ghent", "Bergen", "Split")
_MESSAGES = (
    "The boiler is fixed.",
    "Can you bring the ladder?",
    "I found your umbrella.",
    "The concert starts at 19:30.",
    "Thanks for the jam!",
    "I missed my train.",
    "Please water the tomatoes.",
    "I have your parcel.",
)
_SHARED_LAST_NAME = (0, 1)
_SHARED_CITY = (2, 3)
_BLOCKED = 5
_SENDERS = (0, 0, 0, 0, 2, 4)
_MAX_CHARACTERS = 100
_MAX_SENT = 5


class Contacts(Toolkit):
    """People with a phone number and a city, messages received and messages sent.

    First names are unique, and none is part of another name. Two contacts share their last name, two others their
    city, one is blocked, and one has written several messages. A day allows five messages.
    """

    name = "contacts"

    def __init__(self, seed: int):
        super().__init__(seed)
        first_names = self.rng.sample(_FIRST_NAMES, 6)
        last_names = self.rng.sample(_LAST_NAMES, 6)
        last_names[_SHARED_LAST_NAME[1]] = last_names[_SHARED_LAST_NAME[0]]
        cities = self.rng.sample(_CITIES, 6)
        cities[_SHARED_CITY[1]] = cities[_SHARED_CITY[0]]
        keys = [f"c{number}" for number in self.rng.sample(range(100, 1000), 6)]
        self.contacts: dict[str, dict[str, str]] = {
            key: {"name": f"{first} {last}", "phone": f"+49{self.rng.randint(10**7, 10**8 - 1)}", "city": city}
            for key, first, last, city in zip(keys, first_names, last_names, cities, strict=True)
        }
        self.blocked: list[str] = [keys[_BLOCKED]]
        senders = self.rng.sample(_SENDERS, len(_SENDERS))
        texts = self.rng.sample(_MESSAGES, len(_SENDERS))
        self.received: list[dict[str, str]] = [
            {"contact_id": keys[sender], "day": f"2025-03-{day:02d}", "text": text}
            for day, (sender, text) in enumerate(zip(senders, texts, strict=True), start=3)
        ]
        self.sent: list[dict[str, str | bool]] = []

    @tool
    def get_contact(self, contact_id: str) -> dict[str, str]:
        """Name, phone number and city of a contact."""
        self._check_contact(contact_id)
        return dict(self.contacts[contact_id])

    @tool
    def find_contacts_by_name(self, name: str) -> list[dict[str, str]]:
        """Find contacts whose name contains a text."""
        return [
            {"contact_id": key, "name": contact["name"], "city": contact["city"]}
            for key, contact in self.contacts.items()
            if name.lower() in contact["name"].lower()
        ]

    @tool
    def find_contacts_by_city(self, city: str) -> list[dict[str, str]]:
        """Find contacts who live in a city."""
        return [
            {"contact_id": key, "name": contact["name"]}
            for key, contact in self.contacts.items()
            if city.lower() == contact["city"].lower()
        ]

    @tool
    def add_contact(self, name: str, phone: Annotated[str, "+ and 7 to 12 digits"], city: str = "") -> dict[str, str]:
        """Save a new contact."""
        if not name.strip():
            raise bad_value(f"name must not be empty, got {name!r}")
        if not re.fullmatch(r"\+[0-9]{7,12}", phone):
            raise bad_value(f"phone must be + and 7 to 12 digits, got {phone!r}")
        for key, contact in self.contacts.items():
            if contact["phone"] == phone:
                raise refuse(f"{phone} belongs to contact {key} already")
        key = f"c{1000 + len(self.contacts)}"
        self.contacts[key] = {"name": name, "phone": phone, "city": city}
        return {"contact_id": key}

    @tool
    def send_message(self, contact_id: str, text: str, urgent: bool = False) -> str:
        """Send a message to a contact."""
        self._check_contact(contact_id)
        if contact_id in self.blocked:
            raise refuse(f"contact {contact_id} is blocked")
        if not 0 < len(text) <= _MAX_CHARACTERS:
            raise refuse(f"a message has 1 to {_MAX_CHARACTERS} characters, this one {len(text)}")
        if len(self.sent) == _MAX_SENT:
            raise refuse(f"the {_MAX_SENT} messages of today are used up")
        self.sent.append({"contact_id": contact_id, "text": text, "urgent": urgent})
        return "sent"

    @tool
    def get_messages_from(self, contact_id: str, limit: int | None = None) -> list[dict[str, str]]:
        """Messages received from a contact, newest first."""
        self._check_contact(contact_id)
        if limit is not None and limit < 1:
            raise bad_value(f"limit must be at least 1, got {limit}")
        messages = [message for message in reversed(self.received) if message["contact_id"] == contact_id]
        return [{"day": message["day"], "text": message["text"]} for message in messages[:limit]]

    @tool
    def get_messages_about(self, word: str) -> list[dict[str, str]]:
        """Messages received whose text contains a word."""
        return [
            {"contact_id": message["contact_id"], "text": message["text"]}
            for message in self.received
            if word.lower() in message["text"].lower()
        ]

    def _check_contact(self, contact_id: str) -> None:
        if contact_id not in self.contacts:
            raise refuse(f"no contact with id {contact_id!r}")
