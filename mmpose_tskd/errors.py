class UserError(ValueError):
    """A mistake in a config, a file or the data that the user can correct.

    The message names what is wrong, where, and what to do; the command-line tools print it without a traceback.
    """


def printable(text: str) -> str:
    """A text for a terminal: control characters, as a file's name may have them, are written as their codes."""
    return ''.join(c if c.isprintable() or c in '\n\t' else c.encode('unicode_escape').decode() for c in text)
