"""Imported once by the fork server: what each student's process starts with."""

from grading import layers, sandbox, submissions, wire  # noqa: F401

sandbox.load_libraries()
