"""The errors that are reported to the user in one line, without a traceback."""


class UserError(Exception):
    """A usage or input error. The message says what is wrong and how to fix it. Exit code 2."""


class JobError(Exception):
    """A job that started and then failed, for example because a loss became NaN. Exit code 1."""
