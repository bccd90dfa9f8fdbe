"""`sealrun key`, and what a sealer at the command line knows of key pairs."""

import re
from pathlib import Path

import pytest

from executor.database import open_database
from executor.settings import read_settings
from secretstore import sealing, vault
from secretstore.key_files import create_local_key
from secretstore.models import KeyPair
from tests.executor.cli.conftest import Cli


@pytest.fixture(scope="module")
def shop(cli: Cli) -> Cli:
    """A project with two environments and a secret."""
    cli.ok("project", "create", "shop", "-e", "staging")
    cli.ok("secret", "set", "API_KEY", "-p", "shop", stdin="hunter2-prod-key")
    cli.environ["SEALRUN_PROJECT"] = "shop"
    return cli


def keys(cli: Cli, *words: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = cli.json("key", "list", *words, "--json")
    return found


def known(cli: Cli) -> list[list[str]]:
    lines = (cli.home / "known_keys").read_text().splitlines()
    return [line.split()[:4] for line in lines if not line.startswith("#")]


def swap_key(cli: Cli, project: str, environment: str) -> str:
    """Somebody puts a public key of their own in the place of an environment's; returns its fingerprint."""
    db = open_database(read_settings(cli.environ))
    theirs = sealing.generate_private_key().public_key()
    with db.writing() as session:
        pair = session.get_one(KeyPair, (vault.get_environment(db, project, environment).id, 1))
        pair.public_key, pair.fingerprint = theirs.to_bytes(), sealing.fingerprint(theirs)
    db.close()
    return sealing.fingerprint(theirs)


def test_what_is_created_is_known_at_once_and_forgotten_when_it_is_deleted(cli: Cli) -> None:
    """From the process the key was born in: who swaps it before the first set gains nothing."""
    cli.ok("project", "create", "born", "-e", "dev")
    mine = [line for line in known(cli) if line[0] == "born"]
    assert mine == [["born", str(key["environment"]), "1", str(key["fingerprint"])] for key in keys(cli, "-p", "born")]
    swap_key(cli, "born", "default")
    refused = cli("secret", "set", "X", "-p", "born", stdin="hunter2-prod-key", code=1)
    assert "is not the one remembered here, so nothing was sealed: generation 1 has another" in refused.stderr
    assert "hint: ask whoever rotated or recreated it" in refused.stderr and "hunter2" not in refused.stderr
    cli.ok("project", "delete", "born", "-e", "dev", "--yes")
    assert [line[1] for line in known(cli) if line[0] == "born"] == ["default"]
    cli.ok("project", "delete", "born", "--yes", "--now", "--confirm", "born")
    assert not [line for line in known(cli) if line[0] == "born"]


def test_rotate_says_what_it_did(shop: Cli) -> None:
    """The generation and the whole fingerprint on stdout; the listing has its first digits, and which is current."""
    said = shop("key", "rotate", code=0)
    found = re.fullmatch(r"shop/default has generation 2, ([0-9a-f]{64}): 1 versions sealed anew\n", said.stdout)
    assert found and said.stderr == ""
    rows = [line.split("\t") for line in shop.ok("key", "list", "-e", "default").splitlines()]
    assert [row[1:4] for row in rows] == [["1", rows[0][2], "destroyed"], ["2", found[1][:16], "current"]]
    assert [key["generation"] for key in keys(shop)] == [1, 2, 1]
    assert shop.json("key", "rotate", "-e", "staging", "--json")["generation"] == 2
    shop.ok("secret", "set", "API_KEY", stdin="hunter2-prod-key-2")


@pytest.mark.parametrize("words", [("-p", "shop"), ("-e", "staging")])
def test_rewrap_of_all_projects_is_not_narrowed_in_silence(shop: Cli, words: tuple[str, ...]) -> None:
    """Who names a place as well would get more than was meant."""
    refused = shop("key", "rewrap", "--all-projects", *words, code=2).stderr
    assert refused.startswith("sealrun: --all-projects takes in all there are, and goes with neither -p nor -e\n")


def test_trust_shows_and_records(shop: Cli) -> None:
    """What was known and what is known from now on; another fingerprint than the key's is refused."""
    shop.ok("project", "create", "moved")
    theirs = swap_key(shop, "moved", "default")
    refused = shop("key", "trust", "-p", "moved", "0" * 16, code=1)
    assert f"moved/default has the key pair {theirs}, not {'0' * 16}" in refused.stderr
    before = next(line[3] for line in known(shop) if line[0] == "moved")
    said = shop("key", "trust", "-p", "moved", theirs[:16], code=0)
    assert said.stdout == f"moved/default has generation 1, {theirs}: remembered\n"
    assert said.stderr == f"known until now: generation 1, {before}\n"
    shop.ok("secret", "set", "X", "-p", "moved", stdin="hunter2-prod-key")


def test_a_pin_in_the_project_file_is_checked(shop: Cli) -> None:
    """The one of this folder's project, beside what the user knows."""
    folder = shop.folder / "pinned"
    folder.mkdir()
    pin = str(next(key["pin"] for key in keys(shop, "-e", "default") if key["generation"] == 2))
    wrong = pin[:-64] + "0" * 64
    pins = folder / ".sealrun.toml"
    pins.write_text(f'project = "shop"\n[pins]\ndefault = "{pin}"\n')
    shop.ok("secret", "set", "API_KEY", stdin="hunter2-prod-key-3", cwd=folder)
    pins.write_text(f'project = "shop"\n[pins]\ndefault = "{wrong}"\n')
    refused = shop("secret", "set", "API_KEY", stdin="hunter2-prod-key-4", cwd=folder, code=1)
    assert "the project file pins" in refused.stderr


def test_a_pin_that_is_given_is_checked(shop: Cli) -> None:
    """On the command line and by a variable; what is no pin is not quoted, whatever was pasted there (I10)."""
    pin = str(next(key["pin"] for key in keys(shop, "-e", "default") if key["generation"] == 2))
    wrong = pin[:-64] + "0" * 64
    words, value = ("secret", "set", "API_KEY"), {"stdin": "hunter2-prod-key-6"}
    shop.ok(*words, "--pin", pin, "--pin", f"staging={wrong}", **value, environ={"SEALRUN_PIN": f"x={wrong}, {pin}"})
    refused = shop(*words, "--pin", f"default={wrong}", **value, code=1).stderr
    assert "shop/default is not the one remembered here" in refused and "--pin gives" in refused
    assert "SEALRUN_PIN gives" in shop(*words, **value, environ={"SEALRUN_PIN": wrong}, code=1).stderr
    refused = shop(*words, "--pin", "hunter2-pasted-here", **value, code=2).stderr
    assert "--pin takes [ENV=]PIN: it is not PROJECT_ID:ENVIRONMENT_ID:" in refused and "hunter2" not in refused
    file = shop.jobs / "pinned.env"
    file.write_text("OTHER_KEY=hunter2-prod-key-7\n")
    assert "--pin gives" in shop("secret", "import", str(file), "--yes", "--pin", wrong, code=1).stderr


def test_a_broken_file_of_known_keys_is_named(shop: Cli) -> None:
    """With its line; listing needs it not."""
    file = shop.home / "known_keys"
    whole = file.read_text()
    file.write_text(whole + "nonsense\n")
    try:
        refused = shop("secret", "set", "API_KEY", stdin="hunter2-prod-key-5", code=1)
        assert str(file) in refused.stderr and f"line {len(whole.splitlines()) + 1} is not" in refused.stderr
        shop.ok("secret", "list")
        shop.ok("key", "list")
    finally:
        file.write_text(whole)


def test_rewrap_moves_keys_to_the_first_key_service(new_cli: Cli) -> None:
    """All of the project's, and of all projects with --all-projects; said again it changes nothing."""
    for project in ("one", "two"):
        new_cli.ok("project", "create", project)
    old, new = new_cli.home / "keys" / "local.key", Path(new_cli.home, "keys", "new.key")
    create_local_key(new)
    both = {"SEALRUN_KEYS": f"local:{new},local:{old}"}
    said = new_cli("key", "rewrap", "-p", "one", environ=both, code=0)
    assert said.stdout == "1 of 1 private keys wrapped anew\n"
    assert re.match(r"one/default, generation 1: from local:[0-9a-f]{16} to local:[0-9a-f]{16}\n", said.stderr)
    assert new_cli.ok("key", "rewrap", "--all-projects", environ=both) == "1 of 2 private keys wrapped anew\n"
    assert new_cli.ok("key", "rewrap", "--all-projects", environ=both) == "0 of 2 private keys wrapped anew\n"
    old.unlink()
    new_cli.ok("key", "rotate", "-p", "one", environ={"SEALRUN_KEYS": f"local:{new}"})
    refused = new_cli("key", "rotate", "-p", "two", code=1)
    assert "the key pair of two/default was not rotated: no key file at" in refused.stderr


def test_a_signing_key_tells_its_public_half(cli: Cli) -> None:
    """On stdout, for the workers' settings; the file is the server's."""
    path = cli.home / "signing.pem"
    made = cli("key", "create", "--signing", str(path), code=0)
    assert made.stdout.startswith("ed25519:") and f"SEALRUN_SIGNING_KEY={path}" in made.stderr
    told = made.stdout.strip()
    assert cli.json("key", "create", "--signing", f"{path}.2", "--json")["signer"] != told
    assert "never overwritten" in cli("key", "create", "--signing", str(path), code=1).stderr


def test_i9_a_machine_with_the_public_half_makes_environments_and_opens_none(new_cli: Cli) -> None:
    """It creates, seals and lists; what needs the private half ends with a sentence that says where that is done."""
    key_file = new_cli.folder / "keys" / "team.key"
    made = new_cli("key", "create", str(key_file), code=0)
    assert (
        f"SEALRUN_KEYS=local:{key_file}\n" in made.stdout and f"local:{key_file.with_suffix('.pub')}\n" in made.stdout
    )
    server = new_cli.folder / "server" / "team.pub"
    server.parent.mkdir(mode=0o755)
    key_file.with_suffix(".pub").rename(server)
    alone = {"SEALRUN_KEYS": f"local:{server}"}
    new_cli.ok("project", "create", "shop", "-e", "staging", environ=alone)
    new_cli.ok("secret", "set", "API_KEY", "-p", "shop", stdin="hunter2-prod-key", environ=alone)
    refused = new_cli("key", "rotate", "-p", "shop", environ=alone, code=1).stderr
    assert (
        f"was not rotated: {server} is the public half of a local key: it wraps private keys, and unwraps none"
        in refused
    )
    assert "hint: this is done where the key file is" in refused
    told = new_cli("key", "rotate", "-p", "shop", environ={"SEALRUN_KEYS": f"local:{key_file}"}, code=0)
    assert "has generation 2" in told.stdout
