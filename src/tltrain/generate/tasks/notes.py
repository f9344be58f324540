"""What people ask of their notes."""

import random

from tltrain.envs.sandbox.notes import Notes
from tltrain.generate.templates import Plan, invoke, say, template

_NEW = (
    ("Keys", "Spare keys are with the neighbour"),
    ("Meter", "Gas meter reads 4821"),
    ("Shoes", "Blue shoes are at the cobbler"),
    ("Rent", "The rent goes up to 640 euros"),
    ("Window", "Measure the window again"),
)
_FUNCTION_WORDS = frozenset({"about", "before", "called", "comes", "every", "needs", "would"})
_NEW_TAGS = ("todo", "later", "money", "private")


@template(Notes)
def read_note(kit: Notes, rng: random.Random) -> Plan:
    note_id = _any_id(kit, rng)
    yield say(
        rng,
        "Read me note {key}.",
        "What does note {key} say?",
        "Open note number {key}, please.",
        "I need the text of note {key}.",
        key=note_id,
    )
    note = yield invoke("get_note", note_id=note_id)
    return f"{note['title']}: {note['text']}"


@template(Notes)
def notes_with_word(kit: Notes, rng: random.Random) -> Plan:
    word = _own_word(kit, rng, _any_id(kit, rng))
    yield say(
        rng,
        'Which notes mention "{word}"?',
        'Did I write anything with the word "{word}"?',
        'Find notes containing "{word}".',
        'In which note is the word "{word}"?',
        word=word,
    )
    found = yield invoke("search_notes_by_text", text=word)
    return f"Note {found[0]['note_id']}, {found[0]['title']}."


@template(Notes)
def notes_with_tag(kit: Notes, rng: random.Random) -> Plan:
    tag = kit.notes[str(_any_id(kit, rng))]["tags"][0]
    yield say(
        rng,
        "Which notes are tagged {tag}?",
        "List my notes with the tag {tag}.",
        "What have I filed under the tag {tag}?",
        "Show everything that carries the {tag} tag, please.",
        tag=tag,
    )
    found = yield invoke("search_notes_by_tag", tag=tag)
    return ", ".join(f"{note['title']} ({note['note_id']})" for note in found) + "."


@template(Notes)
def write_note(_kit: Notes, rng: random.Random) -> Plan:
    title, text = rng.choice(_NEW)
    if rng.random() < 0.5:
        yield say(
            rng,
            'New note "{title}": "{text}"',
            'Write down "{text}" under the title "{title}".',
            'Please make a note called "{title}" with the text "{text}".',
            'Can you keep this for me as "{title}"? The text is "{text}".',
            title=title,
            text=text,
        )
        note = yield invoke("create_note", title=title, text=text)
    else:
        first, second = rng.sample(_NEW_TAGS, 2)
        yield say(
            rng,
            'New note "{title}", tags {first} and {second}: "{text}"',
            'Write down "{text}" with the title "{title}", tagged {first} and {second}.',
            'Please make a note called "{title}" with tags {first}, {second} and the text "{text}".',
            title=title,
            text=text,
            first=first,
            second=second,
        )
        note = yield invoke("create_note", title=title, text=text, tags=[first, second])
    return f"Saved {title} as note {note['note_id']}."


@template(Notes)
def label_note(kit: Notes, rng: random.Random) -> Plan:
    note_id, tag = _any_id(kit, rng), rng.choice(_NEW_TAGS)
    yield say(
        rng,
        "Tag note {key} with {tag}.",
        "Put the tag {tag} on note {key}.",
        "Note {key} should also have the tag {tag}.",
        "Could you label note {key} as {tag}?",
        key=note_id,
        tag=tag,
    )
    note = yield invoke("add_tag", note_id=note_id, tag=tag)
    return f"Note {note_id} is tagged {' and '.join(note['tags'])}."


@template(Notes)
def pin_or_unpin(kit: Notes, rng: random.Random) -> Plan:
    note_id = _any_id(kit, rng)
    pinned = not kit.notes[str(note_id)]["pinned"]
    yield say(
        rng,
        "Please {verb} note {key}.",
        "{verb} {key}.",
        "I want you to {verb} note number {key}.",
        "Can you {verb} note {key} for me?",
        key=note_id,
        verb="pin" if pinned else "unpin",
    )
    yield invoke("pin_note", note_id=note_id, pinned=pinned)
    return f"Note {note_id} is {'pinned' if pinned else 'no longer pinned'}."


@template(Notes)
def throw_away(kit: Notes, rng: random.Random) -> Plan:
    note_id = int(rng.choice([key for key, note in kit.notes.items() if not note["pinned"]]))
    yield say(
        rng,
        "Delete note {key}.",
        "Note {key} can go.",
        "Please throw note {key} away.",
        "I do not need note number {key} any more; get rid of it.",
        key=note_id,
    )
    yield invoke("delete_note", note_id=note_id)
    return f"Note {note_id} is deleted."


@template(Notes)
def read_by_word(kit: Notes, rng: random.Random) -> Plan:
    word = _own_word(kit, rng, _any_id(kit, rng))
    yield say(
        rng,
        'Read me the note with the word "{word}".',
        'What exactly did I write about "{word}"?',
        'I noted something with "{word}". What was the full text?',
        'Find the note that mentions "{word}" and show its text.',
        word=word,
    )
    found = yield invoke("search_notes_by_text", text=word)
    note = yield invoke("get_note", note_id=found[0]["note_id"])
    return f"{note['title']}: {note['text']}"


@template(Notes)
def read_by_tag(kit: Notes, rng: random.Random) -> Plan:
    tags = [tag for note in kit.notes.values() for tag in note["tags"]]
    tag = rng.choice([tag for tag in tags if tags.count(tag) == 1])
    yield say(
        rng,
        "Read me the one note tagged {tag}.",
        "What does my {tag}-tagged note say?",
        "Find the note with the tag {tag} and show me its text.",
        "There is a single note with the tag {tag}. What is written in it?",
        tag=tag,
    )
    found = yield invoke("search_notes_by_tag", tag=tag)
    note = yield invoke("get_note", note_id=found[0]["note_id"])
    return f"{note['title']}: {note['text']}"


@template(Notes)
def copy_note(kit: Notes, rng: random.Random) -> Plan:
    note_id, (title, _) = _any_id(kit, rng), rng.choice(_NEW)
    yield say(
        rng,
        'Copy the text of note {key} into a new note called "{title}".',
        'Make a new note "{title}" with the same text as note {key}.',
        'Duplicate note {key} under the title "{title}".',
        'I need what note {key} says once more, in a new note titled "{title}".',
        key=note_id,
        title=title,
    )
    note = yield invoke("get_note", note_id=note_id)
    copied = yield invoke("create_note", title=title, text=note["text"])
    return f"Copied note {note_id} to note {copied['note_id']}."


@template(Notes)
def unpin_and_delete(kit: Notes, rng: random.Random) -> Plan:
    word = _own_word(kit, rng, int(rng.choice([key for key, note in kit.notes.items() if note["pinned"]])))
    yield say(
        rng,
        'The note with the word "{word}" is pinned. Unpin it, then delete it.',
        'Find my note that mentions "{word}", unpin it and delete it.',
        'Please unpin and then delete the note containing "{word}".',
        'I no longer need the pinned note about "{word}": first unpin, then remove it.',
        word=word,
    )
    found = yield invoke("search_notes_by_text", text=word)
    note_id = found[0]["note_id"]
    yield invoke("pin_note", note_id=note_id, pinned=False)
    yield invoke("delete_note", note_id=note_id)
    return f"Note {note_id}, {found[0]['title']}, is deleted."


@template(Notes)
def delete_by_tag(kit: Notes, rng: random.Random) -> Plan:
    marked: dict[str, list[bool]] = {}
    for note in kit.notes.values():
        marked.setdefault(note["tags"][0], []).append(note["pinned"])
    tag = rng.choice([tag for tag, pinned in marked.items() if pinned == [False, False]])
    yield say(
        rng,
        "Delete all notes tagged {tag}.",
        "Everything with the tag {tag} can be thrown away.",
        "Please clear out my notes that carry the tag {tag}.",
        "I am done with the tag {tag}. Can you delete those notes?",
        tag=tag,
    )
    found = yield invoke("search_notes_by_tag", tag=tag)
    for note in found:
        yield invoke("delete_note", note_id=note["note_id"])
    return f"Deleted {' and '.join(note['title'] for note in found)}."


@template(Notes)
def extend_tag(kit: Notes, rng: random.Random) -> Plan:
    tags = [note["tags"][0] for note in kit.notes.values()]
    tag, new = rng.choice([tag for tag in tags if tags.count(tag) == 2]), rng.choice(_NEW_TAGS)
    yield say(
        rng,
        "Every note tagged {tag} should get the tag {new} too.",
        "Add the tag {new} to all notes with the tag {tag}.",
        "Find the notes tagged {tag} and label each with {new} as well.",
        "Can you put the tag {new} on all my {tag}-tagged notes?",
        tag=tag,
        new=new,
    )
    found = yield invoke("search_notes_by_tag", tag=tag)
    for note in found:
        yield invoke("add_tag", note_id=note["note_id"], tag=new)
    return f"{' and '.join(note['title'] for note in found)} are tagged {new} now."


def _any_id(kit: Notes, rng: random.Random) -> int:
    return int(rng.choice(list(kit.notes)))


def _own_word(kit: Notes, rng: random.Random, note_id: int) -> str:
    """A telling word of the note that no other note contains."""
    texts = [note["text"].lower() for note in kit.notes.values()]
    words = [word.strip(".,") for word in kit.notes[str(note_id)]["text"].split()]
    telling = [word for word in words if len(word) > 4 and word not in _FUNCTION_WORDS]
    return rng.choice([word for word in telling if sum(word.lower() in text for text in texts) == 1])
