"""AWS KMS as the key service, over HTTP: moto for the protocol, a proxy of ours for AWS's documented errors."""

import contextlib
import json
import re
import socket
import ssl
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from secretstore import errors
from secretstore.aws_kms import AwsKms, Credentials
from secretstore.errors import KeyServiceMissing, KmsError, KmsKeyUnusable, WrapBroken
from secretstore.key_service import KeyAccess, KeyPlace
from secretstore.keyring import fits, generate_wrapped, offered, opens, wrapping, wrapping_context
from secretstore.local_keys import LocalKeys
from secretstore.unwrapping import unwrapping
from tests import kms
from tests.kms import ACCESS_KEY, ERRORS, REGION, SECRET_KEY, TOKEN, KmsProxy

PRIVATE = bytes(range(96))
PLACE = KeyPlace("shop", "p1", "staging", "e1")
CONTEXT = wrapping_context(PLACE, "f" * 32)
CREDENTIALS = Credentials(ACCESS_KEY, SECRET_KEY, TOKEN)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """moto's KMS."""
    with kms.moto_server() as url:
        yield url


@pytest.fixture(scope="module")
def arn(moto: str) -> str:
    """A key that has the alias `alias/sealrun`."""
    return kms.make_key(moto, "alias/sealrun")


@pytest.fixture(scope="module")
def door(moto: str) -> Iterator[KmsProxy]:
    """The proxy before it."""
    with kms.kms_proxy(moto) as made:
        yield made


@pytest.fixture
def proxy(door: KmsProxy) -> KmsProxy:
    """The proxy with an empty log and without faults."""
    door.forget()
    door.fail()
    return door


def service(key: str, url: str, timeout: float = 5, credentials: Credentials | None = CREDENTIALS) -> AwsKms:
    return AwsKms(key, region=REGION, endpoint_url=url, credentials=credentials, timeout=timeout)


def access(*keys: str, timeout: float = 5) -> KeyAccess:
    return KeyAccess(",".join(keys), timeout, CREDENTIALS)


# What is called -----------------------------------------------------------------------------------


@pytest.mark.parametrize("named", ["alias", "id", "arn", "alias arn"])
def test_a_key_is_wrapped_by_encrypt_and_unwrapped_by_one_decrypt(proxy: KmsProxy, arn: str, named: str) -> None:
    """I4: one call each, with the whole context, signed by what was handed in; Decrypt names the key."""
    alias = "alias/sealrun"
    key = {"alias": alias, "id": arn.rpartition("/")[2], "arn": arn, "alias arn": f"{arn.rpartition(':')[0]}:{alias}"}[
        named
    ]
    made = service(key, proxy.url)
    wrapped = made.wrap(PRIVATE, CONTEXT)
    assert made.id == f"aws-kms:{arn}" and PRIVATE[:16] not in wrapped
    assert service(key, proxy.url).unwrap(wrapped, CONTEXT) == PRIVATE
    assert [(call.action, call.key, call.context) for call in proxy.calls] == [
        ("Encrypt", key, CONTEXT),
        ("Decrypt", key, CONTEXT),
    ]
    assert {call.signed_by for call in proxy.calls} == {ACCESS_KEY}


def test_a_new_pair_records_the_keys_arn(proxy: KmsProxy, arn: str) -> None:
    """Whatever the settings call it: an alias may stand for another key tomorrow."""
    made = service("alias/sealrun", proxy.url)
    pair = generate_wrapped(made, PLACE, 1)
    assert pair.key_service == f"aws-kms:{arn}"
    assert proxy.actions() == ["Encrypt"]
    assert proxy.calls[0].context == wrapping_context(PLACE, pair.fingerprint)
    assert len(made.unwrap(pair.wrapped, proxy.calls[0].context)) > 90


@pytest.mark.parametrize("field", sorted(CONTEXT))
def test_another_context_does_not_open(moto: str, arn: str, field: str) -> None:
    """I2: for another project, environment or public key KMS refuses, and that is told as with a local key."""
    wrapped = service(arn, moto).wrap(PRIVATE, CONTEXT)
    for context in (CONTEXT | {field: "x"}, {name: value for name, value in CONTEXT.items() if name != field}):
        with pytest.raises(WrapBroken):
            service(arn, moto).unwrap(wrapped, context)


def test_a_ciphertext_that_was_changed_does_not_open(moto: str, arn: str) -> None:
    """Cut, empty, longer than KMS takes, or no ciphertext at all."""
    wrapped = service(arn, moto).wrap(PRIVATE, CONTEXT)
    for other in (wrapped[:-1], wrapped[:-1] + bytes([wrapped[-1] ^ 1])):
        with pytest.raises(WrapBroken):
            service(arn, moto).unwrap(other, CONTEXT)
    for other in (b"", b"x" * 96, b"x" * 8000):
        with pytest.raises((KmsError, WrapBroken)):
            service(arn, moto).unwrap(other, CONTEXT)


def test_moving_to_another_key_is_one_reencrypt(proxy: KmsProxy, arn: str, moto: str) -> None:
    """I1: the private key is in the clear nowhere: no Decrypt, and the context is the same on both sides."""
    old, new = service(arn, proxy.url), service(kms.make_key(moto), proxy.url)
    wrapped = old.wrap(PRIVATE, CONTEXT)
    proxy.forget()
    moved = old.rewrap(wrapped, CONTEXT, new)
    (call,) = proxy.calls
    assert call.action == "ReEncrypt"
    assert call.body == {
        "SourceKeyId": arn,
        "SourceEncryptionContext": CONTEXT,
        "DestinationKeyId": new.key,
        "DestinationEncryptionContext": CONTEXT,
    }
    assert new.id == f"aws-kms:{new.key}" and new.unwrap(moved, CONTEXT) == PRIVATE
    with pytest.raises(WrapBroken):
        old.rewrap(wrapped, CONTEXT | {"sealrun:project": "x"}, new)


def test_moving_between_kinds_and_regions(proxy: KmsProxy, arn: str, keys: LocalKeys) -> None:
    """From a local key it is unwrapped here and wrapped by Encrypt; KMS itself reaches into its own region only."""
    there = service(arn, proxy.url)
    moved = keys.rewrap(keys.wrap(PRIVATE, CONTEXT), CONTEXT, there)
    assert proxy.actions() == ["Encrypt"] and there.unwrap(moved, CONTEXT) == PRIVATE
    back = there.rewrap(moved, CONTEXT, keys)
    assert keys.unwrap(back, CONTEXT) == PRIVATE
    proxy.forget()
    elsewhere = AwsKms(arn, region="us-east-1", endpoint_url=proxy.url, credentials=CREDENTIALS)
    with pytest.raises(KmsKeyUnusable, match=r"from eu-north-1 to us-east-1"):
        there.rewrap(moved, CONTEXT, elsewhere)
    assert proxy.calls == []


# Several key services -----------------------------------------------------------------------------


def test_the_first_wraps_and_each_opens_what_it_wrapped(
    proxy: KmsProxy, moto: str, arn: str, keys: LocalKeys, key_file: Path
) -> None:
    """While keys move, `SEALRUN_KEYS` lists both: what is recorded with a pair chooses, and one call is made."""
    second = kms.make_key(moto)
    given = access(kms.spec(arn, proxy.url), kms.spec(second.rpartition("/")[2], proxy.url), f"local:{key_file}")
    first = wrapping(given)
    assert isinstance(first, AwsKms) and first.key == arn
    made = {
        f"aws-kms:{arn}": first.wrap(PRIVATE, CONTEXT),
        f"aws-kms:{second}": service(second, proxy.url).wrap(PRIVATE, CONTEXT),
        keys.id: keys.wrap(PRIVATE, CONTEXT),
    }
    proxy.forget()
    for recorded, wrapped in made.items():
        assert unwrapping(given, recorded).unwrap(wrapped, CONTEXT) == PRIVATE
        assert opens(given, recorded)
    assert proxy.actions() == ["Decrypt", "Decrypt"]


def test_an_alias_may_stand_for_what_is_recorded(moto: str, arn: str) -> None:
    """Beside keys that are named and are not it."""
    other = kms.make_key(moto)
    given = access(kms.spec(other, moto), kms.spec("alias/sealrun", moto))
    found = unwrapping(given, f"aws-kms:{arn}")
    assert isinstance(found, AwsKms) and found.key == "alias/sealrun" and opens(given, f"aws-kms:{arn}")


def test_a_database_writer_cannot_bring_a_key(proxy: KmsProxy, moto: str, arn: str) -> None:
    """I2: a row that names another key is tried under the one of the settings, and does not open."""
    theirs = kms.make_key(moto)
    wrapped = service(theirs, moto).wrap(PRIVATE, CONTEXT)
    given = access(kms.spec(arn, proxy.url))
    with pytest.raises(KmsError):
        unwrapping(given, f"aws-kms:{theirs}").unwrap(wrapped, CONTEXT)
    assert [call.key for call in proxy.calls] == [arn]
    assert not opens(given, f"aws-kms:{theirs}")


def test_what_is_offered_fits_what_is_recorded(moto: str, arn: str, keys: LocalKeys, key_file: Path) -> None:
    """By id, whatever region or account; a key file by its fingerprint, and as something else while it is not there."""
    name = arn.rpartition("/")[2]
    given = access(kms.spec(arn, moto), kms.spec("alias/sealrun", moto), f"local:{key_file}")
    assert offered(given) == (f"aws-kms:*:key/{name}", f"aws-kms:{name}", "aws-kms:*", keys.id)
    assert fits(f"aws-kms:*:key/{name}", f"aws-kms:arn:aws:kms:us-east-1:1:key/{name}")
    assert not fits(f"aws-kms:*:key/{name}", f"aws-kms:arn:aws:kms:us-east-1:1:key/other-{name}")
    assert not fits("ab*bc", "abc")
    nowhere = KeyAccess("local:/nowhere/local.key")
    assert (offered(nowhere), offered(nowhere, unread="local:*")) == ((), ("local:*",))


def test_a_kind_that_is_not_listed_is_said(key_file: Path) -> None:
    """I10: and a row that names nonsense is not quoted."""
    given = KeyAccess(f"local:{key_file}")
    with pytest.raises(KeyServiceMissing, match=r"wrapped by aws-kms:arn:aws:kms:eu-north-1:1:key/a, and"):
        unwrapping(given, "aws-kms:arn:aws:kms:eu-north-1:1:key/a")
    with pytest.raises(KeyServiceMissing) as refusal:
        unwrapping(given, "canary \x1b[31m:x")
    assert "canary" not in str(refusal.value)
    assert not opens(given, "nonsense") and not opens(KeyAccess("local:/no/where"), "local:0123456789abcdef")


def test_what_is_handed_over_survives_json_and_is_not_shown(arn: str, moto: str) -> None:
    """I10: credentials and proxies travel in a frame, and are in no repr."""
    given = KeyAccess(kms.spec(arn, moto), 3.0, CREDENTIALS, {"https": "http://u:canary@proxy:1"})
    assert KeyAccess.from_json(json.loads(json.dumps(given.to_json()))) == given
    assert "canary" not in repr(given) + repr(CREDENTIALS) and ACCESS_KEY not in repr(given)


# Faults -------------------------------------------------------------------------------------------

FAULTS = {
    "AccessDeniedException": ("KmsAccessDenied", "AWS denies kms:Decrypt with the key {arn} ("),
    "DisabledException": ("KmsKeyUnusable", "AWS refused kms:Decrypt: the KMS key {arn} is disabled ("),
    "KMSInvalidStateException": (
        "KmsKeyUnusable",
        "AWS refused kms:Decrypt: the KMS key {arn} is pending deletion or in another",
    ),
    "NotFoundException": ("KmsKeyUnusable", "AWS refused kms:Decrypt: no KMS key {arn} in eu-north-1 ("),
    "InvalidKeyUsageException": ("KmsKeyUnusable", "AWS refused kms:Decrypt: the KMS key {arn} has another usage ("),
    "IncorrectKeyException": (
        "KmsKeyUnusable",
        "AWS refused kms:Decrypt: the private key was wrapped under another KMS key than",
    ),
    "InvalidCiphertextException": ("WrapBroken", "the wrapped private key does not unwrap"),
    "UnrecognizedClientException": ("KmsCredentialsUnusable", "AWS does not accept the credentials for kms:Decrypt"),
    "InvalidSignatureException": ("KmsCredentialsUnusable", "AWS does not accept the credentials for kms:Decrypt"),
    "ExpiredTokenException": ("KmsCredentialsUnusable", "the AWS credentials for kms:Decrypt with the key {arn} have"),
    "page": ("KmsError", "the server that answered kms:Decrypt with the key {arn} at {url} is not AWS KMS"),
    "forbidding_page": ("KmsError", "the server that answered kms:Decrypt with the key {arn} at {url} is not AWS KMS"),
    "empty": ("KmsError", "the server that answered kms:Decrypt with the key {arn} at {url} is not AWS KMS"),
    "crooked": ("KmsError", "the server that answered kms:Decrypt with the key {arn} at {url} is not AWS KMS"),
    "endless": ("KmsError", "the server that answered kms:Decrypt with the key {arn} at {url} is not AWS KMS"),
    "odd": ("KmsError", "AWS KMS refused kms:Decrypt with the key {arn} (status 400, request "),
    "unheard_of": ("KmsError", "AWS KMS refused kms:Decrypt with the key {arn} (UnheardOfException, request "),
}
PASSING = {
    "ThrottlingException": (
        "KmsUnavailable",
        "AWS throttled kms:Decrypt with the key {arn} for 0.4 seconds (Throttling",
    ),
    "KMSInternalException": (
        "KmsUnavailable",
        "AWS KMS failed at kms:Decrypt with the key {arn} for 0.4 seconds (KMSIn",
    ),
    "DependencyTimeoutException": (
        "KmsUnavailable",
        "AWS KMS failed at kms:Decrypt with the key {arn} for 0.4 seconds (D",
    ),
    "KeyUnavailableException": (
        "KmsUnavailable",
        "AWS KMS failed at kms:Decrypt with the key {arn} for 0.4 seconds (KeyU",
    ),
    "unavailable": ("KmsUnavailable", "AWS KMS failed at kms:Decrypt with the key {arn} for 0.4 seconds (503)"),
    "close": ("KmsUnavailable", "AWS KMS at {url} was not reached for kms:Decrypt with the key {arn} in 0.4 seconds: "),
    "garbage": ("KmsUnavailable", "0.4 seconds: the server there does not speak HTTP"),
}
SILENT = ("hang", "dribble")


def reason(proxy: KmsProxy, arn: str, wrapped: bytes, timeout: float) -> Exception:
    """What a Decrypt ends with."""
    with pytest.raises((KmsError, WrapBroken)) as refusal:
        service(arn, proxy.url, timeout).unwrap(wrapped, CONTEXT)
    assert refusal.value.__cause__ is None
    for word in ("canary", SECRET_KEY, TOKEN, ACCESS_KEY):
        assert word not in str(refusal.value) + str(refusal.value.hint) + repr(refusal.value.names)
    return refusal.value


@pytest.fixture(scope="module")
def wrapped(moto: str, arn: str) -> bytes:
    """A wrapped key."""
    return service(arn, moto).wrap(PRIVATE, CONTEXT)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_refusal_is_told_at_once(proxy: KmsProxy, arn: str, wrapped: bytes, fault: str) -> None:
    """I10: a class and a sentence of its own, with the key and the action, after one call; no words of AWS's."""
    kind, sentence = FAULTS[fault]
    with proxy.failing(fault):
        found = reason(proxy, arn, wrapped, 5)
    assert type(found) is getattr(errors, kind)
    assert sentence.format(arn=arn, url=proxy.url) in str(found)
    assert len(proxy.calls) == 1
    if fault in ERRORS and kind != "WrapBroken":
        assert re.search(rf"\({fault}, request [0-9a-f-]{{36}}\)", str(found))


@pytest.mark.parametrize("fault", PASSING)
def test_what_may_pass_is_tried_again_until_the_deadline(proxy: KmsProxy, arn: str, wrapped: bytes, fault: str) -> None:
    """Throttling, AWS's own faults and broken connections; the reason is the last one."""
    kind, sentence = PASSING[fault]
    with proxy.failing(fault):
        found = reason(proxy, arn, wrapped, 0.4)
    assert type(found) is getattr(errors, kind)
    assert sentence.format(arn=arn, url=proxy.url) in str(found)
    assert len(proxy.calls) > 1


@pytest.mark.parametrize("fault", ["ThrottlingException", "KMSInternalException", "close", "unavailable"])
def test_what_passes_is_not_noticed(proxy: KmsProxy, arn: str, wrapped: bytes, fault: str) -> None:
    """A fault once and twice, and then the answer."""
    proxy.fail(fault, fault)
    assert service(arn, proxy.url).unwrap(wrapped, CONTEXT) == PRIVATE
    assert proxy.actions() == ["Decrypt"] * 3


@pytest.mark.parametrize("fault", SILENT)
def test_silence_and_dribbling_end_at_the_deadline(proxy: KmsProxy, arn: str, wrapped: bytes, fault: str) -> None:
    """An answer that never comes, and one that comes byte by byte and so never times out."""
    with proxy.failing(fault):
        found = reason(proxy, arn, wrapped, 0.4)
    assert type(found) is errors.KmsUnavailable
    assert f"AWS KMS at {proxy.url} did not answer kms:Decrypt with the key {arn} in full within 0.4" in str(found)
    assert "SEALRUN_KMS_TIMEOUT_SECONDS" in str(found.hint)


def test_a_slow_answer_is_waited_for(proxy: KmsProxy, arn: str, wrapped: bytes) -> None:
    """As long as the setting says."""
    with proxy.failing("slow"):
        assert service(arn, proxy.url).unwrap(wrapped, CONTEXT) == PRIVATE
    assert len(proxy.calls) == 1


@contextlib.contextmanager
def deaf() -> Iterator[int]:
    """A port whose connections are made by the kernel and never taken."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        yield int(listening.getsockname()[1])


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port that drops what knocks: its queue is full."""
    with contextlib.ExitStack() as ending:
        port = ending.enter_context(deaf())
        for _ in range(8):
            knocking = ending.enter_context(socket.socket())
            knocking.setblocking(False)
            knocking.connect_ex(("127.0.0.1", port))
        yield port


@pytest.mark.parametrize(
    ("where", "kind", "sentence"),
    [
        ("refused", "KmsUnavailable", "in 0.5 seconds: connection refused"),
        ("unknown", "KmsUnavailable", "in 0.5 seconds: its name is unknown"),
        ("deaf", "KmsUnavailable", "did not answer kms:Decrypt"),
        ("black hole", "KmsUnavailable", "in 0.5 seconds: no server answers there"),
        ("no tls", "KmsUnavailable", "in 0.5 seconds: the TLS handshake failed"),
    ],
)
def test_a_dead_endpoint_has_its_own_reason(
    proxy: KmsProxy, arn: str, wrapped: bytes, where: str, kind: str, sentence: str
) -> None:
    """Nobody listens, the name is unknown, nobody takes the call, it is dropped, it does not speak TLS."""
    with contextlib.ExitStack() as ending:
        url = {
            "refused": lambda: f"http://127.0.0.1:{kms.free_port()}",
            "unknown": lambda: "http://kms.invalid",
            "deaf": lambda: f"http://127.0.0.1:{ending.enter_context(deaf())}",
            "black hole": lambda: f"http://127.0.0.1:{ending.enter_context(black_hole())}",
            "no tls": lambda: proxy.url.replace("http:", "https:"),
        }[where]()
        with pytest.raises(KmsError) as refusal:
            service(arn, url, 0.5).unwrap(wrapped, CONTEXT)
    found = refusal.value
    assert (type(found).__name__, f"AWS KMS at {url} " in str(found)) == (kind, True), str(found)
    assert sentence in str(found)


def test_a_certificate_that_nobody_vouches_for(moto: str, arn: str, wrapped: bytes, tmp_path: Path) -> None:
    """I9: KMS is not spoken to, not even once; with the bundle that knows the certificate it is."""
    pem = tmp_path / "pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-keyout",
        f"{pem}",
        "-out",
        f"{pem}.crt",
    ]
    if subprocess.run([*made, *names], capture_output=True).returncode != 0:
        pytest.skip("there is no openssl program to make a certificate with")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{pem}.crt", pem)
    with kms.kms_proxy(moto, context) as own:
        url = own.url
        with pytest.raises(errors.KmsError, match="its certificate is not trusted"):
            service(arn, url).unwrap(wrapped, CONTEXT)
        assert own.calls == []
        known = {"ca_bundle": f"{pem}.crt"}
        trusting = AwsKms(arn, region=REGION, endpoint_url=url, credentials=CREDENTIALS, network=known)
        assert trusting.unwrap(wrapped, CONTEXT) == PRIVATE
        missing = {"ca_bundle": f"{pem}.not"}
        with pytest.raises(errors.KmsError, match=r"pem\.not"):
            AwsKms(arn, region=REGION, endpoint_url=url, credentials=CREDENTIALS, network=missing).unwrap(b"x", {})


def test_without_credentials_nobody_is_asked(proxy: KmsProxy, arn: str) -> None:
    """The sentence names the action that they are needed for."""
    with pytest.raises(
        errors.KmsCredentialsUnusable, match=f"no AWS credentials were found for kms:Encrypt with the key {arn}"
    ):
        service(arn, proxy.url, credentials=None).wrap(PRIVATE, CONTEXT)
    assert proxy.calls == []


def test_a_redirect_is_not_followed(moto: str, arn: str, wrapped: bytes) -> None:
    """A request holds a wrapped key and its context, and goes where the settings say and nowhere else."""
    with kms.kms_proxy(moto) as first, kms.kms_proxy(moto) as second:
        first.elsewhere = second.url
        with first.failing("redirect"), pytest.raises(KmsError):
            service(arn, first.url, 1).unwrap(wrapped, CONTEXT)
        assert len(first.calls) == 1 and second.calls == []


# What is loaded -----------------------------------------------------------------------------------


def test_botocore_is_loaded_by_who_calls_kms_alone(tmp_path: Path) -> None:
    """Naming the key service, sealing and listing take no AWS library."""
    code = """
import sys
from secretstore.key_service import KeyAccess
from secretstore.keyring import wrapping
from executor.settings import read_settings
import secretstore.vault
found = read_settings({"SEALRUN_HOME": sys.argv[1], "SEALRUN_KEYS": "aws-kms:alias/x?region=eu-north-1"})
print(wrapping(KeyAccess(found.store.keys)).id, sorted({"botocore", "urllib3"} & set(sys.modules)))
"""
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("aws-kms:alias/x []\n", "")


def test_without_botocore_there_is_a_sentence(tmp_path: Path) -> None:
    """It names the extra to install."""
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("boto", "__")):
            (tmp_path / entry.name).symlink_to(entry)
    code = """
import sys
sys.path[:0] = sys.argv[1:]
from secretstore.aws_kms import prepare
from secretstore.errors import LibraryMissing
try:
    prepare("eu-north-1", "", {})
except LibraryMissing as error:
    print(error, error.hint, sep="; ")
"""
    bare = [sys.executable, "-I", "-S", "-c", code, str(ROOT), str(tmp_path)]
    ended = subprocess.run(bare, capture_output=True, text=True)
    assert (
        ended.stdout
        == "AWS KMS needs botocore, which is not installed; in the checkout of sealrun: uv pip install -e '.[aws]'\n"
    ), ended.stderr


def test_nobodys_configuration_is_read(proxy: KmsProxy, arn: str, wrapped: bytes, tmp_path: Path) -> None:
    """A file in somebody's home, or a variable, does not say where KMS is nor what signs."""
    config = tmp_path / "config"
    config.write_text(f"[default]\nendpoint_url = http://127.0.0.1:{kms.free_port()}\naws_access_key_id = other\n")
    code = """
import json, os, sys
from secretstore.aws_kms import prepare
from secretstore.key_service import KeyAccess
from secretstore.unwrapping import unwrapping
given = json.load(sys.stdin)
service = unwrapping(KeyAccess.from_json(given["access"]), "aws-kms:any")
print(service.unwrap(bytes.fromhex(given["wrapped"]), given["context"]).hex(), prepare("eu-north-1", "", {}).endpoint)
"""
    given = {"access": access(kms.spec(arn, proxy.url)).to_json(), "wrapped": wrapped.hex(), "context": CONTEXT}
    environ = {"AWS_CONFIG_FILE": str(config), "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "other"}
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, input=json.dumps(given), env=environ, capture_output=True, text=True
    )
    assert ended.stdout.split() == [PRIVATE.hex(), "https://kms.eu-north-1.amazonaws.com"], ended.stderr
    assert [call.signed_by for call in proxy.calls] == [ACCESS_KEY]


def test_the_deadline_is_over_the_whole_call(proxy: KmsProxy, arn: str, wrapped: bytes) -> None:
    """Tries, pauses and silence together: the call is over before the fault is."""
    proxy.fail("ThrottlingException", "close", "dribble")
    with pytest.raises(KmsError):
        service(arn, proxy.url, 1).unwrap(wrapped, CONTEXT)
    assert proxy.actions() == ["Decrypt"] * 3 and proxy.dribbling
    proxy.stop_hanging()


@pytest.mark.parametrize("wrapped", [b"", bytes(6145)])
def test_what_kms_would_not_take_is_a_broken_wrapping(wrapped: bytes) -> None:
    """A row without its wrapped key, or with too much in it, is no fault of whoever answers as KMS; no call is made."""
    nowhere = service("alias/sealrun", "http://127.0.0.1:1")
    with pytest.raises(WrapBroken):
        nowhere.unwrap(wrapped, CONTEXT)
    with pytest.raises(WrapBroken):
        nowhere.rewrap(wrapped, CONTEXT, service("alias/other", "http://127.0.0.1:1"))
