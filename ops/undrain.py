"""`make undrain`: sessions start again."""

from hubhost import operations

operations.exclusive(name=operations.LOCKING)
operations.undrain(name="Let sessions start")
