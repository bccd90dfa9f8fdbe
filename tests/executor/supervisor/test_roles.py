"""AssumeRole of an S3 source: what is asked of STS, what comes of it, and what is said where nothing does."""

import json
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from executor.supervisor import roles
from executor.supervisor.roles import (
    Assumed,
    assume_roles,
    from_values,
    session_policy,
    session_seconds,
    to_values,
)
from secretstore.run_connection import RunConnection
from tests.kms import free_port
from tests.sts import FLOOD, REGION, SAID, Account, StsProxy, account, client, seaweed, sts_proxy

BUCKET = "lake-bucket"
ROLE = "arn:aws:iam::123456789012:role/lake"
CANARIES = ("canary-of-aws-words", SAID)


@pytest.fixture(scope="module")
def ada() -> Iterator[Account]:
    """Somebody who may assume a role."""
    with account(BUCKET) as made:
        yield made


@pytest.fixture
def sts(ada: Account) -> Iterator[StsProxy]:
    """STS, with an ear."""
    with sts_proxy(ada.url) as proxy:
        yield proxy


def source(endpoint: str | None, **settings: Any) -> RunConnection:
    given = {
        "bucket": BUCKET,
        "region": REGION,
        "access_key_id": {"$secret": "LAKE", "field": "id"},
        "secret_access_key": {"$secret": "LAKE", "field": "key"},
        "session_token": {"$secret": "LAKE", "field": "token", "optional": True},
        "assume_role": ROLE,
        "sts_endpoint": endpoint,
    }
    return RunConnection("source", "lake", "s3", {**given, **settings})


def of(holder: Account, **more: str) -> dict[str, bytes]:
    return {"LAKE": json.dumps({"id": holder.access_key, "key": holder.secret_key, **more}).encode()}


def problem(planned: RunConnection, secrets: dict[str, bytes], timeout: float | None = None) -> str:
    """The sentence, which quotes nothing."""
    said = assume_roles([planned], secrets, timeout, "run")["lake"]
    assert isinstance(said, str), said
    for value in (*CANARIES, *(value.decode() for value in secrets.values())):
        assert value not in said
    return said


def assumed(planned: RunConnection, secrets: dict[str, bytes], timeout: float | None = None) -> Assumed:
    given = assume_roles([planned], secrets, timeout, "run")["lake"]
    assert isinstance(given, Assumed), given
    return given


# What is asked and given --------------------------------------------------------------------------


def test_the_temporary_keys_work_and_the_request_says_for_what(ada: Account, sts: StsProxy) -> None:
    """A session for the run's length, bucket and prefix, named after it, and asked for with the long-lived key."""
    planned = source(sts.url, prefix="raw/daily/", external_id="shop-7", assume_role=ada.role)
    at = datetime.now(UTC)
    given = assume_roles([planned], of(ada), 7200.2, "0192-abc")["lake"]
    assert isinstance(given, Assumed), given
    (call,) = sts.calls
    assert sts.signed_by == [ada.access_key]
    assert call["RoleArn"] == ada.role
    assert call["RoleSessionName"] == "sealrun-0192-abc"
    assert call["DurationSeconds"] == "7261"
    assert call["ExternalId"] == "shop-7"
    assert json.loads(call["Policy"]) == session_policy(ada.role, BUCKET, "raw/daily", aws=False)
    left = datetime.fromisoformat(given.expires_at) - at
    assert timedelta(seconds=7200) < left < timedelta(seconds=7400)
    store = client("s3", ada.url, given.access_key_id, given.secret_access_key, given.session_token)
    store.put_object(Bucket=BUCKET, Key="raw/daily/one", Body=b"content")
    assert store.get_object(Bucket=BUCKET, Key="raw/daily/one")["Body"].read() == b"content"
    assert given.access_key_id != ada.access_key


def test_their_secret_half_counts(ada: Account, sts: StsProxy) -> None:
    """The server of these tests refuses what is signed with another key: the test above says something."""
    given = assumed(source(sts.url, assume_role=ada.role), of(ada))
    store = client("s3", ada.url, given.access_key_id, "x" * 40, given.session_token)
    with pytest.raises(ClientError):
        store.put_object(Bucket=BUCKET, Key="other", Body=b"content")


def test_a_session_token_of_the_long_lived_ones_goes_along(ada: Account, sts: StsProxy) -> None:
    """Credentials that are themselves temporary can assume a role."""
    first = assumed(source(sts.url, assume_role=ada.role), of(ada))
    own = Account(ada.url, first.access_key_id, first.secret_access_key, ada.role)
    sts.fault = "AccessDenied"  # moto lets no role assume itself; what was sent is seen all the same
    problem(source(sts.url), of(own, token=first.session_token))
    assert sts.signed_by[-1] == first.access_key_id
    assert sts.tokens == [None, first.session_token]


def test_nothing_of_the_environment_is_used(ada: Account, sts: StsProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies, profiles and endpoints of this process lead nowhere: the plan alone decides."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS"):
        monkeypatch.setenv(name, nowhere)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody-else")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "somebody-else")
    assumed(source(sts.url, assume_role=ada.role), of(ada))
    assert sts.signed_by == [ada.access_key]


def test_one_that_fails_leaves_the_others(ada: Account, sts: StsProxy) -> None:
    """Each source has an answer of its own, and only those that assume a role have one."""
    plain = RunConnection("source", "plain", "s3", {"bucket": "b"})
    other = RunConnection("source", "other", "s3", {**source(sts.url).settings, "access_key_id": {"$secret": "NONE"}})
    answers = assume_roles([plain, other, source(sts.url, assume_role=ada.role)], of(ada), None, "run")
    assert answers.keys() == {"other", "lake"}
    assert answers["other"] == "access_key_id is secret NONE, which this run does not have"
    assert isinstance(answers["lake"], Assumed)


@pytest.mark.parametrize(
    ("timeout", "seconds"), [(None, 3600), (1, 900), (840, 900), (841, 901), (10_000, 10_060), (90_000.5, 43_200)]
)
def test_a_session_is_as_long_as_the_run(timeout: float | None, seconds: int) -> None:
    """Its time-out and a minute, within what AWS gives."""
    assert session_seconds(timeout) == seconds


def test_the_policy_is_for_bucket_and_prefix() -> None:
    """Objects beneath the prefix, listings of it, and nothing of its neighbours."""
    where, listing, objects = session_policy(ROLE, "b", "/raw/", aws=False)["Statement"]
    assert where["Resource"] == listing["Resource"] == "arn:aws:s3:::b"
    assert listing["Condition"] == {"StringLike": {"s3:prefix": "raw/*"}}
    assert objects["Resource"] == ["arn:aws:s3:::b/raw", "arn:aws:s3:::b/raw/*"]
    assert all(action.startswith("s3:") for action in objects["Action"])


def test_the_policy_for_a_whole_bucket() -> None:
    """Without a prefix it is the bucket; the partition is the role's."""
    _, listing, objects, keys = session_policy("arn:aws-cn:iam::1:role/x", "b", "", aws=True)["Statement"]
    assert "Condition" not in listing
    assert objects["Resource"] == ["arn:aws-cn:s3:::b/*"]
    assert keys["Condition"] == {"StringLike": {"kms:ViaService": "s3.*.amazonaws.com*"}}


def test_a_prefix_is_no_pattern() -> None:
    """A star in a prefix is a star: it gives access to nothing else."""
    _, listing, objects = session_policy(ROLE, "b", "a*?${aws:username}", aws=False)["Statement"]
    assert objects["Resource"][1] == "arn:aws:s3:::b/a${*}${?}${$}{aws:username}/*"
    assert listing["Condition"]["StringLike"]["s3:prefix"] == "a${*}${?}${$}{aws:username}/*"


@pytest.fixture(scope="module")
def store() -> Iterator[Account]:
    """A server that obeys session policies, with objects in two buckets."""
    with seaweed() as made:
        root = client("s3", made.url, made.access_key, made.secret_key)
        for bucket in (BUCKET, "other"):
            root.create_bucket(Bucket=bucket)
            for key in ("raw/daily/one", "raw/weekly", "raw/daily2/one"):
                root.put_object(Bucket=bucket, Key=key, Body=b"content")
        yield made


def test_a_server_that_obeys_policies_gives_bucket_and_prefix_alone(store: Account) -> None:
    """All that a pipeline does works beneath the prefix; its neighbours, and the other bucket, do not answer."""
    planned = source(store.url, prefix="raw/daily", assume_role=store.role)
    given = assumed(planned, of(store))
    s3 = client("s3", store.url, given.access_key_id, given.secret_access_key, given.session_token)
    place = {"Bucket": BUCKET, "Key": "raw/daily/two"}
    s3.put_object(**place, Body=b"two")
    assert s3.get_object(**place)["Body"].read() == b"two"
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="raw/daily/")["Contents"]
    assert [found["Key"] for found in listed] == ["raw/daily/one", "raw/daily/two"]
    s3.delete_object(**place)
    upload = {**place, "UploadId": s3.create_multipart_upload(**place)["UploadId"]}
    part = {"PartNumber": 1, "ETag": s3.upload_part(**upload, PartNumber=1, Body=b"part")["ETag"]}
    assert len(s3.list_parts(**upload)["Parts"]) == 1
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [part]})
    s3.abort_multipart_upload(**place, UploadId=s3.create_multipart_upload(**place)["UploadId"])
    s3.get_bucket_location(Bucket=BUCKET)
    refused = [
        lambda: s3.get_object(Bucket=BUCKET, Key="raw/weekly"),
        lambda: s3.get_object(Bucket=BUCKET, Key="raw/daily2/one"),
        lambda: s3.put_object(Bucket=BUCKET, Key="raw/daily2/two", Body=b"two"),
        lambda: s3.delete_object(Bucket=BUCKET, Key="raw/weekly"),
        lambda: s3.list_objects_v2(Bucket=BUCKET),
        lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix="raw/daily"),
        lambda: s3.get_object(Bucket="other", Key="raw/daily/one"),
        lambda: s3.list_objects_v2(Bucket="other", Prefix="raw/daily/"),
        lambda: s3.delete_bucket(Bucket=BUCKET),
        lambda: s3.put_bucket_policy(Bucket=BUCKET, Policy="{}"),
    ]
    for number, act in enumerate(refused):
        with pytest.raises(ClientError) as error:
            act()
        assert error.value.response["Error"]["Code"] == "AccessDenied", number


def test_without_a_prefix_it_is_the_bucket(store: Account) -> None:
    """And still no other one."""
    given = assumed(source(store.url, assume_role=store.role), of(store))
    s3 = client("s3", store.url, given.access_key_id, given.secret_access_key, given.session_token)
    assert "Contents" in s3.list_objects_v2(Bucket=BUCKET)
    with pytest.raises(ClientError):
        s3.list_objects_v2(Bucket="other")


# What is said where there is nothing --------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("AccessDenied", "the role does not trust them"),
        ("AccessDeniedException", "the role does not trust them"),
        ("InvalidClientTokenId", "STS does not know its access key"),
        ("SignatureDoesNotMatch", "its secret access key does not match its access key"),
        ("ExpiredToken", "its own credentials have expired"),
        ("ValidationError", "the role does not allow sessions of 7260 seconds"),
        ("PackedPolicyTooLarge", "too large for STS"),
        ("MalformedPolicyDocument", "rejects the policy"),
        ("RegionDisabledException", f"not enabled in the region {REGION}"),
        ("SomethingNew", "(SomethingNew)"),
        ("0" * 65, "(status 403)"),
    ],
)
def test_a_refusal_is_a_sentence_of_ours(ada: Account, sts: StsProxy, code: str, said: str) -> None:
    """By its code, and never in the words of AWS, which name people and resources."""
    sts.fault = code
    assert said in problem(source(sts.url), of(ada), 7200)
    assert len(sts.calls) == 1, "a refusal is final"


def test_refusals_that_are_real(ada: Account, sts: StsProxy) -> None:
    """A wrong secret key and an unknown access key, as a server refuses them."""
    wrong = Account(ada.url, ada.access_key, "canary-wrong-secret-key", ada.role)
    assert "does not match its access key" in problem(source(sts.url, assume_role=ada.role), of(wrong))
    unknown = Account(ada.url, "AKIACANARYNOBODY0000", "canary-wrong-secret-key", ada.role)
    assert "does not know its access key" in problem(source(sts.url, assume_role=ada.role), of(unknown))


@pytest.mark.parametrize("body", ["<html>canary-of-aws-words</html>", "<not xml", '{"json": true}', " "])
def test_an_answer_that_is_none(ada: Account, sts: StsProxy, body: str) -> None:
    """A login page, or nothing that STS would say."""
    sts.fault = body
    assert "did not answer as STS does" in problem(source(sts.url), of(ada))


def test_an_answer_without_end(ada: Account, sts: StsProxy) -> None:
    """No more of it is taken than STS has to say: two of these would take a worker's memory."""
    sts.fault = "flood"
    assert "did not answer as STS does" in problem(source(sts.url), of(ada))
    assert sts.flooded < FLOOD // 2


def test_a_place_elsewhere(ada: Account, sts: StsProxy) -> None:
    """Nothing that was signed goes to where an answer points."""
    sts.fault = "elsewhere"
    assert "did not answer as STS does" in problem(source(sts.url), of(ada))
    assert len(sts.calls) == 1


def test_a_server_that_is_not_there(ada: Account) -> None:
    """Said with the address, which is configuration."""
    url = f"http://127.0.0.1:{free_port()}"
    assert problem(source(url), of(ada)) == f"STS at {url} cannot be reached"


def test_a_server_that_hangs_up(ada: Account, sts: StsProxy) -> None:
    """It is asked twice, and no more."""
    sts.fault = "close"
    assert "cannot be reached" in problem(source(sts.url), of(ada))
    assert len(sts.calls) == 2


def test_a_server_that_hangs(ada: Account, sts: StsProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is an end to the waiting, for one role and for all of them."""
    monkeypatch.setattr(roles, "_ONE", 0.5)
    monkeypatch.setattr(roles, "_READ", 300.0)  # as for an answer that comes byte by byte
    sts.fault = "hang"
    assert "does not answer" in problem(source(sts.url), of(ada))
    monkeypatch.setattr(roles, "_ALTOGETHER", 0.0)
    assert "does not answer" in problem(source(sts.url), of(ada))


def test_without_botocore(ada: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    for asking in threading.enumerate():
        if asking.name == "sealrun-sts":
            asking.join(60)  # of a test before, which did not wait for it; it still imports
    for name in [name for name in sys.modules if name.partition(".")[0] == "botocore"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "botocore", None)
    assert "uv pip install -e '.[aws]'" in problem(source("http://127.0.0.1:1"), of(ada))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"assume_role": "lake"}, "does not have the form that AWS wants"),
        ({"external_id": "x"}, "does not have the form that AWS wants"),
        ({"sts_endpoint": "localhost:9000"}, "its sts_endpoint is not a URL"),
        ({"region": "../x"}, "its region does not exist in AWS"),
        ({"bucket": None}, "it needs bucket to assume its role"),
        ({"bucket": 7}, "one of its settings is not text"),
        ({"secret_access_key": None}, "it needs secret_access_key to assume its role"),
        ({"secret_access_key": {"$secret": "LAKE", "field": "nope"}}, "which has no such field"),
        ({"prefix": "a\nb"}, "its prefix has a control character"),
    ],
)
def test_settings_that_nobody_looked_at(ada: Account, settings: dict[str, Any], said: str) -> None:
    """A row of the database may hold anything: it is a sentence, and no harm."""
    planned = source(f"http://127.0.0.1:{free_port()}", **settings)
    assert said in problem(planned, of(ada))


# The way to the supervisor ------------------------------------------------------------------------


def test_answers_travel_among_the_secrets() -> None:
    """Under names that no secret can have, and back."""
    given = Assumed("A", "S", "canary", "2026-01-01T00:00:00+00:00")
    values = {"ONE": b"1"} | to_values({"lake": given, "other": "why"})
    assert from_values(values) == ({"ONE": b"1"}, {"lake": given, "other": "why"})
    assert "canary" not in repr(given)
