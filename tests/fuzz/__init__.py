"""Fuzzing: what must hold whatever comes, and what was tried (corpus/), replayed by a unit test."""
