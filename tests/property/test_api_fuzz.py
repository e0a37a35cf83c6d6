"""Whatever the API is sent, it answers with something it has described, and never with a 5xx.

schemathesis makes the requests from the app's own OpenAPI: odd types, missing fields, wrong ids,
strings that hurt. They are sent as the owner, who may do everything.
"""

from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    response_schema_conformance,
    status_code_conformance,
)
from tests.web_fixtures import BASE, Browser, Site

# These would end the session, or the access, that the other requests need.
LEFT_OUT = ("/me/session", "/me/password", "/disable", "/enable", "/erase", "/role", "/invite")
"""Changing who may come in is tried in `unit/web`, one by one."""


@pytest.fixture
def owner(site: Site) -> Browser:
    return site.sign_in("owner", "owner")


def test_no_request_made_from_the_description_is_answered_by_an_error_of_ours(
    site: Site, owner: Browser
) -> None:
    schema = schemathesis.openapi.from_dict(site.app.openapi())
    schema.app = site.app  # requests go to the app in this process
    found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    operations = [operation for operation in found if not operation.path.endswith(LEFT_OUT)]
    assert len(operations) > 30
    statuses: list[int] = []
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(
            max_examples=8,
            derandomize=True,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def send(case: Any) -> None:
            response = case.call(
                base_url=BASE,
                headers={"X-CSRF-Token": owner.csrf, "Origin": BASE},
                cookies=dict(owner.client.cookies),
            )
            checks = [
                not_a_server_error,
                status_code_conformance,
                response_schema_conformance,
            ]
            case.validate_response(response, checks=checks)
            statuses.append(response.status_code)

        send()
    # They were the owner's requests: some were carried out, and none was refused for who sent it.
    assert {200, 201, 404, 422} <= set(statuses)
    assert not {401, 403, 421} & set(statuses)


@given(
    path=st.text(st.characters(codec="utf-8"), max_size=60),
    query=st.text(st.characters(codec="utf-8"), max_size=60),
)
@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_no_address_brings_the_server_down(owner: Browser, path: str, query: str) -> None:
    for prefix in ("/", "/api/v1/", "/browse/prompts/", "/static/", "/invite/", "/login?next="):
        response = owner.client.get(f"{prefix}{quote(path)}", params={"q": query, "cursor": query})
        assert response.status_code < 500, (prefix, path)
