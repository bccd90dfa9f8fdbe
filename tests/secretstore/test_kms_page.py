"""docs/how-to/kms.md: its policies are JSON, its settings parse, and its table of faults says what the product says."""

import json
import re
from pathlib import Path

import pytest

from secretstore.kms_failures import (
    FAULTY,
    NO_CREDENTIALS,
    NO_KMS,
    REASONS,
    REFUSED,
    SILENT,
    THROTTLING,
    UNREACHABLE,
    UNTRUSTED,
    Reason,
)
from secretstore.settings import read_store_settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "kms.md").read_text(encoding="utf-8")
POLICIES = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)


def test_there_are_three_policies_for_three_roles() -> None:
    """Each is a policy by its form: one role creates, one runs under a condition on both names, one moves."""
    found = [json.loads(policy)["Statement"] for policy in POLICIES]
    actions = [[statement["Action"] for statement in statements] for statements in found]
    assert actions == [["kms:Encrypt"], ["kms:Decrypt"], ["kms:ReEncryptFrom", "kms:ReEncryptTo"]]
    assert all(
        set(one) <= {"Sid", "Effect", "Action", "Resource", "Condition"} for statements in found for one in statements
    )
    assert found[1][0]["Condition"]["StringEquals"] == {
        "kms:EncryptionContext:sealrun:project": "shop",
        "kms:EncryptionContext:sealrun:environment": "staging",
    }


@pytest.mark.parametrize("text", re.findall(r"SEALRUN_KEYS='(aws-kms:arn:aws[^']*)'", PAGE))
def test_its_settings_are_settings(text: str) -> None:
    """As they stand there."""
    assert read_store_settings({"HOME": "/h", "SEALRUN_KEYS": text}).uses_kms


def test_every_code_that_has_a_sentence_is_in_the_table() -> None:
    """With the words of the error's own sentence."""
    flat = " ".join(PAGE.split())
    for word, reason in REASONS.items():
        if f"`{word}Exception`" in flat:
            first = re.split(r"\{key\}|\{region\}", _said(reason).partition(" ({answer})")[0])[0]
            assert first in flat, word
    for reason in (THROTTLING, FAULTY, SILENT, UNREACHABLE, UNTRUSTED, NO_KMS, REFUSED, NO_CREDENTIALS):
        words = re.split(r"\{\w+\}", _said(reason))
        assert words[0] in flat and words[1].strip(" (") in flat, reason


def _said(reason: Reason) -> str:
    return (reason.message or reason.kind.__doc__ or "").replace("{action}", "kms:Decrypt")
