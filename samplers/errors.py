"""The one error a user is meant to read."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: what was wrong, where, and what would work. The command line prints it and exits with
    code 2; nothing else in the toolkit is meant to be read by a user as an error.
    """
