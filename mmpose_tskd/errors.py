class UserError(ValueError):
    """A mistake in a config, a file or the data that the user can mend.

    The message names what is wrong, where, and what to do; the command-line tools print it without a traceback. What
    cannot be printed in it is escaped: a name out of a file could tell the terminal what to do.
    """

    def __init__(self, message: str) -> None:
        super().__init__(''.join(c if c.isprintable() or c == '\n' else repr(c)[1:-1] for c in message))
