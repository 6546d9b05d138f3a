"""What a deployment uploads, and into which bucket."""

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws
from tools import artifacts as packed

from fakes.calls import Calls
from fakes.ec2 import client_error
from fixtures.mappings import session
from rolekeeper.model.instance import Target
from rolekeeper_cli.deploy.artifacts import Bucket, upload, with_objects
from rolekeeper_cli.errors import CommandError
from support.templates import ROOT

PLACE = Target("123456789012", "us-east-1")
NAME = "rolekeeper-artifacts-123456789012-us-east-1"
TEMPLATE = (ROOT / "template.yaml").read_text()
MACHINES = [f"statemachines/{each}.asl.json" for each in ("retry", "resume", "accounts")]


@pytest.fixture
def s3() -> Iterator[Any]:
    with mock_aws():
        yield session().client("s3")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "statemachines").mkdir()
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    for name in ("layer.zip", "functions.zip", *MACHINES):
        (tmp_path / name).write_text(f"content of {name}")
    return tmp_path


def puts(s3: Any) -> Calls:
    calls = Calls()
    calls.watch(s3)
    return calls


# ---- the bucket ----


def test_a_bucket_is_made_private_encrypted_and_for_tls_only(s3: Any) -> None:
    Bucket(s3, PLACE, None).ensure()
    public = s3.get_public_access_block(Bucket=NAME)["PublicAccessBlockConfiguration"]
    assert (len(public), set(public.values())) == (4, {True})
    [rule] = s3.get_bucket_encryption(Bucket=NAME)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    [deny] = json.loads(s3.get_bucket_policy(Bucket=NAME)["Policy"])["Statement"]
    assert (deny["Effect"], deny["Principal"], deny["Action"]) == ("Deny", "*", "s3:*")
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert deny["Resource"] == [f"arn:aws:s3:::{NAME}", f"arn:aws:s3:::{NAME}/*"]
    [ownership] = s3.get_bucket_ownership_controls(Bucket=NAME)["OwnershipControls"]["Rules"]
    assert ownership == {"ObjectOwnership": "BucketOwnerEnforced"}


def test_in_another_region_it_is_made_there(s3: Any) -> None:
    place = Target("123456789012", "eu-west-1")
    Bucket(session().client("s3", region_name="eu-west-1"), place, None).ensure()
    location = s3.get_bucket_location(Bucket="rolekeeper-artifacts-123456789012-eu-west-1")
    assert location["LocationConstraint"] == "eu-west-1"


def test_a_bucket_that_a_run_left_halfway_is_finished(s3: Any) -> None:
    s3.create_bucket(Bucket=NAME)
    Bucket(s3, PLACE, None).ensure()
    assert "aws:SecureTransport" in s3.get_bucket_policy(Bucket=NAME)["Policy"]


def test_of_a_bucket_that_a_person_names_nothing_is_changed(s3: Any) -> None:
    s3.create_bucket(Bucket="ours")
    calls = puts(s3)
    Bucket(s3, PLACE, "ours").ensure()
    assert calls.made == ["HeadBucket"]


class Foreign:
    """S3 that answers HeadBucket with an error, or with another Region."""

    def __init__(self, code: str = "", region: str = "us-east-1") -> None:
        self.code = code
        self.region = region
        self.asked: dict[str, str] = {}

    def head_bucket(self, **asked: str) -> Any:
        self.asked = asked
        if self.code:
            raise client_error(self.code, "no")
        return {"BucketRegion": self.region}


@pytest.mark.parametrize(
    ("s3", "name", "said", "code"),
    [
        (Foreign("403"), None, "isn't yours", 253),
        (Foreign("403"), "theirs", "isn't yours", 253),
        (Foreign("404"), "nosuch", "there is no bucket nosuch", 1),
        (Foreign("301"), None, "isn't in us-east-1", 253),
        (Foreign(region="eu-west-1"), "ours", "isn't in us-east-1", 253),
    ],
)
def test_a_bucket_that_cant_be_used_is_refused_before_anything_is_uploaded(
    s3: Foreign, name: str | None, said: str, code: int
) -> None:
    with pytest.raises(CommandError, match=said) as refused:
        Bucket(s3, PLACE, name).ensure()
    assert refused.value.exit_code == code
    assert s3.asked["ExpectedBucketOwner"] == "123456789012", "anyone can guess the name, and make it first"


@pytest.mark.parametrize("code", ["403", "301"])
def test_a_name_that_was_chosen_just_now_is_no_option_of_anybodys(code: str) -> None:
    """`rolekeeper verify` has no --bucket."""
    with pytest.raises(CommandError, match=r"run it again") as refused:
        Bucket(Foreign(code), PLACE, "rolekeeper-verify-abc123", new=True).ensure()
    assert "--bucket" not in str(refused.value)


def test_a_bucket_that_is_there_already_is_not_made_ones_own() -> None:
    s3 = Foreign()
    assert not Bucket(s3, PLACE, "rolekeeper-verify-abc123", new=True).ensure()


def test_any_other_refusal_is_the_callers() -> None:
    with pytest.raises(Exception, match="500"):
        Bucket(Foreign("500"), PLACE, None).ensure()


# ---- what is in it: a bucket without a policy, as moto denies whatever its conditions say ----


@pytest.fixture
def bucket(s3: Any) -> Bucket:
    s3.create_bucket(Bucket="ours")
    return Bucket(s3, PLACE, "ours")


def test_the_template_names_what_was_uploaded(s3: Any, bucket: Bucket, folder: Path) -> None:
    def content(address: str) -> str:
        return str(s3.get_object(Bucket="ours", Key=address.partition("ours/")[2])["Body"].read().decode())

    both = zip(TEMPLATE.splitlines(), content(upload(folder, bucket)).splitlines(), strict=True)
    contents = {line.split()[-1]: content(packaged) for line, packaged in both if line != packaged}
    parts = {"functions/": "functions.zip", "layers/rolekeeper": "layer.zip", **{each: each for each in MACHINES}}
    assert contents == {part: f"content of {name}" for part, name in parts.items()}


def test_what_is_there_is_uploaded_no_second_time(s3: Any, bucket: Bucket, folder: Path) -> None:
    url = upload(folder, bucket)
    calls = puts(s3)
    assert upload(folder, bucket) == url
    assert calls["PutObject"] == 0
    (folder / "layer.zip").write_text("another version")
    assert upload(folder, bucket) != url
    assert calls["PutObject"] == 2, "the layer, and the template that names it"


def test_another_content_under_the_same_name_is_replaced(s3: Any, bucket: Bucket) -> None:
    key = bucket.put("layer.zip", b"ours")
    s3.put_object(Bucket=bucket.name, Key=key, Body=b"theirs", ChecksumAlgorithm="SHA256")
    assert bucket.put("layer.zip", b"ours") == key
    assert s3.get_object(Bucket=bucket.name, Key=key)["Body"].read() == b"ours"


def test_a_template_that_names_something_else_is_refused() -> None:
    with pytest.raises(CommandError, match=r"the template names functions/, .* and the package has functions/\n"):
        with_objects(TEMPLATE, {"functions/": "s3://b/k"})


# ---- how the wheel's archives are made ----


def test_an_archive_has_the_same_bytes_whenever_it_is_made(tmp_path: Path) -> None:
    made = []
    for number, order in enumerate([("b.py", "a.py"), ("a.py", "b.py")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in order:
            (folder / name).write_text(name)
        os.utime(folder / "a.py", (number * 10**8, number * 10**8))
        (folder / "a.py").chmod(0o600 if number else 0o644)
        packed.archive(folder, "*.py", tmp_path / f"{number}.zip")
        made.append((tmp_path / f"{number}.zip").read_bytes())
    assert made[0] == made[1]
    with zipfile.ZipFile(tmp_path / "0.zip") as opened:
        assert opened.namelist() == ["a.py", "b.py"]
        assert [each.external_attr >> 16 & 0o777 for each in opened.infolist()] == [0o644, 0o644]


def test_the_wheels_files_are_where_they_are_in_a_clone(tmp_path: Path) -> None:
    (tmp_path / "layer/python").mkdir(parents=True)
    (tmp_path / "layer/python/module.py").write_text("x = 1\n")
    packed.collect(tmp_path / "layer", tmp_path / "artifacts")
    for name in packed.FILES:
        assert (tmp_path / "artifacts" / name).read_bytes() == (ROOT / name).read_bytes()
    with zipfile.ZipFile(tmp_path / "artifacts/functions.zip") as opened:
        assert sorted(opened.namelist()) == sorted(each.name for each in (ROOT / "functions").glob("*.py"))
    with zipfile.ZipFile(tmp_path / "artifacts/layer.zip") as opened:
        assert opened.namelist() == ["python/module.py"]
