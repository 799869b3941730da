"""The version of the project, which is part of the files that it exports."""

VERSION = "0.1.0"
