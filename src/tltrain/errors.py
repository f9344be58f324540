"""The errors that a user can cause. Each message says: where, what is wrong, and what to do."""


class TltrainError(Exception):
    """Base of every error that tltrain raises on purpose; the command line prints it without a traceback."""


class UsageError(TltrainError, ValueError):
    """A wrong option, recipe field or argument. Exit code 2."""


class DataError(TltrainError, ValueError):
    """A file or row that cannot be used as it is. Exit code 1."""


class ModelError(TltrainError, ValueError):
    """A model, tokenizer or checkpoint that cannot be used as it is. Exit code 1."""
