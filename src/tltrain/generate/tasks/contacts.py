"""What people ask of their contacts and messages."""

import random
import re

from tltrain.envs.sandbox.contacts import Contacts
from tltrain.generate.templates import Plan, invoke, say, template

_TEXTS = (
    "I will be ten minutes late.",
    "Are you free on Saturday?",
    "The keys are under the mat.",
    "Happy birthday!",
    "Please call me back.",
    "Dinner is at eight.",
)
_NEW_PEOPLE = ("Kofi Mensah", "Liv Dahl", "Marco Riva", "Noor Bakker", "Oleg Marchuk", "Pia Keller")
_NEW_CITIES = ("Oslo", "Malaga", "Gdansk", "Trieste", "Bremen")


@template(Contacts)
def phone_by_id(kit: Contacts, rng: random.Random) -> Plan:
    contact_id = rng.choice(list(kit.contacts))
    yield say(
        rng,
        "What is the phone number of contact {key}?",
        "Who is {key} in my contacts, and what number do they have?",
        "Give me the details of contact {key}.",
        "Show contact {key}, please.",
        key=contact_id,
    )
    contact = yield invoke("get_contact", contact_id=contact_id)
    return f"{contact['name']} from {contact['city']}: {contact['phone']}."


@template(Contacts)
def people_in_city(kit: Contacts, rng: random.Random) -> Plan:
    city = rng.choice([contact["city"] for contact in kit.contacts.values()])
    yield say(
        rng,
        "Who do I know in {city}?",
        "Which of my contacts live in {city}?",
        "I'm travelling to {city}. Do I have any contacts there?",
        "List my contacts in {city}.",
        city=city,
    )
    people = yield invoke("find_contacts_by_city", city=city)
    return f"You know {' and '.join(person['name'] for person in people)} in {city}."


@template(Contacts)
def add_person(_kit: Contacts, rng: random.Random) -> Plan:
    name, phone = rng.choice(_NEW_PEOPLE), f"+44{rng.randint(10**7, 10**8 - 1)}"
    yield say(
        rng,
        "Save {name} as a contact, number {phone}.",
        "New contact: {name}, {phone}",
        "Please put {name} in my contacts; the phone number is {phone}.",
        name=name,
        phone=phone,
    )
    added = yield invoke("add_contact", name=name, phone=phone)
    return f"{name} is saved as {added['contact_id']}."


@template(Contacts)
def add_person_with_city(_kit: Contacts, rng: random.Random) -> Plan:
    name, phone, city = rng.choice(_NEW_PEOPLE), f"+44{rng.randint(10**7, 10**8 - 1)}", rng.choice(_NEW_CITIES)
    yield say(
        rng,
        "I met {name} from {city}. Add the number {phone} to my contacts.",
        "New contact: {name}, {phone}, {city}",
        "Could you add {name} to my contacts? Phone {phone}, city {city}.",
        name=name,
        phone=phone,
        city=city,
    )
    added = yield invoke("add_contact", name=name, phone=phone, city=city)
    return f"{name} is saved as {added['contact_id']}."


@template(Contacts)
def urgent_message(kit: Contacts, rng: random.Random) -> Plan:
    contact_id, text = _reachable(kit, rng), rng.choice(_TEXTS)
    yield say(
        rng,
        'Send contact {key} an urgent message: "{text}"',
        'Urgent! Tell {key} from my contacts "{text}"',
        'Text "{text}" to contact {key} and mark it as urgent.',
        key=contact_id,
        text=text,
    )
    yield invoke("send_message", contact_id=contact_id, text=text, urgent=True)
    return f"The urgent message to {contact_id} is sent."


@template(Contacts)
def latest_messages(kit: Contacts, rng: random.Random) -> Plan:
    senders = [message["contact_id"] for message in kit.received]
    contact_id, limit = rng.choice([key for key in senders if senders.count(key) > 2]), rng.randint(2, 3)
    yield say(
        rng,
        "Show the last {limit} messages that contact {key} sent me.",
        "What did contact {key} write? Only the newest {limit}, please.",
        "Latest {limit} from {key}, messages only.",
        key=contact_id,
        limit=limit,
    )
    messages = yield invoke("get_messages_from", contact_id=contact_id, limit=limit)
    return " ".join(message["text"] for message in messages)


@template(Contacts)
def writer_of_message(kit: Contacts, rng: random.Random) -> Plan:
    word = _word_in_one_message(kit, rng)
    yield say(
        rng,
        "Who wrote me about the {word}?",
        "Somebody sent a message about the {word}. What is their name?",
        "I need the name of the person whose message mentions the {word}.",
        word=word,
    )
    messages = yield invoke("get_messages_about", word=word)
    contact = yield invoke("get_contact", contact_id=messages[0]["contact_id"])
    return f"{contact['name']} wrote: {messages[0]['text']}"


@template(Contacts)
def phone_by_name(kit: Contacts, rng: random.Random) -> Plan:
    name = rng.choice(list(kit.contacts.values()))["name"]
    yield say(
        rng,
        "What is {name}'s phone number?",
        "I want to ring {name}. Which number?",
        "Phone number of {name}, please.",
        "Look {name} up in my contacts and tell me the number.",
        name=name,
    )
    found = yield invoke("find_contacts_by_name", name=name)
    contact = yield invoke("get_contact", contact_id=found[0]["contact_id"])
    return f"{contact['name']}: {contact['phone']}."


@template(Contacts)
def message_by_name(kit: Contacts, rng: random.Random) -> Plan:
    name, text = kit.contacts[_reachable(kit, rng)]["name"], rng.choice(_TEXTS)
    yield say(
        rng,
        'Text {name}: "{text}"',
        'Send {name} this message: "{text}"',
        'Please let {name} know: "{text}"',
        'Write "{text}" to {name}.',
        name=name,
        text=text,
    )
    found = yield invoke("find_contacts_by_name", name=name)
    yield invoke("send_message", contact_id=found[0]["contact_id"], text=text)
    return f"Your message to {name} is sent."


@template(Contacts)
def message_namesake(kit: Contacts, rng: random.Random) -> Plan:
    last_names = [contact["name"].split()[1] for contact in kit.contacts.values()]
    shared = [contact for contact in kit.contacts.values() if last_names.count(contact["name"].split()[1]) > 1]
    chosen, text = rng.choice(shared), rng.choice(_TEXTS)
    last_name = chosen["name"].split()[1]
    yield say(
        rng,
        'Search my contacts for "{name}" and send the one who lives in {city} "{text}"',
        'Look up the name {name}; there are two. The one from {city} should get this message: "{text}"',
        'Find everybody called {name}, then write "{text}" to the one in {city}.',
        name=last_name,
        city=chosen["city"],
        text=text,
    )
    found = yield invoke("find_contacts_by_name", name=last_name)
    match = next(person for person in found if person["city"] == chosen["city"])
    yield invoke("send_message", contact_id=match["contact_id"], text=text)
    return f"Your message to {match['name']} is sent."


@template(Contacts)
def message_city(kit: Contacts, rng: random.Random) -> Plan:
    cities = [contact["city"] for contact in kit.contacts.values()]
    city, text = rng.choice([city for city in cities if cities.count(city) > 1]), rng.choice(_TEXTS)
    yield say(
        rng,
        'Write to all my contacts in {city}: "{text}"',
        'Everybody I know in {city} should get this message: "{text}"',
        'Send "{text}" to each contact who lives in {city}.',
        city=city,
        text=text,
    )
    people = yield invoke("find_contacts_by_city", city=city)
    for person in people:
        yield invoke("send_message", contact_id=person["contact_id"], text=text)
    return f"Sent to {' and '.join(person['name'] for person in people)}."


@template(Contacts)
def forward_latest(kit: Contacts, rng: random.Random) -> Plan:
    sender_id = rng.choice([message["contact_id"] for message in kit.received])
    sender = kit.contacts[sender_id]["name"]
    receiver_id = _reachable(kit, rng, sender_id)
    yield say(
        rng,
        "Look up {sender}, get just the 1 newest message from there, and pass its text on to contact {receiver}.",
        "Find {sender}, fetch only the latest 1 message I got, and forward it word for word to contact {receiver}.",
        "From {sender} take the last message (limit 1) and send its exact text to contact {receiver}.",
        sender=sender,
        receiver=receiver_id,
    )
    found = yield invoke("find_contacts_by_name", name=sender)
    messages = yield invoke("get_messages_from", contact_id=found[0]["contact_id"], limit=1)
    yield invoke("send_message", contact_id=receiver_id, text=messages[0]["text"])
    return f'I passed on "{messages[0]["text"]}" to {receiver_id}.'


def _reachable(kit: Contacts, rng: random.Random, other_than: str = "") -> str:
    return rng.choice([key for key in kit.contacts if key not in kit.blocked and key != other_than])


def _word_in_one_message(kit: Contacts, rng: random.Random) -> str:
    """The noun of one message: what follows "the" or "your"."""
    matches = [re.search(r"\b(?:the|your) (\w+)", message["text"], re.IGNORECASE) for message in kit.received]
    return rng.choice([match[1] for match in matches if match])
