"""A library: books, members, loans and reservations."""

from typing import Annotated, TypedDict

from tltrain.envs.toolkit import Toolkit, bad_value, refuse, tool
from tltrain.types import Json

_BOOKS = {
    "Jane Austen": ("Emma", "Persuasion", "Mansfield Park"),
    "Jules Verne": ("The Mysterious Island", "Around the Moon", "Michael Strogoff"),
    "Charles Dickens": ("Bleak House", "Hard Times", "Little Dorrit"),
    "Mary Shelley": ("Frankenstein", "The Last Man", "Mathilda"),
    "Leo Tolstoy": ("War and Peace", "Resurrection", "Hadji Murat"),
    "George Eliot": ("Middlemarch", "Silas Marner", "Romola"),
}
_COPIES = (0, 0, 1, 1, 2, 2, 3, 3)
_MAX_LOANS = 3
_DEFAULT_DAYS = 21


class Book(TypedDict):
    """One title."""

    title: str
    author: str
    copies: int
    """On the shelf, not lent."""
    queue: list[str]
    """Members who wait, first come first served."""


class Member(TypedDict):
    """One member."""

    loans: dict[str, int]
    """Book number -> days of the loan."""
    fine: float
    """Euros owed."""


class Library(Toolkit):
    """Eight books of four authors; four members with 0, 1, 2 and 3 loans, of whom the second owes a fine."""

    name = "library"

    def __init__(self, seed: int):
        super().__init__(seed)
        authors = self.rng.sample(sorted(_BOOKS), 4)
        titles = [(author, title) for author in authors for title in self.rng.sample(_BOOKS[author], 2)]
        numbers = self.rng.sample(range(100, 1000), len(titles))
        copies = self.rng.sample(_COPIES, len(titles))
        self.books: dict[str, Book] = {
            str(number): {"title": title, "author": author, "copies": count, "queue": []}
            for number, (author, title), count in zip(numbers, titles, copies, strict=True)
        }
        fines = (0, self.rng.choice((1.5, 2, 4.5)), 0, 0)
        cards = self.rng.sample(range(10, 100), len(fines))
        self.members: dict[str, Member] = {
            f"M{card}": {
                "loans": dict.fromkeys(self.rng.sample(sorted(self.books), num_loans), _DEFAULT_DAYS),
                "fine": fine,
            }
            for num_loans, (card, fine) in enumerate(zip(cards, fines, strict=True))
        }
        *_, busiest = self.members
        waiting = [key for key, book in self.books.items() if not book["copies"] and not self._lent(busiest, key)]
        if waiting:
            self.books[waiting[0]]["queue"].append(busiest)

    @tool
    def find_books_by_author(self, author: str, available_only: bool = False) -> list[dict[str, Json]]:
        """Find books by their author."""
        return [
            {"book_id": int(key), "title": book["title"]}
            for key, book in self.books.items()
            if author.lower() in book["author"].lower() and (book["copies"] or not available_only)
        ]

    @tool
    def find_books_by_title(self, title: str) -> list[dict[str, Json]]:
        """Find books whose title contains a text."""
        return [
            {"book_id": int(key), "title": book["title"]}
            for key, book in self.books.items()
            if title.lower() in book["title"].lower()
        ]

    @tool
    def get_book(self, book_id: int) -> dict[str, Json]:
        """Get free copies and waiting readers of a book."""
        book = self._book(book_id)
        return {
            "book_id": book_id,
            "title": book["title"],
            "author": book["author"],
            "free_copies": book["copies"],
            "waiting": len(book["queue"]),
        }

    @tool
    def get_loans(self, member: str) -> dict[str, Json]:
        """List books that a member has, and the fine."""
        account = self._member(member)
        return {"book_ids": [int(key) for key in account["loans"]], "fine": account["fine"]}

    @tool
    def borrow_book(self, book_id: int, member: str, days: Annotated[int | None, "7 to 28"] = None) -> dict[str, Json]:
        """Lend a book to a member."""
        book, account = self._book(book_id), self._member(member)
        if days is not None and not 7 <= days <= 28:
            raise bad_value(f"days must be between 7 and 28, got {days}")
        if account["fine"]:
            raise refuse(f"{member} owes a fine of {account['fine']} euros")
        if self._lent(member, str(book_id)):
            raise refuse(f"{member} has book {book_id} already")
        if len(account["loans"]) >= _MAX_LOANS:
            raise refuse(f"{member} has {_MAX_LOANS} loans, the limit")
        if not book["copies"]:
            raise refuse(f"no copy of book {book_id} is free")
        if len(book["queue"]) >= book["copies"] and member not in book["queue"][: book["copies"]]:
            raise refuse(f"the free copies of book {book_id} are reserved")
        book["copies"] -= 1
        book["queue"] = [waiting for waiting in book["queue"] if waiting != member]
        account["loans"][str(book_id)] = days or _DEFAULT_DAYS
        return {"book_id": book_id, "days": days or _DEFAULT_DAYS}

    @tool
    def return_book(self, book_id: int, member: str) -> str:
        """Take a book back from a member."""
        book, account = self._book(book_id), self._member(member)
        if not self._lent(member, str(book_id)):
            raise refuse(f"{member} does not have book {book_id}")
        del account["loans"][str(book_id)]
        book["copies"] += 1
        return "returned"

    @tool
    def reserve_book(self, book_id: int, member: str) -> dict[str, Json]:
        """Put a member on the waiting list of a book."""
        book, _ = self._book(book_id), self._member(member)
        if self._lent(member, str(book_id)):
            raise refuse(f"{member} has book {book_id} already")
        if member in book["queue"]:
            raise refuse(f"{member} waits for book {book_id} already")
        if book["copies"] > len(book["queue"]):
            raise refuse(f"a copy of book {book_id} is free; it can be borrowed")
        book["queue"].append(member)
        return {"book_id": book_id, "place": len(book["queue"])}

    def _book(self, book_id: int) -> Book:
        book = self.books.get(str(book_id))
        if book is None:
            raise refuse(f"no book with id {book_id}")
        return book

    def _member(self, member: str) -> Member:
        if member not in self.members:
            raise refuse(f"no member {member!r}")
        return self.members[member]

    def _lent(self, member: str, key: str) -> bool:
        return key in self.members[member]["loans"]
