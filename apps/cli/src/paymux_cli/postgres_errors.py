"""Why the embedded server cannot do what was asked. Each message says what to do.

EmbeddedPostgresError
├── HomeUnusable        PAYMUX_HOME cannot be made or written
├── AlreadyRunning      another supervisor, or a server that is not ours, uses the data directory
├── NoAccount           Postgres can run under no account that is to be had here
├── NoPostgresBinaries  no server programs were found
├── WrongVersion        the data were made by another major version
├── StrangerInTheWay    a folder that should be the server's alone is open to, or owned by, somebody else
└── ServerFailed        the server, or initdb, ended or did not answer; the message ends with what it said
"""


class EmbeddedPostgresError(Exception):
    """The embedded server cannot do what was asked."""


class HomeUnusable(EmbeddedPostgresError):
    """PAYMUX_HOME cannot be made or written."""


class AlreadyRunning(EmbeddedPostgresError):
    """Another supervisor, or a server that is not ours, uses the data directory."""


class NoAccount(EmbeddedPostgresError):
    """Postgres can run under no account that is to be had here."""


class NoPostgresBinaries(EmbeddedPostgresError):
    """No server programs were found here."""


class WrongVersion(EmbeddedPostgresError):
    """The data were made by another major version than the programs are."""


class StrangerInTheWay(EmbeddedPostgresError):
    """A folder that should be the server's alone belongs to somebody else, or is open to others."""


class ServerFailed(EmbeddedPostgresError):
    """The server, or initdb, ended or did not answer; the message ends with what it said."""
