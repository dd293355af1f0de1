from . import atomic_backend, hooks, optim  # noqa: F401
