"""Where a home keeps its state, which Redis it speaks to and what time it is there.

Environment
-----------
CANDOR_HOME
    Folder of all state; default ``var/`` in the project.
CANDOR_REDIS
    Redis in use instead of the embedded one, as a Feast connection string
    (``host:port[,db=0][,password=...][,ssl=true]``).
CANDOR_AS_OF
    Instant from which freshness is measured, ISO 8601 with a zone; overrides the portfolio's.
CANDOR_DECISION_LOG, MLFLOW_TRACKING_URI
    Database URLs instead of SQLite files in the home.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

from feature_repo.errors import InputError

PROJECT_ROOT = Path(__file__).resolve().parents[1]
DEFAULT_ROOT = PROJECT_ROOT / "var"
REPO_PATH = PROJECT_ROOT / "feature_repo"
DEFAULT_YAML = REPO_PATH / "feature_store.yaml"
DEFAULT_REDIS = "127.0.0.1:16379"
Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class HomeState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a home remembers between commands, kept in ``home.json``.

    Parameters
    ----------
    as_of : datetime or None
        End of the ingested portfolio, UTC; None means the wall clock.
    outcomes_as_of : datetime or None
        Until when the portfolio's outcomes were observed, UTC; None means `as_of`.
    oot_start : datetime or None
        Default start of the out-of-time window, UTC.
    performance_months : int
        Months after a decision in which a default counts; 0 counts every observed outcome as it is.
    redis_port : int or None
        Port of the embedded Redis of a home other than the default.
    materialized_to : datetime or None
        Until when the online store holds the ingested portfolio, UTC. None after an ingest: the
        next materialize then starts from an empty online store.
    refilling : bool
        Whether the online store was emptied and is not yet full again; decisions wait for it.
    """

    portfolio: str = ""
    as_of: Instant | None = None
    outcomes_as_of: Instant | None = None
    oot_start: Instant | None = None
    performance_months: int = 0
    redis_port: int | None = None
    materialized_to: Instant | None = None
    refilling: bool = False


@dataclass(frozen=True)
class Home:
    """A home resolved from the environment. Creating one touches no file.

    Parameters
    ----------
    root : Path
        Absolute path of the folder.
    redis_override, mlflow_override, log_override : str
        Addresses given by the user, empty for the home's own.
    as_of_override : datetime or None
        Clock given by the user.
    """

    root: Path
    redis_override: str = ""
    mlflow_override: str = ""
    log_override: str = ""
    as_of_override: datetime | None = field(default=None)

    @classmethod
    def resolve(cls, environ: Mapping[str, str] | None = None) -> Home:
        """Read the home from environment variables.

        Raises
        ------
        InputError
            If ``CANDOR_AS_OF`` is not an ISO 8601 instant with a time zone.
        """
        env = os.environ if environ is None else environ
        as_of = env.get("CANDOR_AS_OF", "")
        return cls(
            root=Path(env.get("CANDOR_HOME") or DEFAULT_ROOT).expanduser().resolve(),
            redis_override=env.get("CANDOR_REDIS", ""),
            mlflow_override=env.get("MLFLOW_TRACKING_URI", ""),
            log_override=env.get("CANDOR_DECISION_LOG", ""),
            as_of_override=parse_instant(as_of, "CANDOR_AS_OF") if as_of else None,
        )

    @property
    def is_default(self) -> bool:
        """Whether the literal addresses of the project's feature_store.yaml are this home's."""
        return self.root == DEFAULT_ROOT and not self.redis_override

    @property
    def state_path(self) -> Path:
        """File that remembers the portfolio and its clock."""
        return self.root / "home.json"

    @property
    def sources(self) -> Path:
        """Folder of the source tables."""
        return self.root / "sources"

    @property
    def prepared(self) -> Path:
        """Folder of what the offline store prepares of the source tables; may be deleted at any time."""
        return self.root / "prepared"

    @property
    def truth(self) -> Path:
        """Folder of what only a simulator knows; never a source."""
        return self.root / "truth"

    @property
    def raw(self) -> Path:
        """Folder of raw files that a simulator wrote."""
        return self.root / "raw"

    @property
    def bundles(self) -> Path:
        """Folder of model bundles, one folder per digest."""
        return self.root / "bundles"

    @property
    def champion_path(self) -> Path:
        """File that names the bundle in service."""
        return self.root / "champion.json"

    @property
    def profiles(self) -> Path:
        """Folder of whylogs profiles."""
        return self.root / "profiles"

    @property
    def reports(self) -> Path:
        """Folder of validation, evaluation and drift reports."""
        return self.root / "reports"

    @property
    def redis_dir(self) -> Path:
        """Data folder of the embedded Redis."""
        return self.root / "redis"

    @property
    def mlflow_uri(self) -> str:
        """MLflow tracking URI in force."""
        return self.mlflow_override or f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def mlflow_artifacts(self) -> Path:
        """Folder of MLflow artifacts when the store is the home's own."""
        return self.root / "mlflow-artifacts"

    @property
    def decision_log_url(self) -> str:
        """SQLAlchemy URL of the decision log in force."""
        return self.log_override or f"sqlite:///{self.root / 'decisions.db'}"

    @property
    def feature_store_yaml(self) -> Path:
        """The feature_store.yaml in force."""
        return DEFAULT_YAML if self.is_default else self.root / "feature_store.yaml"

    @property
    def redis(self) -> str:
        """Feast connection string in force; empty while another home's port is not yet chosen."""
        if self.redis_override:
            return self.redis_override
        if self.root == DEFAULT_ROOT:
            return DEFAULT_REDIS
        port = self.state().redis_port
        return f"127.0.0.1:{port}" if port else ""

    def source_glob(self, table: str) -> str:
        """Return the Parquet glob of one source table."""
        return str(self.sources / table / "**" / "*.parquet")

    def state(self) -> HomeState:
        """Read what the home remembers; a new home remembers nothing.

        Raises
        ------
        InputError
            If home.json is there but is not what this program wrote.
        """
        try:
            return msgspec.json.decode(self.state_path.read_bytes(), type=HomeState)
        except FileNotFoundError:
            return HomeState()
        except msgspec.DecodeError as error:
            raise InputError(f"{self.state_path} is damaged ({error}); delete it and ingest again") from None

    def save_state(self, state: HomeState) -> None:
        """Replace home.json in one step."""
        write_atomically(self.state_path, msgspec.json.format(msgspec.json.encode(state)))

    def now(self) -> datetime:
        """Return the instant from which freshness is measured here, UTC."""
        return self.as_of_override or self.state().as_of or datetime.now(UTC)

    @property
    def has_clock(self) -> bool:
        """Whether this home stands at an instant of its own instead of the wall clock."""
        return (self.as_of_override or self.state().as_of) is not None

    @property
    def safe_redis(self) -> str:
        """The Redis address without options, which may hold a password."""
        return self.redis.partition(",")[0]

    @property
    def safe_log(self) -> str:
        """The decision log's URL without user and password."""
        scheme, separator, rest = self.decision_log_url.partition("://")
        return f"{scheme}{separator}{rest.rpartition('@')[2]}"

    def outcomes_now(self) -> datetime:
        """Return the instant up to which outcomes are known here, UTC.

        A historical portfolio goes on being observed after its last application, so that its
        outcomes may be known later than its features; elsewhere both instants are the same.
        """
        return self.as_of_override or self.state().outcomes_as_of or self.now()

    def portfolio_observed_until(self) -> datetime | None:
        """Return until when the ingested portfolio says what became of loans, UTC; None if it has no end."""
        state = self.state()
        return state.outcomes_as_of or state.as_of


def parse_instant(text: str, name: str) -> datetime:
    """Return an ISO 8601 date or instant as UTC; a bare date is its midnight in UTC.

    Raises
    ------
    InputError
        If the text is no instant, or a time of day without a zone.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{name}: {text!r} is not an ISO 8601 date or instant") from None
    if instant.tzinfo is None:
        if len(text) > len("2026-01-31"):
            raise InputError(f"{name}: {text!r} has no time zone; write {text}Z for UTC")
        return instant.replace(tzinfo=UTC)
    return instant.astimezone(UTC)


def write_atomically(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file so that a reader sees the old bytes or the new, never a part.

    Parameters
    ----------
    mode : int
        Permissions of the file, less those that the process withholds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)  # of a process that was killed, with permissions of its own
    with open(partial, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
