"""The Docker filter of an Integrable JupyterHub: what the hub may ask of Docker, and no more.

The way of a request: `serve.py` reads it, within bounds, and knows who asks; `decide.py` makes of
its bytes what little the hub may choose, and composes the container; `serve.py` asks Docker.
Nothing is imported here: the health command runs often and must stay cheap.
"""
