"""`make undrain`: sessions start again."""

from hubhost import operations

operations.undrain(name="Let sessions start")
