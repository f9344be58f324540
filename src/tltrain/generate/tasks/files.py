"""What people ask of a file tree."""

import random
import re

from tltrain.envs.sandbox.files import Files
from tltrain.generate.templates import Plan, invoke, say, template

_LINES = (
    "Water the plants on Friday.",
    "Ask Vera about the keys.",
    "Return the drill to Paul.",
    "Meet at gate 4 at noon.",
    "Order more printer ink.",
    "Charge the spare battery.",
)
_NEW_NAMES = ("reminder.txt", "plan.txt", "ideas.txt", "log.txt", "memo.txt", "draft.txt")


@template(Files)
def read_by_path(kit: Files, rng: random.Random) -> Plan:
    path = rng.choice(list(kit.files))
    yield say(
        rng,
        "What does {path} say?",
        "Open {path} for me, please.",
        "Print the content of {path}",
        "I'd like to know what is written in {path}",
        path=path,
    )
    text = yield invoke("read_file", path=path)
    return f"It says: {text}"


@template(Files)
def show_folder(kit: Files, rng: random.Random) -> Plan:
    folder = rng.choice(kit.folders)
    yield say(
        rng,
        "What is in {folder}?",
        "List the files in the folder {folder}",
        "Which files do I keep under {folder}?",
        "Show me everything inside {folder}, please.",
        folder=folder,
    )
    paths = yield invoke("find_files_in_folder", folder=folder)
    return f"In {folder}: {', '.join(path.rpartition('/')[2] for path in paths)}."


@template(Files)
def search_word(kit: Files, rng: random.Random) -> Plan:
    word = _word_in_one_file(kit, rng, list(kit.files))
    yield say(
        rng,
        'Which file mentions "{word}"?',
        'Where did I write something about "{word}"?',
        'Search my files for the word "{word}".',
        'I wrote down "{word}" somewhere. In which file?',
        word=word,
    )
    paths = yield invoke("find_files_by_text", text=word)
    return f"{', '.join(paths)} mentions {word}."


@template(Files)
def create_file(kit: Files, rng: random.Random) -> Plan:
    path, text = f"{rng.choice(kit.folders)}/{rng.choice(_NEW_NAMES)}", rng.choice(_LINES)
    yield say(
        rng,
        'Create {path} with the text "{text}"',
        'Make a new file {path} that says "{text}"',
        'Please save "{text}" in a new file, {path}',
        'New file {path}: "{text}"',
        path=path,
        text=text,
    )
    written = yield invoke("write_file", path=path, text=text, mode="create")
    return f"Created {written['path']}."


@template(Files)
def overwrite_file(kit: Files, rng: random.Random) -> Plan:
    path, text = _changeable(kit, rng), rng.choice(_LINES)
    yield say(
        rng,
        'Replace everything in {path} with "{text}"',
        'The content of {path} is out of date; it should only say "{text}"',
        'Could you overwrite {path}? New content: "{text}"',
        path=path,
        text=text,
    )
    written = yield invoke("write_file", path=path, text=text, mode="replace")
    return f"{written['path']} now says: {text}"


@template(Files)
def move_and_rename(kit: Files, rng: random.Random) -> Plan:
    path, name = _changeable(kit, rng), rng.choice(_NEW_NAMES)
    folder = _other_folder(kit, rng, path)
    yield say(
        rng,
        "Move {path} to {folder} and call it {name}",
        "Put {path} into {folder} under the new name {name}",
        "{path} should be in {folder}, renamed to {name}. Can you do that?",
        path=path,
        folder=folder,
        name=name,
    )
    moved = yield invoke("move_file", path=path, folder=folder, new_name=name)
    return f"It is now {moved['path']}."


@template(Files)
def read_by_name(kit: Files, rng: random.Random) -> Plan:
    name = rng.choice(list(kit.files)).rpartition("/")[2]
    yield say(
        rng,
        "Find {name} and read it to me.",
        "What is written in {name}? I forgot which folder it is in.",
        "I lost track of {name}. Locate it and show me the text.",
        "Somewhere there is a {name}; what does it say?",
        name=name,
    )
    paths = yield invoke("find_files_by_name", name=name)
    text = yield invoke("read_file", path=paths[0])
    return f"It says: {text}"


@template(Files)
def delete_by_name(kit: Files, rng: random.Random) -> Plan:
    name = _changeable(kit, rng).rpartition("/")[2]
    yield say(
        rng,
        "Get rid of {name}, wherever it is.",
        "Look for {name} and remove it.",
        "I no longer need {name}. Please track it down and erase it.",
        name=name,
    )
    paths = yield invoke("find_files_by_name", name=name)
    yield invoke("delete_file", path=paths[0])
    return f"{paths[0]} is deleted."


@template(Files)
def move_by_word(kit: Files, rng: random.Random) -> Plan:
    path = _changeable(kit, rng)
    word, folder = _word_in_one_file(kit, rng, [path]), _other_folder(kit, rng, path)
    yield say(
        rng,
        'Move the file that contains "{word}" to {folder}',
        'The file with the word "{word}" in it belongs in {folder}. Can you find and move it?',
        'Search my files for "{word}" and put the one you find into {folder}',
        word=word,
        folder=folder,
    )
    paths = yield invoke("find_files_by_text", text=word)
    moved = yield invoke("move_file", path=paths[0], folder=folder)
    return f"It is now {moved['path']}."


@template(Files)
def copy_file(kit: Files, rng: random.Random) -> Plan:
    path = rng.choice(list(kit.files))
    copy = f"{_other_folder(kit, rng, path)}/{rng.choice(_NEW_NAMES)}"
    yield say(
        rng,
        "Copy the text of {path} into a new file {copy}",
        "I need a second version of {path}, namely {copy}, with the same content.",
        "Make {copy} as a duplicate of {path}",
        path=path,
        copy=copy,
    )
    text = yield invoke("read_file", path=path)
    written = yield invoke("write_file", path=copy, text=text, mode="create")
    return f"{written['path']} holds the same text."


@template(Files)
def extend_file_about(kit: Files, rng: random.Random) -> Plan:
    word, line = _word_in_one_file(kit, rng, _all_changeable(kit)), rng.choice(_LINES)
    yield say(
        rng,
        'Add "{line}" to the end of the file that mentions "{word}", then show me the whole file.',
        'Search for the file containing "{word}", append "{line}" and read the result back to me.',
        'Which file has the word "{word}"? Attach "{line}" at its end and tell me what it says then.',
        word=word,
        line=line,
    )
    paths = yield invoke("find_files_by_text", text=word)
    yield invoke("write_file", path=paths[0], text=line, mode="append")
    text = yield invoke("read_file", path=paths[0])
    return f"It says: {text}"


@template(Files)
def empty_folder(kit: Files, rng: random.Random) -> Plan:
    changeable = [path.rpartition("/")[0] for path in _all_changeable(kit)]
    folder = rng.choice([folder for folder in kit.folders if changeable.count(folder) >= 2])
    yield say(
        rng,
        "Delete all files in {folder}",
        "Empty the folder {folder}, please.",
        "Nothing in {folder} is needed any more; list it and throw every file away.",
        folder=folder,
    )
    paths = yield invoke("find_files_in_folder", folder=folder)
    for path in paths:
        yield invoke("delete_file", path=path)
    return f"{folder} is empty; {len(paths)} files are gone."


def _all_changeable(kit: Files) -> list[str]:
    return [path for path in kit.files if path not in kit.read_only]


def _changeable(kit: Files, rng: random.Random) -> str:
    return rng.choice(_all_changeable(kit))


def _other_folder(kit: Files, rng: random.Random, path: str) -> str:
    return rng.choice([folder for folder in kit.folders if folder != path.rpartition("/")[0]])


def _word_in_one_file(kit: Files, rng: random.Random, paths: list[str]) -> str:
    """A word of one of the files that occurs in no other file."""
    words: list[str] = [word for path in paths for word in re.findall(r"[A-Za-z]{4,}", kit.files[path])]
    return rng.choice([word for word in words if sum(word.lower() in text.lower() for text in kit.files.values()) == 1])
