"""A change that takes as long as a test wants: it takes the lock, and waits for a file."""

from pyinfra.operations import server

from hubhost import operations

operations.exclusive(name=operations.LOCKING)
server.shell(name="Wait", commands=["until [ -e /run/go-on ]; do sleep 0.2; done"])
