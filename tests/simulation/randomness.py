"""The one source of chance in a run: what the kernel draws for nonces and keys comes from the seed as well."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from types import SimpleNamespace
from unittest.mock import patch

from services.kernel import privacy


@contextmanager
def drawn_from(random: Random) -> Iterator[None]:
    """Within, `privacy` draws its bytes there."""
    with (
        patch.object(privacy, "os", SimpleNamespace(urandom=random.randbytes)),
        patch.object(privacy, "secrets", SimpleNamespace(token_bytes=random.randbytes)),
    ):
        yield
