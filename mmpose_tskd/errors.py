class UserError(ValueError):
    """A mistake in a config, a file or the data that the user can mend.

    The message names what is wrong, where, and what to do; the command-line tools print it without a traceback.
    """
