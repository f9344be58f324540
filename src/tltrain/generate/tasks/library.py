"""What people ask of a library."""

import random

from tltrain.envs.sandbox.library import Library
from tltrain.generate.templates import Plan, invoke, say, template


@template(Library)
def by_author(kit: Library, rng: random.Random) -> Plan:
    author = rng.choice([book["author"] for book in kit.books.values() if book["copies"]])
    if rng.random() < 0.5:
        yield say(
            rng,
            "List all books by {author} in the catalogue.",
            "What titles by {author} do you own, lent or not?",
            "Books of {author}?",
            "I am looking for everything that {author} wrote.",
            author=author,
        )
        found = yield invoke("find_books_by_author", author=author)
    else:
        yield say(
            rng,
            "Which books by {author} are available now?",
            "Show me only the available books of {author}.",
            "By {author}, what is available at the moment?",
            author=author,
        )
        found = yield invoke("find_books_by_author", author=author, available_only=True)
    return ", ".join(f"{book['title']} ({book['book_id']})" for book in found) + "."


@template(Library)
def by_title(kit: Library, rng: random.Random) -> Plan:
    title = rng.choice([book["title"] for book in kit.books.values()])
    yield say(
        rng,
        'What is the id of "{title}"?',
        'Is "{title}" in your catalogue?',
        'Find the book "{title}".',
        'Could you look up the number of the book called "{title}"?',
        title=title,
    )
    found = yield invoke("find_books_by_title", title=title)
    return f"Yes, {title} is book {found[0]['book_id']}."


@template(Library)
def copies_of_book(kit: Library, rng: random.Random) -> Plan:
    book_id = _any_id(kit, rng)
    yield say(
        rng,
        "How many copies of book {key} are free?",
        "Is book {key} on the shelf?",
        "What is book {key}, and how many people wait for it?",
        "Details of book number {key}, please.",
        key=book_id,
    )
    book = yield invoke("get_book", book_id=book_id)
    return f"{book['title']}: free copies {book['free_copies']}, waiting {book['waiting']}."


@template(Library)
def loans_of_member(kit: Library, rng: random.Random) -> Plan:
    member = rng.choice(list(kit.members))
    yield say(
        rng,
        "What has {member} borrowed?",
        "Which books does member {member} have at home?",
        "List the loans of {member}.",
        "Does {member} owe a fine, and which books are out?",
        member=member,
    )
    loans = yield invoke("get_loans", member=member)
    books = ", ".join(str(book_id) for book_id in loans["book_ids"]) or "no books"
    return f"{member} has {books} and owes {loans['fine']} euros."


@template(Library)
def lend(kit: Library, rng: random.Random) -> Plan:
    member = _borrower(kit, rng)
    book_id = int(rng.choice(_lendable(kit, member)))
    days = rng.choice((7, 10, 14, 28)) if rng.random() < 0.5 else None
    if days is None:
        yield say(
            rng,
            "Lend book {key} to {member}.",
            "{member} takes book {key}.",
            "Member {member} would like to borrow book {key}.",
            "Please check book {key} out to {member}.",
            key=book_id,
            member=member,
        )
        loan = yield invoke("borrow_book", book_id=book_id, member=member)
    else:
        yield say(
            rng,
            "Lend book {key} to {member} for {days} days.",
            "{member} takes book {key}, {days} days.",
            "Can {member} have book {key} for {days} days? Please lend it.",
            key=book_id,
            member=member,
            days=days,
        )
        loan = yield invoke("borrow_book", book_id=book_id, member=member, days=days)
    return f"{member} has book {book_id} for {loan['days']} days."


@template(Library)
def take_back(kit: Library, rng: random.Random) -> Plan:
    member = rng.choice([key for key, account in kit.members.items() if account["loans"]])
    book_id = int(rng.choice(list(kit.members[member]["loans"])))
    yield say(
        rng,
        "{member} brings back book {key}.",
        "Return book {key} for {member}.",
        "Please take book {key} back from member {member}.",
        "Book {key} is here again, it was lent to {member}.",
        member=member,
        key=book_id,
    )
    yield invoke("return_book", book_id=book_id, member=member)
    return f"Book {book_id} is back from {member}."


@template(Library)
def wait_for_book(kit: Library, rng: random.Random) -> Plan:
    book_id, member = rng.choice(_reservable(kit))
    yield say(
        rng,
        "Reserve book {key} for {member}.",
        "{member} wants to wait for book {key}.",
        "Put {member} on the waiting list for book {key}, please.",
        "Book {key} is out. Can {member} have it next?",
        key=book_id,
        member=member,
    )
    place = yield invoke("reserve_book", book_id=int(book_id), member=member)
    return f"{member} is number {place['place']} on the waiting list of book {book_id}."


@template(Library)
def borrow_by_title(kit: Library, rng: random.Random) -> Plan:
    member = _borrower(kit, rng)
    title = kit.books[rng.choice(_lendable(kit, member))]["title"]
    yield say(
        rng,
        'Lend "{title}" to {member}.',
        '{member} wants to borrow "{title}". A copy is on the shelf.',
        'Please check out "{title}" for {member}.',
        'Member {member} takes home "{title}".',
        title=title,
        member=member,
    )
    found = yield invoke("find_books_by_title", title=title)
    loan = yield invoke("borrow_book", book_id=found[0]["book_id"], member=member)
    return f"{member} has {title} for {loan['days']} days."


@template(Library)
def copies_by_title(kit: Library, rng: random.Random) -> Plan:
    title = kit.books[str(_any_id(kit, rng))]["title"]
    yield say(
        rng,
        'How many copies of "{title}" are free?',
        'Are there copies of "{title}" on the shelf?',
        'Find out how many readers wait for "{title}" and how many copies are free.',
        'Is a copy of "{title}" free right now?',
        title=title,
    )
    found = yield invoke("find_books_by_title", title=title)
    book = yield invoke("get_book", book_id=found[0]["book_id"])
    return f"{title}: free copies {book['free_copies']}, waiting {book['waiting']}."


@template(Library)
def exchange(kit: Library, rng: random.Random) -> Plan:
    member = rng.choice([key for key, account in kit.members.items() if account["loans"] and not account["fine"]])
    old, new = rng.choice(list(kit.members[member]["loans"])), rng.choice(_lendable(kit, member))
    yield say(
        rng,
        "{member} returns book {old} and then borrows book {new}.",
        "First take back {old} from {member}, then lend them book {new}.",
        "Book {old} comes back from {member}, who takes {new} afterwards.",
        "For {member}: return {old}, then check out {new}, please.",
        member=member,
        old=old,
        new=new,
    )
    yield invoke("return_book", book_id=int(old), member=member)
    loan = yield invoke("borrow_book", book_id=int(new), member=member)
    return f"Book {old} is back; {member} has book {new} for {loan['days']} days."


@template(Library)
def return_only_loan(kit: Library, rng: random.Random) -> Plan:
    member = rng.choice([key for key, account in kit.members.items() if len(account["loans"]) == 1])
    yield say(
        rng,
        "{member} brings back the only book on loan. Take it back.",
        "Find the one book that {member} has and return it.",
        "Please return the single loan of member {member}.",
        "{member} hands in the book borrowed here; I do not know its number.",
        member=member,
    )
    loans = yield invoke("get_loans", member=member)
    yield invoke("return_book", book_id=loans["book_ids"][0], member=member)
    return f"Book {loans['book_ids'][0]} is back from {member}."


@template(Library)
def return_all(kit: Library, rng: random.Random) -> Plan:
    member = rng.choice([key for key, account in kit.members.items() if len(account["loans"]) > 1])
    yield say(
        rng,
        "{member} returns all borrowed books.",
        "Take back everything that {member} has on loan.",
        "Please close all loans of member {member}; the books are here.",
        "{member} brings every book back. Can you book that?",
        member=member,
    )
    loans = yield invoke("get_loans", member=member)
    for book_id in loans["book_ids"]:
        yield invoke("return_book", book_id=book_id, member=member)
    return f"{', '.join(str(book_id) for book_id in loans['book_ids'])} are back from {member}."


@template(Library)
def borrow_or_reserve(kit: Library, rng: random.Random) -> Plan:
    member = _borrower(kit, rng)
    pairs = [key for key, waiting in _reservable(kit) if waiting == member]
    title = kit.books[rng.choice(pairs if pairs and rng.random() < 0.5 else _lendable(kit, member))]["title"]
    yield say(
        rng,
        'Check whether a copy of "{title}" is free: if so lend it to {member}, otherwise reserve it.',
        '{member} wants "{title}". Look if there is a free copy; lend it, or reserve it if there is none.',
        'See how many copies of "{title}" are free. If none, reserve it for {member}, else lend it to {member}.',
        title=title,
        member=member,
    )
    found = yield invoke("find_books_by_title", title=title)
    book_id = found[0]["book_id"]
    book = yield invoke("get_book", book_id=book_id)
    if book["free_copies"]:
        loan = yield invoke("borrow_book", book_id=book_id, member=member)
        return f"A copy was free; {member} has {title} for {loan['days']} days."
    place = yield invoke("reserve_book", book_id=book_id, member=member)
    return f"No copy is free; {member} is number {place['place']} in line."


@template(Library)
def both_by_author(kit: Library, rng: random.Random) -> Plan:
    member = next(key for key, account in kit.members.items() if not account["loans"])
    authors = [book["author"] for book in kit.books.values() if book["copies"]]
    author = rng.choice([author for author in authors if authors.count(author) == 2])
    yield say(
        rng,
        "{member} wants to borrow both books by {author}; all of them are in.",
        "Lend every book of {author} to {member}.",
        "Find all the books by {author} and check each out to {member}.",
        "Can {member} have all your books by {author}? Please lend them.",
        member=member,
        author=author,
    )
    found = yield invoke("find_books_by_author", author=author)
    for book in found:
        yield invoke("borrow_book", book_id=book["book_id"], member=member)
    return f"{member} has {' and '.join(book['title'] for book in found)}."


def _any_id(kit: Library, rng: random.Random) -> int:
    return int(rng.choice(list(kit.books)))


def _borrower(kit: Library, rng: random.Random) -> str:
    """A member who may borrow one more book."""
    return rng.choice([key for key, member in kit.members.items() if len(member["loans"]) < 3 and not member["fine"]])


def _lendable(kit: Library, member: str) -> list[str]:
    """Books with a free copy that the member does not have."""
    return [key for key, book in kit.books.items() if book["copies"] and key not in kit.members[member]["loans"]]


def _reservable(kit: Library) -> list[tuple[str, str]]:
    """Pairs of a book without free copies and a member who neither has it nor waits for it."""
    return [
        (key, member)
        for key, book in kit.books.items()
        for member, account in kit.members.items()
        if not book["copies"] and key not in account["loans"] and member not in book["queue"]
    ]
