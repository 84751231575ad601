"""Where a home's database is: a SQLite file, or a PostgreSQL URL whose password is shown to nobody."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

Address = Path | str
SCHEMES: Final = ("postgresql://", "postgres://", "postgresql+psycopg://")
HIDDEN: Final = "***"
# All take too much rather than too little: a password with an unescaped @, & or space in it is hidden whole. First
# the parameters of a URL and of libpq's keyword form, then a user's password, then what can be no port.
_NAMED: Final = r"(\w*password\s*=\s*)(?:'(?:[^'\\]|\\.)*(?:'|$)|.*?(?=&\w+=|\s\w+\s*=|$))"
_NAMED_PASSWORD: Final = re.compile(_NAMED, re.DOTALL | re.IGNORECASE)
_USER_PASSWORD: Final = re.compile(r"(://[^:]*):.*@", re.DOTALL)
_NO_USER: Final = re.compile(r"(://[^:/?#@]*):[^@]*$")
_NO_PORT: Final = re.compile(r"(://[^/?#]*@(?:\[[^\]]*\]|[^/?#:\[\]]*)):(?!\d{0,5}(?:[,/?#]|$)|\*{3}@).*", re.DOTALL)


def is_postgres(address: Address) -> bool:
    """Whether this names a PostgreSQL database: a URL as libpq takes it, also with SQLAlchemy's `+psycopg`."""
    return isinstance(address, str) and address.startswith(SCHEMES)


def masked(address: Address) -> str:
    """The address as it may be printed, logged and answered: every password is `***`."""
    text = _NAMED_PASSWORD.sub(rf"\1{HIDDEN}", str(address))
    text = _USER_PASSWORD.sub(rf"\1:{HIDDEN}@", text)
    for rest in (_NO_USER, _NO_PORT):
        text = rest.sub(rf"\1:{HIDDEN}", text)
    return text
