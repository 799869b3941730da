"""Optional packages that are not installed."""

from utils.errors import UserError


def missing_package(
    user: object, package: str | None, requirements: str = "requirements-export.txt"
) -> UserError:
    """Returns the error of an optional package that is not installed.

    Args:
        user: What needs it: a model, a flag or a script.
        package: The package.
        requirements: The file that lists it.
    """
    return UserError(
        f"{user} needs {package}, which is not installed: pip install -r {requirements}"
    )
