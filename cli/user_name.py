"""Who typed the command."""

import getpass


def user_name() -> str:
    """The login name; "command line" where there is none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # Python 3.13 raises the latter
        return "command line"
