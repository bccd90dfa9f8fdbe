"""What is clearly plain configuration, and what only looks like it."""

import random
import string

import pytest

from secretstore.plain_values import has_login, has_no_value, why_plain, without_login

URL = "a URL without credentials"


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("API_URL", "https://api.example.com/v1", URL),
        ("API_URL", "'https://api.example.com'", None),
        ("REDIS_URL", "redis://redis:6379/0", URL),
        ("DATABASE_URL", "postgres://db.internal:5432/app?sslmode=require", URL),
        ("CACHE_URL", "memcache://cache-1:11211,10.0.0.2:11211", URL),
        ("ORIGINS", "https://example.com, https://www.example.org", URL),
        ("SQLITE_URL", "sqlite:////var/lib/app/app.sqlite3", URL),
        ("JDBC_URL", "jdbc:postgresql://db.example.com/app", URL),
        ("ANYTHING", "127.0.0.1:5432", "a host"),
        ("ANYTHING", "db.internal:5432", "a host"),
        ("SMTP_HOST", "supabase-mail", "a host"),
        ("KAFKA_BROKERS", "kafka-1:9092,kafka-2:9092", "hosts"),
        ("IP_RETENTION_PERIOD", "31556952", "a number"),
        ("PGDATA", "/var/lib/postgresql/data", "a path"),
        ("GOOGLE_CLIENT_ID", "123-abc.apps.googleusercontent.com", "a host"),
        ("AZURE_TENANT_ID", "72f988bf-86f1-41af-91ab-2d7cd011db47", "an identifier by its name"),
        ("NEXT_PUBLIC_GA", "G-ABC123DEF4", "public by its name"),
        ("LOG_FORMAT", "%(levelname)s %(message)s", "a setting by its name"),
        ("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor", "a setting by its name"),
        ("NODE_OPTIONS", "--max-old-space-size=4096", "a setting by its name"),
        ("PASSWORD_MIN_LENGTH", "12", "a number"),
        ("passwordMinLength", "12", "a number"),
        ("TOKEN_TTL", "3600", "a number"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "11520", "a number"),
        ("REFRESH_TOKEN_LIFETIME", "30d", "a number"),
        ("PASSWORD_RESET_ENABLED", "True", "a flag"),
        ("TOKEN_TTL", "hunter2", None),
        ("PASSWORD_LENGTH_KEY", "12", None),
        ("LOGIN_PIN", "1234", None),
        ("MIN_PASSWORD", "12345", None),
        ("KEYCLOAK_URL", "https://login.example.com/realms/shop", URL),
        ("AUTH_URL", "https://login.example.com", URL),
        ("AUTH_URL", "https://user:pw@login.example.com", None),
        ("AUTH_URL", "https://login.example.com/?key=a", None),
        ("AUTH_TOKEN_URL", "https://login.example.com", None),
        ("BASIC_AUTH", "admin", None),
    ],
)
def test_plain_configuration_has_a_reason(name: str, value: str, why: str | None) -> None:
    """One reason each, in a few words."""
    assert why_plain(name, value) == why


@pytest.mark.parametrize(
    "value",
    [
        "https://user:hunter2@example.com", "https://token@example.com/x", "redis://:pw@redis:6379/0",
        "postgres://app:p/w@db/app", "postgres://app:p#w@db/app", "postgres://app:p?w@db/app",
        "postgres://app:p,w@db/app", "postgres://app:p w@db/app", "mysql://root:@localhost:3306/app",
        "https://0123456789abcdef0123456789abcdef@o1.ingest.sentry.io/2",
        "https://hooks.slack.com/services/T0/B0/x", "https://hooks.slack.com/workflows/a/b",
        "https://discord.com/api/webhooks/1/a", "https://outlook.office.com/webhook/a/b",
        "https://hooks.zapier.com/hooks/catch/1/abc", "https://example.com/deploy-hook",
        "https://ntfy.sh/horses", "https://hc-ping.com/horses", "https://api.telegram.org/bot1:AA",
        "https://mainnet.infura.io/v3/0123456789abcdef0123456789abcdef", "https://example.com/?token=a",
        "https://example.com/?key=a", "https://example.com/?code=abc", "https://example.com/?x=longenough",
        "https://example.com/#horses", "https://example.com/?horses",
        "https://shop.blob.core.windows.net/a?sv=1&sig=abc", "snowflake:///?account=a&password=b",
        "jdbc:oracle:thin:scott/tiger@//db:1521/x", "jdbc:sqlserver://db;user=sa;password=x",
        "https://example.com/a,https://user:pw@example.com", "sentinel://:pw@a:1;sentinel://:pw@b:1",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=b", "host=db password=x dbname=a",
        "Server=db;User Id=sa;Password=x", "https://${HOST}/x", "postgres://app:${PW}@db/app",
    ],
)  # fmt: skip
def test_no_credential_is_plain_under_any_name(value: str) -> None:
    """A URL with a login or a token, a webhook, a DSN with a key, a connection string."""
    names = ("URL", "API_URL", "DB_HOST", "X_ENDPOINT", "APP_NAME", "LOG_LEVEL", "NEXT_PUBLIC_URL", "APP_ID", "A_PATH")
    assert [name for name in names if why_plain(name, value)] == []


@pytest.mark.parametrize(
    ("name", "value", "none"),
    [
        ("REDIS_PASSWORD", "null", True), ("REDIS_PASSWORD", "", True), ("REDIS_PASSWORD", " ", True),
        ("MAIL_PASSWORD", "None", True), ("API_TOKEN", "(null)", True), ("API_TOKEN", "nullify", False),
        ("API_TOKEN", "0", False), ("MAIL_USERNAME", "null", False), ("EMPTY", "", False),
    ],
)  # fmt: skip
def test_a_secret_that_is_not_there(name: str, value: str, none: bool) -> None:
    """As a template has it; of what is not named like a secret nothing is meant."""
    assert has_no_value(name, value) is none


def test_a_hook_by_its_name_is_none_either() -> None:
    """Whatever its URL looks like."""
    assert why_plain("SLACK_HOOK", "https://example.com") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BOT", "MTk4NjIyNDgzNDcx.Cl2FMQ.ZnCjm1XVW7v"),
        ("APP", "horse.battery.staple"),
        ("DB_HOST", "Tr0ub4dor"),
        ("APP_URL", "horsebatterystaple"),
        ("APP_NAME", "sk-live-something"),
        ("VITE_ANY", "eyJhbGciOi.eyJzdWIi.x"),
        ("BACKUP_CODE", "12345678"),
        ("BASE_PATH", "/9j4AAQSkZJRgABAQAAAQ"),
        ("USERS", "admin:1234"),
        ("LEVEL", "x7Gq2Lw9Zt4B"),
        ("DB_PASSWORD_HOST", "db.example.com"),
    ],
)
def test_what_only_looks_like_it_is_not(name: str, value: str) -> None:
    """Dots do not make a host, nor a slash a path, and a name alone does not make a setting."""
    assert why_plain(name, value) is None


@pytest.mark.parametrize(
    "form", ["{}", "https://example.com/{}", "https://example.com/api/{}/x", "https://{}@example.com", "/etc/{}"]
)
def test_random_tokens_are_plain_nowhere(form: str) -> None:
    """Of twenty letters and digits, of hexadecimal digits, of base64: under names that allow much."""
    made = random.Random(7)
    for alphabet in (string.ascii_letters + string.digits, "0123456789abcdef", string.ascii_letters + "-_+/"):
        for _ in range(300):
            value = form.format("".join(made.choices(alphabet, k=24)))
            for name in ("FOO", "APP_NAME", "LOG_LEVEL", "APP_URL", "A_PATH", "X_MODE"):
                assert why_plain(name, value) is None, (name, value)


def test_a_login_is_seen_and_taken_out() -> None:
    """For a note, and for what the audit log keeps; whatever the password has in it."""
    assert has_login("https://user:p/w@example.com") and not has_login("https://example.com/@user")
    for value in ("https://user:p/w?x@example.com/simple?t=abc", "own=https://hunter2@example.com/simple?t=abc"):
        shown = without_login(value)
        assert "://***@example.com/simple?***" in shown and not {"hunter2", "p/w", "abc"} & set(shown.split())
        assert "hunter2" not in shown and "p/w" not in shown and "abc" not in shown
    assert without_login("https://example.com/simple") == "https://example.com/simple"
