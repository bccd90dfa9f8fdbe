"""What is answered where something in it is no text."""

import json

from executor import runs
from executor.models import RunSpec
from secretstore import vault
from tests.executor.api.conftest import House


def test_a_word_of_any_bytes_is_shown_and_breaks_no_list(house: House) -> None:
    """As the name of an old file is given to a command: one run of it is no way to keep everybody from the list."""
    place = vault.get_environment(house.at.db, "shop", "default")
    spec = RunSpec(
        project_id=place.project_id,
        project="shop",
        environment_id=place.id,
        environment="default",
        target={"kind": "command", "argv": ["cat", "old-\udcff.txt"]},
        source_root="/srv",
        host="elsewhere",
    )
    run = runs.accept(house.at.db, spec, "ada").run_id
    viewer = house.token("viewer")
    shown, listed = house.ask("GET", f"/runs/{run}", viewer), house.ask("GET", "/runs", viewer)
    assert shown.status_code == listed.status_code == 200
    assert shown.json()["target"]["argv"] == ["cat", "old-?.txt"] == listed.json()["items"][0]["target"]["argv"]
    order = {"target": spec.target, "source_root": "/srv", "host": "elsewhere"}
    path, headers = "/projects/shop/environments/default/runs", {"content-type": "application/json"}
    for more in ({}, {"idempotency-key": "a-key-of-a-request"}):
        sent = house.ask("POST", path, house.token("admin"), content=json.dumps(order), headers={**headers, **more})
        assert sent.status_code == 200, sent.text
