"""The two ways a job ends badly that its user can do something about."""


class UserError(Exception):
    """A usage or input error: one line that says what, where, and what to do. Exit code 2."""


class JobError(Exception):
    """A job that started well and then failed, such as a loss that became NaN. Exit code 1."""
