"""The hub of an Integrable JupyterHub: token-only login, short-lived sessions in containers.

Nothing is imported here: the health command runs every few seconds and must stay cheap.
"""
