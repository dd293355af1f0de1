import fcntl
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Holds a file's lock, which only one process at a time can hold, and which ends when that process ends.

    Unlike a lock by ``flock``, child processes do not inherit it. So the data loader's processes, which outlive a
    killed run by five seconds, do not keep the lock.

    Args:
        path: The file, which is made where there is none.
        wait: Wait for a process that holds it.

    Raises:
        BlockingIOError: Another process holds it, and ``wait`` is False.
        OSError: The file cannot be made, or its file system knows no locks.
    """
    if path.exists() and not path.is_file():
        raise OSError(f'{path} is no regular file')  # a pipe would be waited for
    with path.open('a') as file:
        fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
