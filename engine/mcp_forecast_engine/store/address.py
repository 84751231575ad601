"""Where a home's database is: a SQLite file, or a PostgreSQL URL whose password is shown to nobody."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

Address = Path | str
SCHEMES: Final = ("postgresql://", "postgres://", "postgresql+psycopg://")
HIDDEN: Final = "***"
# Both take too much rather than too little: a password with an unescaped @ or & in it is hidden whole.
_USER_PASSWORD: Final = re.compile(r"(://[^:/?#@]*):.*@", re.DOTALL)
_NAMED_PASSWORD: Final = re.compile(r"((?:^|[?&])\w*password=).*?(?=&\w+=|$)", re.DOTALL | re.IGNORECASE)


def is_postgres(address: Address) -> bool:
    """Whether this names a PostgreSQL database: a URL as libpq takes it, also with SQLAlchemy's `+psycopg`."""
    return isinstance(address, str) and address.startswith(SCHEMES)


def masked(address: Address) -> str:
    """The address as it may be printed, logged and answered: every password is `***`."""
    text = _USER_PASSWORD.sub(rf"\1:{HIDDEN}@", str(address))
    return _NAMED_PASSWORD.sub(rf"\1{HIDDEN}", text)
